"""A model that is put together again is the one that the run had, gates included."""

import json
import shutil

import pytest
import torch

from fedsq_flwr.data.sources import load_digits
from fedsq_flwr.errors import ConfigurationError, WeightsError
from fedsq_flwr.gating.fingerprint import structure_fingerprint
from fedsq_flwr.learning import evaluate
from fedsq_flwr.models.weights import read_weights, save_weights
from fedsq_flwr.records.restoring import restore
from tests.assembly.fitted import fit_images

#: What the metadata of a checkpoint of version 0.1 hold.
OF_0_1 = ("line", "structure", "server", "mean", "std", "input_size", "digest")


@pytest.mark.parametrize("run", ["fedsq", "fedavg", "refreshed", "released"])
def test_the_last_rounds_model_has_the_accuracy_of_its_line(runs, run):
    *_, line = map(json.loads, (runs / run / "history.jsonl").read_text().splitlines())
    restored = restore(runs / run / "checkpoints" / "last")
    assert restored.round == line["round"]
    assert restored.model.fingerprint == line["fingerprint"]
    test = fit_images(restored.settings, load_digits().test.subset(range(40)))
    assert evaluate(restored.network(None), test.images, test.labels).accuracy == line["test_accuracy"]


def test_a_structure_that_came_up_during_the_run_is_not_the_starts(runs):
    start, refreshed = (restore(runs / run / "checkpoints" / "last").model for run in ("fedsq", "refreshed"))
    assert start.fingerprint != refreshed.fingerprint
    assert not torch.equal(start.structural.conv1.weight, refreshed.structural.conv1.weight)


def test_a_released_model_has_a_plain_form_only(runs):
    released = restore(runs / "released" / "checkpoints" / "last")
    with pytest.raises(ConfigurationError, match="fedsq has no fixed gates in round 2; allowed is plain"):
        released.network("dual")


@pytest.mark.parametrize("run", ["fedsq", "refreshed"])
def test_a_run_of_version_0_1_is_restored_by_its_fingerprint_and_no_other_is(runs, run, tmp_path):
    model = restore(runs / run / "checkpoints" / "last").model
    older = structure_fingerprint(model.structural, head=model.head, pool_gates=model.pool_gates, version=1)
    copy = shutil.copytree(runs / run, tmp_path / run)
    file = copy / "checkpoints" / "last" / "quantitative.safetensors"
    state, metadata = read_weights(file)
    for fingerprint, known in ((older, True), (older[::-1], False)):
        line = {**json.loads(metadata["line"]), "fingerprint": fingerprint}
        of_0_1 = {name: metadata[name] for name in OF_0_1 if name in metadata}
        save_weights(file, state, {**of_0_1, "line": json.dumps(line)})
        history = copy / "history.jsonl"
        lines = history.read_text().splitlines()
        history.write_text(
            "\n".join([*lines[:-1], json.dumps({**json.loads(lines[-1]), "fingerprint": fingerprint})]) + "\n"
        )
        if known:
            assert restore(file.parent).model.fingerprint == model.fingerprint
        else:
            with pytest.raises(WeightsError, match=rf"of a structure with fingerprint {fingerprint[:12]}"):
                restore(file.parent)
