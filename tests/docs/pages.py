"""The pages for people, and the fenced blocks on them."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

CHECKOUT = Path(__file__).parents[2]
DOCS = CHECKOUT / "docs"
PAGES = [CHECKOUT / "README.md", CHECKOUT / "CONTRIBUTING.md", *sorted(DOCS.rglob("*.md"))]

_BLOCK = re.compile(r"^(?:<!-- (?P<mark>.+?) -->\n)?```(?P<language>\w+)\n(?P<text>.*?)^```$", re.M | re.S)


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, the comment above it, its text and its line on the page."""

    language: str
    mark: str
    text: str
    line: int

    @property
    def extra(self) -> list[str] | None:
        """The settings that make its commands small enough to be run; None where they are not run."""
        name, _, settings = self.mark.partition(":")
        return settings.split() if name == "run" else None


def blocks(page: Path) -> Iterator[Block]:
    """Give the fenced blocks of a page in order."""
    text = page.read_text(encoding="utf-8")
    for found in _BLOCK.finditer(text):
        line = text.count("\n", 0, found.start("text"))
        yield Block(found["language"], found["mark"] or "", found["text"], line)


def name_of(page: Path) -> str:
    """Return the path of a page within the checkout."""
    return page.relative_to(CHECKOUT).as_posix()
