"""The site is built without a warning, and links lead somewhere."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import markdown
import pytest
import yaml

from scripts.site_hooks import help_of, records
from tests.docs.pages import CHECKOUT, DOCS, PAGES, name_of
from tests.endtoend.test_adding_things import ADDITIONS

#: A path in the text of a page: from the top of the repository, or of a module from the top of the package.
PATH = re.compile(r"`((?:conf|docs|examples|fedsq_flwr|scripts|tests)/[^`\s]*|[\w/]+/\w+\.py)(?: [^`\n]*)?`")
#: Stands for a name of the reader's.
PLACEHOLDER = re.compile(r"\b(NAME|NNNN)\b")
#: The project has no address; one that looks like it may belong to somebody else.
OWN_ADDRESS = re.compile(r"(?:https?://|git(?:hub|lab)\.)[^\s)]*fedsq|fedsq[^\s(]*\.git(?:hub|lab)\.io", re.I)


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
    for file, text in pages.items():  # the search loads its index from there: relative to a page, on any server
        if file.name != "404.html":
            (base,) = re.findall(r'"base": ?"([^"]*)"', text)
            assert (file.parent / base / "search" / "search_index.json").is_file(), file


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md"])
def test_links_and_pictures_outside_the_site_are_files_of_the_repository(page: str) -> None:
    targets = re.findall(r'(?:href|src)="([^"]+)"', html_of(CHECKOUT / page))
    targets = [target for target in targets if not target.startswith(("https://", "http://"))]
    assert len(targets) > 5
    for target in targets:
        path, _, anchor = target.partition("#")
        file = Path(os.path.normpath(CHECKOUT / (path or page)))
        assert file.is_relative_to(CHECKOUT) and file.is_file(), target
        assert not anchor or f'id="{anchor}"' in html_of(file), target


def html_of(page: Path) -> str:
    extensions = ["tables", "toc", "pymdownx.superfences"]  # of mkdocs.yml; those that change links and anchors
    return markdown.markdown(page.read_text(encoding="utf-8"), extensions=extensions)


def test_paths_on_pages_are_files_of_the_repository() -> None:
    paths = [(name_of(page), path) for page in PAGES for path in PATH.findall(page.read_text(encoding="utf-8"))]
    assert len(paths) > 100
    others = {"fedsq_flwr/conf"}.union(*(addition.files for addition in ADDITIONS.values()))  # of a wheel; a reader's
    held = [CHECKOUT, CHECKOUT / "fedsq_flwr"]
    paths = [(page, path) for page, path in paths if path not in others and not PLACEHOLDER.search(path)]
    assert [(page, path) for page, path in paths if not any((folder / path).exists() for folder in held)] == []


def test_nothing_names_an_address_of_the_project_on_the_web() -> None:
    folders = ("conf", "docs", "examples", "fedsq_flwr", "scripts")
    files = [*CHECKOUT.glob("*"), *(file for folder in folders for file in (CHECKOUT / folder).rglob("*"))]
    texts = {file: file.read_text(encoding="utf-8", errors="ignore") for file in files if file.is_file()}
    assert len(texts) > 300
    found = {name_of(file): OWN_ADDRESS.findall(text) for file, text in texts.items()}
    assert {name: addresses for name, addresses in found.items() if addresses} == {}
    assert list(tomllib.loads(texts[CHECKOUT / "pyproject.toml"])["project"]["urls"]) == ["Paper"]
    assert not {"site_url", "repo_url", "edit_uri"} & set(yaml.safe_load(texts[CHECKOUT / "mkdocs.yml"]))


@pytest.mark.parametrize(
    "address",
    [
        "https://github.com/fedsq/fedsq-flwr",
        "https://raw.githubusercontent.com/fedsq/fedsq-flwr/main/README.md",
        "https://fedsq.github.io/fedsq-flwr/",
        "https://fedsq.readthedocs.io",
        "git@github.com:somebody/FedSQ.git",
        "fedsq.github.io",
    ],
)
def test_an_address_of_the_project_is_found(address: str) -> None:
    assert OWN_ADDRESS.search(f"[page]({address})")


def test_each_command_is_on_the_page_of_the_command_line() -> None:
    page = (DOCS / "reference" / "command-line.md").read_text(encoding="utf-8")
    commands = set(re.findall(r"^    ([a-z-]+)", help_of(None), re.M))
    assert len(commands) >= 10
    assert commands == set(re.findall(r"^## fedsq ([a-z-]+)$", page, re.M))


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
