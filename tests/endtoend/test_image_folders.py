"""Runs on a folder of images, which are the digits, so that the numbers must be those of a run in memory."""

import json
import shutil
from pathlib import Path

import pytest

from fedsq_flwr.cli import main
from fedsq_flwr.data.folder_writing import write_folder
from fedsq_flwr.data.sources import load_digits
from tests.endtoend.conftest import read_history, read_summary
from tests.endtoend.test_inprocess import PROMISED_LINE, PROMISED_SUMMARY, timeless


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The digits that `run` has in memory, as `few_digits` chooses them."""
    source = load_digits()
    parts = {"train": source.pool.subset(range(200)), "test": source.test.subset(range(40))}
    write_folder(tmp_path / "images", parts, source.class_names)
    return tmp_path / "images"


def test_a_run_on_a_folder_gives_the_numbers_of_a_run_in_memory_to_the_bit(run, pages, folder):
    in_memory = run(name="memory")
    on_folder = run("data=imagefolder", "data.path=images", name="folder")  # relative to where it is started
    assert timeless(read_history(on_folder)) == timeless(read_history(in_memory))
    summary = read_summary(on_folder)
    assert summary["weights_sha256"] == read_summary(in_memory)["weights_sha256"]
    assert summary["data"] == "imagefolder"
    assert summary.keys() >= PROMISED_SUMMARY
    assert all(line.keys() >= PROMISED_LINE for line in read_history(on_folder))
    for name in ("config.yaml", "report.html", "checkpoints/best/quantitative.safetensors"):
        assert (on_folder / name).is_file()
    assert f"path: {folder}\n" in (on_folder / "config.yaml").read_text()
    first, second = (json.loads((where / "partition.json").read_text()) for where in (in_memory, on_folder))
    assert first == second


def test_a_run_is_resumed_on_its_folder_and_its_model_is_used_without_it(run, folder, tmp_path, capsys):
    data = ("data=imagefolder", f"data.path={folder}")
    directory = run(*data, "rounds=1")
    run(*data, "rounds=2", "resume=true")
    assert len(read_history(directory)) == 2
    few = tmp_path / "few"
    shutil.copytree(folder / "test/3", few)
    shutil.rmtree(folder)
    capsys.readouterr()
    assert main(["predict", str(directory), str(few)]) == 0
    assert capsys.readouterr().out.startswith("file,predicted,0,1,2")


def test_a_validation_folder_is_the_servers_validation_set(run, folder):
    for path in sorted((folder / "train").rglob("*.tif"))[::5]:
        (moved := folder / "validation" / path.parent.name).mkdir(parents=True, exist_ok=True)
        path.rename(moved / path.name)
    run_directory = run("data=imagefolder", f"data.path={folder}", "rounds=1")
    partition = json.loads((run_directory / "partition.json").read_text())
    assert partition["validation"] == 40
    assert sum(map(sum, partition["counts"])) == 160


@pytest.fixture
def broken(folder: Path) -> Path:
    """One of the files, cut off."""
    path = sorted((folder / "train").rglob("*.tif"))[17]
    path.write_bytes(path.read_bytes()[:-100])
    return path


def test_a_file_that_cannot_be_read_ends_the_run_in_one_line(run, folder, broken, capsys):
    directory = run("data=imagefolder", f"data.path={folder}", status=1)
    told = capsys.readouterr().err
    assert told.startswith(f"fedsq: {broken}: cannot be read as an image: ")
    assert told.count("\n") == 1
    assert not (directory / "history.jsonl").exists()


def test_a_file_that_cannot_be_read_is_left_out_where_that_is_wanted(run, folder, broken, capsys):
    directory = run("data=imagefolder", f"data.path={folder}", "data.unreadable=skip", "rounds=1")
    partition = json.loads((directory / "partition.json").read_text())
    assert sum(map(sum, partition["counts"])) + partition["validation"] == 199
    assert f"{broken}: cannot be read as an image" in (directory / "run.log").read_text()
    assert f"{folder}: left out of train, as unreadable: 1 of 200 files" in capsys.readouterr().out


def test_a_folder_that_is_not_there_leaves_nothing_behind(run, tmp_path, capsys):
    directory = run("data=imagefolder", f"data.path={tmp_path}/nowhere", status=1)
    assert capsys.readouterr().err == f"fedsq: data.path={tmp_path}/nowhere: there is no such folder\n"
    assert not directory.exists()


def test_what_is_loaded_in_several_places_is_told_once(run, folder, capsys):
    run("data=imagefolder", f"data.path={folder}", "rounds=1")
    assert capsys.readouterr().out.count("reading the images of") == 1
