"""Every fenced block on the pages does what it says: Python is run, commands are run or checked, YAML is read."""

import re
from pathlib import Path

import pytest
import yaml
from flwr.app import Context, RecordDict
from PIL import Image

from fedsq_flwr.errors import ConfigurationError
from fedsq_flwr.run_config import settings_of
from tests.docs.commands import check, fedsq_words, flower_config, lines_of, runner
from tests.docs.pages import DOCS, PAGES, blocks, name_of

LANGUAGES = ("bash", "python", "yaml", "text")
TUTORIAL = DOCS / "tutorial" / "first-runs.md"
#: Pages whose commands need what the tutorial leaves: its runs.
AFTER_THE_TUTORIAL = {DOCS / "how-to" / "use-a-model.md"}
WITH_BLOCKS = [page for page in PAGES if any(blocks(page))]
RUNNING = [page for page in WITH_BLOCKS if page not in (TUTORIAL, *AFTER_THE_TUTORIAL)]

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


@pytest.mark.parametrize("page", WITH_BLOCKS, ids=name_of)
def test_each_block_has_a_language_and_each_shell_block_says_how_it_is_checked(page: Path) -> None:
    assert page.read_text(encoding="utf-8").count("\n```") == 2 * len(list(blocks(page))), "a block has no language"
    assert not re.search(r"^    (fedsq|flwr|scripts/)", page.read_text(encoding="utf-8"), re.M)
    for block in blocks(page):
        assert block.language in LANGUAGES, f"{name_of(page)}:{block.line}"
        known = {
            "bash": ("run:", "not run: ", "not checked here: ", "settings only"),
            "python": ("", "not run: "),
        }.get(block.language, ("",))
        assert block.mark.startswith(known) if block.mark else "" in known, f"{name_of(page)}:{block.line}"


@pytest.mark.parametrize("page", WITH_BLOCKS, ids=name_of)
def test_commands_are_understood(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FEDSQ_DATA", str(tmp_path))
    write_files(page, tmp_path)
    for block in blocks(page):
        if block.language != "bash" or block.extra is not None:
            continue
        for words in lines_of(block.text):
            told = fedsq_words(words)
            if told is not None:
                check(told, monkeypatch, compose=not block.mark.startswith("not checked"))
            elif (config := flower_config(words)) is not None:
                settings_of(Context(1, 1, {}, RecordDict(), config))


@pytest.mark.parametrize("page", RUNNING, ids=name_of)
def test_snippets_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run_all(page)


def test_the_tutorial_and_what_follows_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run_all(TUTORIAL)
    assert (tmp_path / "runs" / "comparison" / "report.html").is_file()
    (tmp_path / "photographs").mkdir()
    for number in range(3):
        Image.new("L", (20, 20), 80 * number).save(tmp_path / "photographs" / f"{number}.png")
    for page in AFTER_THE_TUTORIAL:
        run_all(page)
    assert (tmp_path / "classes.csv").read_text().count("\n") == 4


def run_all(page: Path) -> None:
    """Run the blocks of a page in order, in one folder, with its files, and one namespace."""
    write_files(page, Path.cwd())
    names: dict[str, object] = {"__name__": "snippet"}
    for block in blocks(page):
        if block.language == "python" and not block.mark:
            exec(compile("\n" * block.line + block.text, name_of(page), "exec"), names)  # noqa: S102 - our own
        elif block.extra is not None:
            run = runner(block.extra)
            for words in lines_of(block.text):
                told = fedsq_words(words)
                assert told is not None, f"{name_of(page)}:{block.line}: is no command of fedsq: {words}"
                run(told)


def write_files(page: Path, folder: Path) -> None:
    """Write the YAML blocks of a page that begin with the name of a file; read the others."""
    for block in blocks(page):
        if block.language == "yaml":
            assert yaml.safe_load(block.text), f"{name_of(page)}:{block.line}"
            name = re.search(r"^# (\S+\.yaml)$", block.text, re.M)
            if name:
                (folder / name[1]).parent.mkdir(parents=True, exist_ok=True)
                (folder / name[1]).write_text(block.text)


@pytest.mark.parametrize(
    "command", ["fedsq run learning_rte=1", "scripts/run method=nope", "sudo -u x fedsq rehearse 2 rounds=0"]
)
def test_a_wrong_setting_is_found(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (words,) = lines_of(command)
    with pytest.raises(ConfigurationError):
        check(fedsq_words(words) or [], monkeypatch)
