"""Federations of real silos on loopback: processes with TLS and keys, from folders of images to a report."""

import json
from pathlib import Path

import numpy as np
import psutil
import pytest

from fedsq_flwr.cli import main
from fedsq_flwr.data.folder_writing import write_folder
from fedsq_flwr.data.sources import load_digits
from tests.endtoend.conftest import read_history, read_summary

#: A network with random weights on few images, so that a round takes a second.
TINY = ("backbone.weights=random", "backbone.image_size=8", "learning_rate=0.02", "validation_fraction=0.5")

pytestmark = pytest.mark.slow


@pytest.fixture
def nothing_left():
    """No process that the test started is there when it is over."""
    yield
    assert psutil.Process().children(recursive=True) == []


def digits_folders(root: Path) -> Path:
    """Two silos' own folders: 60 and 40 digits, one with a part for validation, one with a file that is no image."""
    digits = load_digits()
    few = digits.pool.subset(range(100))
    write_folder(root / "silo-0", {"train": few.subset(range(60))}, digits.class_names)
    parts = {"train": few.subset(range(60, 85)), "validation": few.subset(range(85, 100))}
    write_folder(root / "silo-1", parts, digits.class_names)
    (root / "silo-1" / "train" / "3" / "broken.png").write_bytes(b"no image")
    return root


def test_resumed_or_not_silos_end_with_the_weights_of_the_simulation(tmp_path, monkeypatch, capsys, nothing_left):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine" / "clinic").mkdir(parents=True)
    (tmp_path / "mine" / "clinic" / "north.yaml").write_text("# @package _global_\nmomentum: 0.5\nlocal_epochs: 2\n")
    own = ["--config-dir", "mine", "+clinic=north"]  # a group of one's own
    assert main(["rehearse", "2", *own, *TINY, "rounds=1", "output=silos"]) == 0
    assert main(["rehearse", "2", *own, *TINY, "rounds=2", "output=silos", "resume=true"]) == 0
    same = ["momentum=0.5", "local_epochs=2", "executor=inprocess", "silos=2"]
    assert main(["run", *TINY, *same, "rounds=2", "output=simulation"]) == 0
    silos, simulation = read_summary(tmp_path / "silos"), read_summary(tmp_path / "simulation")
    assert silos["weights_sha256"] == simulation["weights_sha256"]
    assert silos["fingerprint"] == simulation["fingerprint"]
    assert silos["per_silo"] == simulation["per_silo"]
    same = ("train_loss", "loss", "accuracy", "test_accuracy", "silo_accuracies", "dropped")
    for there, here in zip(read_history(tmp_path / "silos"), read_history(tmp_path / "simulation"), strict=True):
        assert {name: there[name] for name in same} == {name: here[name] for name in same}
    assert (silos["data"], silos["partition"], silos["alpha"]) == ("imagefolder", "silos", None)
    assert "keep to themselves" in (tmp_path / "silos" / "report.html").read_text()
    for silo in ("silo-0", "silo-1"):
        log = (tmp_path / "silos" / "silos" / silo / "silo.log").read_text()
        assert "round 2: train answered in" in log
        assert log.endswith("stopped: terminated\n")
    secrets = [path for path in (tmp_path / "silos").rglob("*") if path.suffix in (".key", ".pem", ".pub")]
    assert secrets == []


def test_silos_without_weights_of_a_server_without_data(tmp_path, capsys, nothing_left):
    """What a hospital would do: own folders, structure sent, rounded, counts by class now and then, a bad file."""
    root, output = digits_folders(tmp_path / "folders"), tmp_path / "run"
    classes = ",".join(f"'{digit}'" for digit in range(10))
    chosen = ["data=imagefolder", f"data.path={root}", f"data.classes=[{classes}]", "data.unreadable=skip"]
    policies = ["executor.structure=sent", "wire_dtype=bfloat16", "evaluate_every=2", "rounds=3"]
    policies += ["silo_measures=confusion", "select_by=macro_f1"]
    assert main(["rehearse", "2", *TINY, *chosen, *policies, f"output={output}"]) == 0
    lines, summary = read_history(output), read_summary(output)
    assert [line["replies"] for line in lines] == [2, 2, 2]
    assert [line["accuracy"] is None for line in lines] == [True, False, False]
    held_out = {"0": 6, "1": 15}  # a tenth of 60 by seed; the part validation
    assert lines[1]["silo_held_out"] == held_out
    pooled = sum(held_out[silo] * accuracy for silo, accuracy in lines[1]["silo_accuracies"].items()) / 21
    assert lines[1]["accuracy"] == pytest.approx(pooled)
    confusion = np.array(lines[1]["held_out_measures"]["confusion"])
    assert (confusion.sum(), np.trace(confusion)) == (21, round(21 * pooled))
    assert lines[1]["measures"] == lines[1]["held_out_measures"]
    assert "measures" not in lines[0]
    f1 = [lines[number]["measures"]["macro_f1"] for number in (1, 2)]
    assert summary["measures"]["macro_f1"] == max(f1)
    assert (summary["test_accuracy"], summary["final_accuracy"]) == (None, None)
    assert summary["rounds_to_best"] in (2, 3)
    assert [silo.get("unreadable", 0) for silo in summary["per_silo"]] == [0, 1]
    assert [(silo["train"], silo["held_out"]) for silo in summary["per_silo"]] == [(54, 6), (25, 15)]
    structures = list((output / "silos" / "silo-0" / "state" / "structures").iterdir())
    assert [path.stem for path in structures] == [summary["fingerprint"]]
    assert "broken.png" in (output / "silos" / "silo-1" / "silo.log").read_text()
    everything_of_the_server = "".join(
        (output / name).read_text() for name in ("run.log", "flower.log", "superlink.log")
    )
    assert "broken.png" not in everything_of_the_server
    assert json.loads((output / "partition.json").read_text())["name"] == "silos"
    assert (output / "report.html").is_file()
    assert main(["report", str(output)]) == 0


def test_a_class_that_is_not_agreed_ends_the_run_and_the_silos_log_names_the_folder(tmp_path, capsys, nothing_left):
    root, output = digits_folders(tmp_path / "folders"), tmp_path / "run"
    chosen = ["data=imagefolder", f"data.path={root}", "data.classes=['0','1','2','3']", "rounds=1"]
    assert main(["rehearse", "2", *TINY, *chosen, f"output={output}"]) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("fedsq: round 1: 0 usable replies of 2, min_replies=1 (silos 0, 1: cannot use its data")
    log = (output / "silos" / "silo-0" / "silo.log").read_text()
    assert f"{root / 'silo-0' / 'train' / '4'}: is none of the classes 0, 1, 2, 3" in log


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["2", "data=imagefolder", "data.path=/no/such"], "/no/such/silo-0: no such folder; a rehearsal needs one"),
        (["0"], "silos=0: must be at least 1"),
        (
            ["2", "executor.superlink=localhost:1"],
            "executor.superlink=localhost:1: must be null, since a rehearsal starts its own",
        ),
        (["2", "executor.structure=lent"], "executor.structure=lent: allowed are own, sent"),
        (["2", "min_available_silos=3"], "min_available_silos=3: must be null or 1 to 2, the number of silos"),
    ],
)
def test_bad_input_is_told_in_one_line_before_anything_is_started(tmp_path, monkeypatch, capsys, words, line):
    monkeypatch.chdir(tmp_path)
    assert main(["rehearse", *words, "output=run"]) == 1
    assert capsys.readouterr().err.splitlines()[-1].startswith(f"fedsq: {line}")
