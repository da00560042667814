"""A model that is put together again is the one that the run had, gates included."""

import json

import pytest
import torch

from fedsq_flwr.data.sources import load_digits
from fedsq_flwr.errors import ConfigurationError
from fedsq_flwr.learning import evaluate
from fedsq_flwr.records.restoring import restore
from tests.assembly.fitted import fit_images


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
