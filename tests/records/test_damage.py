"""Whatever has become of a file of a run: one line that names the file, and never a traceback."""

import json
import math
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from fedsq_flwr.data import read_partition
from fedsq_flwr.errors import FedSQError
from fedsq_flwr.executors.failure import written_error
from fedsq_flwr.executors.follow import JsonLinesFollower
from fedsq_flwr.files import read_as, write_as_json
from fedsq_flwr.records.config import read_config
from fedsq_flwr.records.history import History
from fedsq_flwr.records.status import run_status
from fedsq_flwr.records.summary import Failure, read_failure, read_summary
from fedsq_flwr.records.trackers import Told, Trackers
from fedsq_flwr.report import page as page_module
from fedsq_flwr.report import read_run, write_report
from fedsq_flwr.report.comparison import collect, compare
from fedsq_flwr.report.comparison.writing import markdown, runs_csv
from fedsq_flwr.settings.partition_file import PartitionFile
from tests.records.made import DIGITS, leave_run

#: Who reads each file.
READERS: dict[str, tuple[Callable[[Path], Any], ...]] = {
    "config.yaml": (read_config, lambda path: read_run(path.parent), lambda path: run_status(path.parent, DIGITS)),
    "history.jsonl": (lambda path: History(path).read(), lambda path: read_run(path.parent)),
    "summary.json": (
        lambda path: read_summary(path.parent),
        lambda path: read_run(path.parent),
        lambda path: run_status(path.parent, DIGITS),
    ),
    "partition.json": (
        lambda path: read_as(PartitionFile, path),
        read_partition,
        lambda path: read_run(path.parent),
    ),
    "failure.json": (lambda path: read_failure(path.parent),),
    "trackers.json": (lambda path: read_as(Trackers, path),),
}

CONTENTS = {
    "null": b"null\n",
    "a list": b"[]\n",
    "a number": b"3\n",
    "a text": b'"text"\n',
    "half": b'{"round": 1, \n',
    "no text": b"\xff\xfe\x00{}\n",
    "zeros": b"\x00" * 100 + b"\n",
    "half a character": b'{"round": "\\ud800"}\n',
    "deep": b"[" * 100_000 + b"\n",
    "deep objects": b'{"a":' * 100_000 + b"\n",
    "many digits": b'{"round": ' + b"9" * 5_000 + b"}\n",
    "other fields": b'{"some": "thing", "else": 1}\n',
}

#: What may stand in the place of any value.
VALUES = (
    None,
    True,
    -1,
    0,
    1,
    0.5,
    10**30,
    10**400,
    1e308,
    float("nan"),
    float("inf"),
    "",
    "text",
    [],
    [[]],
    {},
    "a\nb",
)

YAML_VALUES = (None, True, -1, 10**400, math.nan, "text", [], {})


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run that is whole, with every file that there may be."""
    directory = leave_run(tmp_path / "run", DIGITS)
    write_as_json(directory / "failure.json", Failure(error="of an earlier attempt"))
    write_as_json(directory / "trackers.json", Trackers({"one": Told(run="x", round=3)}))
    return directory


def complaints(path: Path) -> list[str]:
    """Return what each reader of a file complains of."""
    told = []
    for reader in READERS[path.name]:
        with pytest.raises(FedSQError) as caught:
            reader(path)
        told.append(str(caught.value))
    return told


def assert_one_line(path: Path) -> None:
    for told in complaints(path):
        assert path.name in told
        assert "\n" not in told
        assert len(told) < 600


@pytest.mark.parametrize("name", READERS)
def test_whole_files_are_read_by_all(run: Path, name: str) -> None:
    for reader in READERS[name]:
        reader(run / name)


@pytest.mark.parametrize("content", CONTENTS.values(), ids=CONTENTS)
@pytest.mark.parametrize("name", READERS)
def test_other_content_is_one_line(run: Path, name: str, content: bytes) -> None:
    path = run / name
    path.write_bytes(content)
    if (name, content) == ("trackers.json", CONTENTS["other fields"]):
        content = b'{"one": 1}'
    assert_one_line(path)


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("kind", ["folder", "pipe", "device", "huge", "empty"])
def test_what_is_no_such_file_is_one_line(run: Path, name: str, kind: str) -> None:
    path = run / name
    path.unlink()
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    else:
        path.touch()
        os.truncate(path, 2**40 if kind == "huge" else 0)
    if (name, kind) == ("history.jsonl", "empty"):
        assert History(path).read() == []
    else:
        assert_one_line(path)


@pytest.mark.parametrize("kind", ["pipe", "device", "huge"])
def test_a_history_that_is_no_file_is_not_followed(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "history.jsonl"
    follower = JsonLinesFollower(path)
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    else:
        path.touch()
        os.truncate(path, 2**40)
    with pytest.raises(FedSQError, match=r"history\.jsonl"):
        follower.read()


@pytest.mark.parametrize("content", CONTENTS.values(), ids=CONTENTS)
def test_a_failure_that_cannot_be_read_is_passed_over_by_the_executor(run: Path, content: bytes) -> None:
    (run / "failure.json").write_bytes(content)
    assert written_error(run / "failure.json") is None


def test_an_alias_in_yaml_stands_for_nothing(run: Path) -> None:
    levels = ["a0: &a0 [x]"] + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    (run / "config.yaml").write_text("\n".join(levels) + "\n")
    assert all("aliases" in told for told in complaints(run / "config.yaml"))


def changed(content: Any, values: Sequence[Any] = VALUES) -> Iterator[Any]:
    """Return content with each value in turn replaced or left out."""
    items = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for key, value in list(items):
        for other in values:
            yield _with(content, key, other)
        yield _without(content, key)
        for inner in changed(value, values):
            yield _with(content, key, inner)


def _with(content: Any, key: Any, value: Any) -> Any:
    copy = content.copy()
    copy[key] = value
    return copy


def _without(content: Any, key: Any) -> Any:
    copy = content.copy()
    del copy[key]
    return copy


@pytest.mark.parametrize("name", READERS)
def test_any_other_value_is_one_line_or_means_something(
    run: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page_module, "_figures", lambda _: [])
    path, yaml_file, lines = run / name, name.endswith("yaml"), name.endswith("jsonl")
    text = path.read_text()
    whole = yaml.safe_load(text) if yaml_file else json.loads(text.splitlines()[0] if lines else text)
    if lines:
        whole |= {"dropped": [{"silo": 0, "reason": "x", "while": "training"}], "silo_accuracies": {"0": 0.5}}
        whole |= {"silo_samples": {"0": 3}, "exchange_seconds": {"train": 1.0}, "sampled": 2, "bytes_up": 1}
        layer = {"layer": "relu", "kind": "relu", "flip_rate": 0.1, "density": 0.5, "own_density": 0.5}
        averaging, drift = {"gap": 1.0, "spread": 2.0, "relative": 0.5}, {"mean": 1.0, "of_mean": 1.0}
        whole["diagnostics"] = {"images": 8, "flip_rate": 0.1, "layers": [layer]}
        whole["diagnostics"] |= {"averaging": averaging, "drift": drift}
    for number, content in enumerate(changed(whole, YAML_VALUES if yaml_file else VALUES)):
        told = yaml.safe_dump(content) if yaml_file else json.dumps(content) + "\n"
        path.write_text(told + text.partition("\n")[2] if lines else told)
        for reader in READERS[name][: None if number % 10 == 0 else 1]:
            try:
                reader(path)
            except FedSQError as error:
                assert "\n" not in str(error)
        if number % 20 == 0:
            use(run)


def use(directory: Path) -> None:
    """Do with a run what the report does."""
    comparison = compare(collect([directory.parent]))
    markdown(comparison)
    runs_csv(comparison)
    try:
        write_report(directory)
    except FedSQError as error:
        assert "\n" not in str(error)
