"""`fedsq predict`: the run's model on a folder of images, through the run's own input pipeline."""

import csv
import json
import shutil
from collections.abc import Callable
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.metrics import f1_score, recall_score

from fedsq_flwr.cli import main
from fedsq_flwr.data.sources import load_digits
from fedsq_flwr.records.restoring import restore
from tests.endtoend.conftest import read_summary


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Eight images of the test set, of 16 bits so that nothing is lost, in two folders."""
    images = load_digits().test.images[:8, 0].numpy()
    for number, image in enumerate(images):
        path = tmp_path / "images" / ("b" if number % 2 else "a") / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((image * 65535).round().astype(np.uint16)).save(path)
    return tmp_path / "images"


@pytest.fixture
def predict(runs: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., list[list[str]]]:
    def call(run: str, *arguments: str) -> list[list[str]]:
        assert main(["predict", str(runs / run), str(folder), *arguments]) == 0
        return list(csv.reader(StringIO(capsys.readouterr().out)))

    return call


def probabilities(rows: list[list[str]]) -> np.ndarray:
    return np.array([[float(value) for value in row[2:]] for row in rows[1:]])


@pytest.mark.parametrize(("run", "form"), [("fedsq", "dual"), ("fedsq", "plain"), ("fedavg", "plain")])
def test_probabilities_are_those_of_the_model_on_the_runs_own_images(runs, predict, run, form):
    rows = predict(run, "--form", form)
    assert rows[0] == ["file", "predicted", *map(str, range(10))]
    order = [0, 2, 4, 6, 1, 3, 5, 7]
    assert [row[0] for row in rows[1:]] == [f"{'b' if n % 2 else 'a'}/{n}.png" for n in order]
    restored = restore(runs / run)
    # SMALL has image_size=8, the digits' own size, so that the pipeline only normalises.
    images = (load_digits().test.images[order] - 0.1307) / 0.3081
    with torch.no_grad():
        expected = restored.network(form)(images).softmax(1).numpy()
    assert np.abs(probabilities(rows) - expected).max() < 1e-3
    assert [row[1] for row in rows[1:]] == [str(best) for best in probabilities(rows).argmax(1)]


def test_the_forms_differ_and_the_default_is_as_the_method_trains(predict):
    dual, plain = predict("fedsq", "--form", "dual"), predict("fedsq", "--form", "plain")
    assert dual != plain
    assert predict("fedsq") == dual
    assert predict("fedavg") == predict("fedavg", "--form", "plain")


def test_a_runs_directory_means_its_best_checkpoint(runs, predict):
    best = read_summary(runs / "fedsq")["rounds_to_best"]
    assert restore(runs / "fedsq").round == restore(runs / "fedsq/checkpoints/best").round == best
    assert restore(runs / "fedsq/checkpoints/last").round == 2
    assert predict("fedsq") == predict("fedsq/checkpoints/best")


def test_the_restored_model_has_the_accuracies_of_the_summary(runs):
    from fedsq_flwr.learning import evaluate
    from tests.assembly.fitted import fit_images

    summary = read_summary(runs / "fedsq")
    restored = restore(runs / "fedsq/checkpoints/last")
    few = load_digits().test.subset(range(40))  # as `few_digits` has it
    test = fit_images(restored.settings, few)
    for form, key in (("dual", "final_accuracy"), ("plain", "plain_final_accuracy")):
        assert evaluate(restored.network(form), test.images, test.labels).accuracy == summary[key]


def test_a_file_is_written_whole_and_holds_what_the_output_would(runs, folder, predict, tmp_path, capsys):
    printed = predict("fedsq")
    assert main(["predict", str(runs / "fedsq"), str(folder), "--output", str(tmp_path / "p.csv")]) == 0
    assert capsys.readouterr().out == ""
    assert list(csv.reader(StringIO((tmp_path / "p.csv").read_text()))) == printed
    assert sorted(path.name for path in tmp_path.iterdir()) == ["images", "p.csv"]


def test_an_unreadable_image_is_named_and_nothing_is_written(runs, folder, tmp_path, capsys):
    (folder / "b" / "broken.png").write_bytes((folder / "b" / "1.png").read_bytes()[:40])
    for arguments in ([], ["--output", str(tmp_path / "p.csv")]):
        assert main(["predict", str(runs / "fedsq"), str(folder), *arguments]) == 1
        told = capsys.readouterr()
        assert told.out == ""
        assert str(folder / "b" / "broken.png") in told.err
        assert told.err.count("\n") == 1
    assert not (tmp_path / "p.csv").exists()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["fedavg", "images", "--form", "dual"], "--form=dual: fedavg has no fixed gates in round "),
        (["nothing", "images"], "is neither a run's directory nor its checkpoints"),
        (["fedsq/checkpoints", "images"], "is neither a run's directory nor its checkpoints"),
        (["fedsq", "nowhere"], "nowhere: no such folder"),
        (["fedsq", "images", "--output", "no/p.csv"], "--output=no/p.csv: there is no directory"),
        (["fedsq", "images", "--output", "images"], "--output=images: is a directory"),
    ],
)
def test_what_cannot_be_done_is_told_in_one_line(runs, folder, tmp_path, monkeypatch, capsys, arguments, told):
    monkeypatch.chdir(tmp_path)
    arguments[0] = str(runs / arguments[0])
    assert main(["predict", *arguments]) == 1
    error = capsys.readouterr().err
    assert told in error
    assert error.count("\n") == 1


def test_other_gates_than_the_runs_are_refused(runs, folder, tmp_path, capsys):
    moved = tmp_path / "moved"
    shutil.copytree(runs / "fedsq", moved)
    settings = moved / "config.yaml"
    settings.write_text(settings.read_text().replace("\nseed: 0", "\nseed: 1"))  # other random weights
    assert main(["predict", str(moved), str(folder)]) == 1
    error = capsys.readouterr().err
    assert "is of a structure with fingerprint" in error
    assert read_summary(moved)["fingerprint"][:12] in error


def test_a_checkpoint_that_does_not_fit_its_settings_is_refused(runs, folder, tmp_path, capsys):
    moved = tmp_path / "moved"
    shutil.copytree(runs / "fedavg", moved)
    partition = json.loads((moved / "partition.json").read_text())
    fewer = {"class_names": ["a", "b"], "counts": [[sum(row), 0] for row in partition["counts"]]}
    (moved / "partition.json").write_text(json.dumps(partition | fewer))
    assert main(["predict", str(moved), str(folder)]) == 1
    assert "does not fit its run's settings" in capsys.readouterr().err
    (moved / "partition.json").unlink()
    assert main(["predict", str(moved), str(folder)]) == 1
    assert "partition.json: there is no such file" in capsys.readouterr().err


@pytest.fixture
def classes(tmp_path: Path) -> Path:
    """Twenty images of the test set in folders of their classes, and one beside them."""
    test = load_digits().test
    for number, (image, label) in enumerate(zip(test.images[:20, 0].numpy(), test.labels.tolist(), strict=False)):
        path = tmp_path / "sorted" / (str(label) if number else "") / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((image * 65535).round().astype(np.uint16)).save(path)
    return tmp_path / "sorted"


def test_a_folder_of_classes_is_scored_by_the_measures_of_its_predictions(runs, classes, tmp_path, capsys):
    assert main(["predict", str(runs / "fedsq"), str(classes), "--output", str(tmp_path / "p.csv")]) == 0
    told = capsys.readouterr()
    rows = list(csv.reader(StringIO((tmp_path / "p.csv").read_text())))[1:]
    in_class = [row for row in rows if "/" in row[0]]
    labels = np.array([int(row[0].split("/")[0]) for row in in_class])
    predicted = np.array([int(row[1]) for row in in_class])
    found = json.loads((tmp_path / "p.measures.json").read_text())
    assert (found["images"], found["others"]) == (19, 1)
    assert found["accuracy"] == pytest.approx((labels == predicted).mean())
    assert found["measures"]["macro_f1"] == pytest.approx(f1_score(labels, predicted, average="macro"))
    recalls = recall_score(labels, predicted, labels=range(10), average=None, zero_division=np.nan)
    assert [each if each is not None else np.nan for each in found["measures"]["recalls"]] == pytest.approx(
        recalls, nan_ok=True
    )
    assert "scored 19 images by the folders of their classes" in told.err
    assert "1 image in no folder of a class: not scored" in told.err
    assert told.out == ""


def test_a_folder_without_folders_of_classes_is_not_scored(runs, folder, capsys):
    assert main(["predict", str(runs / "fedsq"), str(folder)]) == 0
    assert "scored" not in capsys.readouterr().err
