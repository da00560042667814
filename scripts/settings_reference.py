"""Write the tables of ``docs/reference/settings.md`` again, from the classes of the settings."""

from pathlib import Path

from fedsq_flwr.settings.reference import markdown

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "settings.md"


def main() -> None:
    """Keep what stands above the first table, and write all tables."""
    introduction, _, _ = PAGE.read_text(encoding="utf-8").partition("## Every run\n")
    PAGE.write_text(introduction + markdown(), encoding="utf-8")


if __name__ == "__main__":
    main()
