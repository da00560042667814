import csv
import importlib.util
from pathlib import Path

import pytest
from flwr.app import Context, RecordDict

from fedsq_flwr.executors.grid import InProcessGrid
from fedsq_flwr.models.weights import read_weights, save_weights

FILE = Path(__file__).parents[2] / "examples" / "own_app" / "own_app.py"


def loaded():
    spec = importlib.util.spec_from_file_location("own_app", FILE)
    own_app = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(own_app)
    return own_app


def test_a_network_is_trained_checkpointed_and_reported(tmp_path):
    own_app, output = loaded(), tmp_path / "run"
    with InProcessGrid(own_app.client, silos=4) as grid:
        own_app.server(grid, Context(1, 1, {}, RecordDict(), {"rounds": 3, "output": str(output)}))

    with (output / "history.csv").open() as file:
        accuracies = [float(row["accuracy"]) for row in csv.DictReader(file)]
    assert len(accuracies) == 4
    assert accuracies[-1] > accuracies[0] + 0.03

    best = own_app.best_model(output)
    assert own_app.evaluate(best, *own_app.validation()).accuracy == max(accuracies)
    report = (output / "report.md").read_text()
    assert report.count("\n| ") == 5
    for model in (best, best.to_plain()):
        assert f"{own_app.evaluate(model, *own_app.held_back()).accuracy:.3f}" in report

    state, about = read_weights(output / "best.safetensors")
    save_weights(output / "best.safetensors", state, about | {"fingerprint": "another"})
    with pytest.raises(ValueError, match="not the one"):
        own_app.best_model(output)


def test_the_example_imports_public_names_only():
    page = (FILE.parents[2] / "docs" / "reference" / "api.md").read_text()
    for line in FILE.read_text().splitlines():
        if line.startswith("from fedsq_flwr"):
            for name in line.partition(" import ")[2].split(", "):
                assert f".{name}\n" in page or f" {name}," in page, f"{name} is not on the page of the public API"
