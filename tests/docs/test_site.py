"""The site is built without a warning, and links lead somewhere."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.site_hooks import help_of, records
from tests.docs.pages import CHECKOUT, DOCS, PAGES, name_of
from tests.endtoend.test_adding_things import ADDITIONS

REPOSITORY = "https://github.com/fedsq/fedsq-flwr"
RAW = "https://raw.githubusercontent.com/fedsq/fedsq-flwr"
SITE = "https://fedsq.github.io/fedsq-flwr/"


def test_the_site_is_built_without_a_warning(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "-d", str(tmp_path)],
        cwd=CHECKOUT,
        env={**os.environ, "PYTHONPATH": str(CHECKOUT), "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    pages = {file: file.read_text(encoding="utf-8") for file in tmp_path.rglob("*.html")}
    assert len(pages) >= 40
    loaded = re.compile(r'<(?:script|link rel="stylesheet"|img)[^>]*(?:src|href)="(https?:)')
    assert not [file for file, text in pages.items() if loaded.search(text)], "is fetched from another server"
    assert "DualCopy" in pages[tmp_path / "reference" / "api" / "index.html"]
    assert "<code>gate_cache_bytes</code>" in pages[tmp_path / "reference" / "silo-settings" / "index.html"]
    assert not [file for file, text in pages.items() if "::: " in text]


def test_links_to_the_repository_and_the_site_lead_to_files() -> None:
    text = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    files = re.findall(rf"{re.escape(REPOSITORY)}/blob/main/([^)#\s]+)|{re.escape(RAW)}/main/([^)#\s]+)", text)
    assert not [file for file in map("".join, files) if not (CHECKOUT / file).is_file()]
    folders = re.findall(rf"{re.escape(REPOSITORY)}/tree/main/([^)#\s]+)", text)
    assert not [folder for folder in folders if not (CHECKOUT / folder).is_dir()]
    pages = re.findall(rf"{re.escape(SITE)}([^)#\s]+)", text)
    assert not [page for page in pages if not (DOCS / f"{page.rstrip('/')}.md").is_file()]
    assert len(files) > 10 < len(pages)


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "pyproject.toml"])
def test_links_outside_the_site_are_absolute(page: str) -> None:
    text = (CHECKOUT / page).read_text(encoding="utf-8")
    assert not re.findall(r"\]\((?!https?://)[^)]*\)", text)
    assert REPOSITORY in text


def test_each_command_is_on_the_page_of_the_command_line() -> None:
    page = (DOCS / "reference" / "command-line.md").read_text(encoding="utf-8")
    commands = set(re.findall(r"^    ([a-z]+)\b", help_of(None), re.M))
    assert len(commands) >= 10
    assert commands == set(re.findall(r"^## fedsq ([a-z]+)$", page, re.M))


def test_decision_records_are_numbered_and_whole() -> None:
    files = sorted((DOCS / "decisions").glob("[0-9]*.md"))
    numbers = [file.name[:4] for file in files]
    assert len(set(numbers)) == len(numbers)
    for file in files:
        text = file.read_text(encoding="utf-8")
        assert text.startswith(f"# {file.name[:4]}. "), file.name
        for part in ("\nArea: ", "**Context.**", "**Decision.**", "**Consequences.**"):
            assert text.count(part) == 1, (file.name, part)
    assert records().count("\n") == len(files) + 1


@pytest.mark.parametrize("added", ADDITIONS)
def test_the_pages_on_additions_show_what_the_tests_of_additions_add(added: str) -> None:
    page = DOCS / "how-to" / f"add-{added.replace('an ', 'a-').replace(' ', '-').replace('aggregation', 'method')}.md"
    text, addition = page.read_text(encoding="utf-8"), ADDITIONS[added]
    for lines in [*(lines for _, lines in addition.before.values()), *addition.behind.values()]:
        assert lines.strip() in text
    for file in addition.files:
        assert f"`{file}`" in text


#: Words that only this project's authors would understand, and words that mean something else elsewhere.
PRIVATE = (
    "handout",
    "roster",
    "standing",
    "closing",
    "judge",
    "sharing out",
    "shared out",
    "this room",
    "kept gates",
)


def test_pages_use_no_private_words() -> None:
    pages = [page for page in PAGES if page.name != "migration.md"]  # which names what there was
    words = re.compile(rf"\b({'|'.join(PRIVATE)})\b", re.I)
    found = {name_of(page): words.findall(page.read_text(encoding="utf-8")) for page in pages}
    assert {name: words for name, words in found.items() if words} == {}
