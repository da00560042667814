"""Every setting of a run, with values of every kind: the silo trains privately, or it refuses."""

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from flwr.app import ArrayRecord, ConfigRecord, Message, RecordDict
from torch import Tensor

from fedsq_flwr import client_app
from fedsq_flwr.assembly.model import build_silo_model
from fedsq_flwr.data import LabelledImages, SiloData
from fedsq_flwr.federation.packing import pack, unpack
from fedsq_flwr.gating import QuantitativeCopy
from fedsq_flwr.learning.private_training import Noise
from fedsq_flwr.learning.randomness import SystemRandomness
from fedsq_flwr.privacy.audit import AuditLog, verify
from fedsq_flwr.privacy.ledger import Charge, Ledger, LedgerContent
from fedsq_flwr.settings.composition import compose_settings
from fedsq_flwr.settings.fields import catalogue
from fedsq_flwr.settings.run import RunSettings
from fedsq_flwr.silos.node import Node
from tests.silos.test_node import FakeLink

pytestmark = pytest.mark.filterwarnings("ignore")

SAMPLES = 12
GOOD = (
    "executor=silos",
    "executor.structure=own",
    "data=imagefolder",
    "data.classes=[a,b,c]",
    "backbone=resnet20",
    "backbone.in_channels=3",
    "backbone.weights=random",
    "backbone.image_size=8",
    "batch_norm=frozen",
    "method=fedavg",
)
RUN = compose_settings(GOOD)
OTHER = compose_settings([*GOOD, "backbone=resnet32"])  # stands for all other networks: they take long to make
TOLD = {"num-examples": 7, "train_loss": 0.0, "train_seconds": 0.0, "unreadable-files": 0.0}
PRIVACY = {"clip": 1.0, "delta": 1e-5, "max_epsilon": 1e9, "min_samples": 7, "noise_multiplier": 1.0}
ODD = (-1, 0, 2, 2**62, 0.3, 1e300, True, None, "../../etc/passwd", ["a", "b"], float("nan"))


def values_of(name: str) -> list[Any]:
    """The choices of the setting in all variants, one value that it never has, and some of every kind."""
    choices = [each for field in catalogue(RunSettings)[name].fields.values() for each in _choices(field.annotation)]
    return [*choices, {"name": "x"}, *random.Random(name).sample(ODD, 4)]  # noqa: S311 - no secret


def _choices(annotation: Any) -> Iterator[Any]:
    for each in get_args(annotation):
        if isinstance(each, str | int | bool):
            yield each
        else:
            yield from _choices(each)


def changed(plain: dict[str, Any], name: str, value: Any) -> dict[str, Any]:
    group, _, rest = name.partition(".")
    if not rest:
        return plain | {name: value}
    before = plain.get(group)
    return plain | {group: changed(before if isinstance(before, dict) else {}, rest, value)}


BUILT: dict[tuple[object, ...], QuantitativeCopy] = {}


def model_of(settings: RunSettings, classes: int) -> QuantitativeCopy:
    """The model of a silo, built once for all settings that make the same one: nobody writes to it."""
    if settings.backbone.name != RUN.backbone.name:
        settings = OTHER
    key = settings.backbone, settings.method, settings.batch_norm, settings.seed, settings.executor.structure
    if key not in BUILT:
        BUILT[key] = build_silo_model(settings, classes)
    return BUILT[key]


@pytest.fixture
def ask(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Let a silo of `SAMPLES` images answer; return the reply, the ledger before and after, and the noise."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(SAMPLES, 3, 8, 8, generator=generator)
    part = LabelledImages(images, torch.arange(SAMPLES) % 3)
    monkeypatch.setattr("fedsq_flwr.apps.silo_service.load_silo", lambda *_: SiloData(part, part, tuple("abc"), 3))

    def none(model: Any, images: Tensor, labels: Tensor, gates: Any) -> tuple[dict[str, Tensor], Tensor]:
        """No gradients, which take long."""
        zeros = {n: torch.zeros(len(images), *p.shape) for n, p in model.quantitative.named_parameters()}
        return zeros, torch.ones(len(images))

    def drawing(noise: Noise, tensor: Tensor) -> Tensor:
        drawn.append((noise.clip, noise.multiplier, type(noise.randomness), tensor.shape))
        return draw(noise, tensor)

    monkeypatch.setattr("fedsq_flwr.apps.silo_service.build_silo_model", model_of)
    monkeypatch.setattr("fedsq_flwr.privacy.ledger.epsilon_of", lambda spent, _: float(sum(spent.values())))
    monkeypatch.setattr("fedsq_flwr.apps.silo_service.prepare_torch", lambda _: None)  # compiled, they take long
    monkeypatch.setattr("os.fsync", lambda _: None)
    drawn, draw = [], Noise.like
    monkeypatch.setattr(Noise, "like", drawing)
    monkeypatch.setattr("fedsq_flwr.learning.private_training.per_sample_gradients", none)
    monkeypatch.setattr("fedsq_flwr.federation.silo.train_locally", lambda *_, **__: pytest.fail("trained as it is"))
    ledger = Ledger(tmp_path / "state" / "privacy")
    audit = AuditLog(ledger)

    def answer(kind: str, told: dict[str, Any], unit: str = "record", **config: Any):
        link = FakeLink(1)
        records = {"config": ConfigRecord({"settings": json.dumps(told), "server-round": 1, **config})}
        if kind != "query":
            records["arrays"] = ArrayRecord(dict(PACKED))
        link.waiting = [Message(RecordDict(records), link.node_id, kind)]
        node = {
            "partition-id": 0,
            "num-partitions": 2,
            "data-path": str(tmp_path),
            "state-dir": str(tmp_path / "state"),
            "device": "cpu",
            "privacy": json.dumps({"unit": unit, **PRIVACY}),
        }
        before = ledger.read()
        drawn.clear()
        assert Node(link, client_app.app, node, audit=audit).answer_next()
        (reply,) = link.replies
        return reply, before, ledger.read(), drawn

    answer.log = audit.path
    return answer


STATE = {name: tensor.clone() for name, tensor in build_silo_model(RUN, 3).quantitative_state().items()}
PACKED = pack(STATE)


def check(reply: Message, before: LedgerContent, after: LedgerContent, drawn: list[Any]) -> str:
    """Check that a reply to ``train`` is an error, or private and charged; return which."""
    if reply.has_error():
        return "refused"
    steps = sum(each.count for each in after.charges) - sum(each.count for each in before.charges)
    assert steps > 0
    assert drawn == [(1.0, 1.0, SystemRandomness, tensor.shape) for tensor in STATE.values()] * steps
    assert dict(reply.content["metrics"]) == TOLD
    assert set(reply.content["config"]) <= {"server-round", "fingerprint"}
    state = unpack(reply.content["arrays"])
    assert state.keys() == STATE.keys()  # no running statistics
    return "trained"


@pytest.mark.parametrize("name", [name for name in catalogue(RunSettings) if name != "executor.threads"])
def test_no_value_of_a_setting_gets_anything_past_the_silo(ask, name: str) -> None:
    found = {check(*ask("train", changed(RUN.plain(), name, value))) for value in values_of(name)}
    assert "refused" in found
    verify(ask.log)


def test_many_settings_at_once(ask) -> None:
    drawn, names, outcomes = random.Random(5), list(catalogue(RunSettings)), []  # noqa: S311 - no secret
    for _ in range(40):
        told = RUN.plain()
        for name in drawn.sample(names, drawn.choice((1, 2, 3))):
            if name != "executor.threads":
                told = changed(told, name, drawn.choice(values_of(name)))
        outcomes.append(check(*ask("train", told)))
    assert {"refused", "trained"} == set(outcomes)


@pytest.mark.parametrize("policy", ["batch", "local"])
@pytest.mark.parametrize("unit", ["record", "silo"])
def test_other_batch_norm_is_refused_by_name(ask, unit: str, policy: str) -> None:
    reply, before, after, _ = ask("train", RUN.plain() | {"batch_norm": policy}, unit)
    assert reply.error.reason == f"batch_norm={policy}: must be frozen at this silo, which has privacy.unit={unit}"
    assert before.spent == after.spent


def test_joining_and_evaluating_tell_nothing(ask) -> None:
    reply, *_ = ask("query", RUN.plain())
    assert dict(reply.content["config"]) == {
        "partition-id": 0,
        "num-partitions": 2,
        "train-examples": 7,
        "evaluate-examples": 0,
    }
    reply, before, after, _ = ask("evaluate", RUN.plain())
    assert dict(reply.content["metrics"]) == {"num-examples": 0, "loss": 0.0, "accuracy": 0.0}
    assert before.spent == after.spent is None


@pytest.mark.parametrize("kind", ["train", "evaluate", "query.statistics"])
@pytest.mark.parametrize("level", ["counts", "confusion"])
def test_counts_by_class_are_refused_by_name(ask, kind: str, level: str) -> None:
    reply, before, after, _ = ask(kind, RUN.plain() | {"silo_measures": level})
    assert reply.error.reason == f"silo_measures={level}: must be basic at this silo, which has privacy.unit=record"
    assert before.spent == after.spent


def test_sums_over_images_are_refused_by_name(ask) -> None:
    reply, before, after, _ = ask("query.statistics", RUN.plain())
    assert reply.error.reason.startswith("method.gate_statistics=reestimated: a silo with privacy settings tells no")
    assert before.spent == after.spent


def test_what_is_charged_is_what_the_settings_make_of_the_samples(ask) -> None:
    _, _, after, _ = ask("train", RUN.plain() | {"batch_size": 4, "local_epochs": 2})
    assert after.charges == (Charge(multiplier=1.0, sampling=4 / SAMPLES, count=6),)
