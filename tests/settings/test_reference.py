"""The help of ``fedsq run`` and the reference of settings are written from the classes."""

from pathlib import Path

import pytest

from fedsq_flwr.settings.fields import catalogue
from fedsq_flwr.settings.reference import help_text, markdown
from fedsq_flwr.settings.run import RunSettings

REFERENCE = Path(__file__).parents[2] / "docs" / "reference" / "settings.md"


def test_the_help_names_every_setting_in_80_columns() -> None:
    text = help_text()
    assert max(map(len, text.splitlines())) <= 80
    assert "\t" not in text
    for name, entry in catalogue(RunSettings).items():
        assert entry.is_tag or f"  {name}=" in text


@pytest.mark.parametrize(
    "choice", ["partition   dirichlet, file, iid", "data        cifar10,", "experiment  cifar10_halves,"]
)
def test_the_help_names_the_choices(choice: str) -> None:
    assert choice in help_text()


def test_the_reference_in_the_documentation_is_that_of_the_classes() -> None:
    page = REFERENCE.read_text(encoding="utf-8")
    assert page.endswith(markdown()), "write it again: python -m scripts.settings_reference"
