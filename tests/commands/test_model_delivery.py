"""A run's model at its silos: checked, kept on their disks, and used there without the server."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from fedsq_flwr import client_app
from fedsq_flwr.apps.deliveries import Deliver, model_to_deliver
from fedsq_flwr.cli import main
from fedsq_flwr.errors import ConfigurationError
from fedsq_flwr.executors.grid import InProcessGrid
from fedsq_flwr.federation.model_delivery import RunModel, deliver
from fedsq_flwr.federation.registry import NodeRegistry
from fedsq_flwr.federation.wire import Wire
from fedsq_flwr.files import read_as, write_as_json
from fedsq_flwr.records.deliveries import DELIVERIES, Deliveries
from fedsq_flwr.records.restoring import restore
from fedsq_flwr.settings.run import RunSettings
from fedsq_flwr.silos.auditing import asked

CLASSES = [str(digit) for digit in range(10)]
RUN = "13336444786517752921"


class Grid(InProcessGrid):
    """Real silos in this process, of which some may be away."""

    def __init__(self, folder, silos=2):
        super().__init__(client_app.app, silos=silos)
        self.away, self.sent = set(), []
        for number, context in enumerate(self._contexts.values()):
            context.node_config |= {"data-path": "/no/such", "state-dir": str(folder / str(number)), "device": "cpu"}

    @property
    def run(self):
        return SimpleNamespace(run_id=int(RUN))

    def set(self, silo, name, value):
        self._contexts[1000 + silo].node_config[name] = value

    def get_node_ids(self):
        return [node for node in super().get_node_ids() if node not in self.away]

    def send_and_receive(self, messages, *, timeout=None):
        messages = list(messages)
        self.sent += [(m.metadata.dst_node_id, *sorted(m.content.array_records)) for m in messages]
        return super().send_and_receive(messages, timeout=timeout)


@pytest.fixture
def grid(tmp_path):
    with Grid(tmp_path) as grid:
        yield grid


@pytest.fixture
def given(runs):
    """The model of a run as real silos would be told of it."""

    def make(name="fedsq", structure="sent", choice="best") -> RunModel:
        model = model_to_deliver(runs / name, RUN, choice)
        plain = RunSettings.from_json(model.settings).plain()
        data = {"name": "imagefolder", "classes": CLASSES}
        executor = {"name": "silos", "structure": structure}
        return replace(model, settings=RunSettings.parse({**plain, "data": data, "executor": executor}).to_json())

    return make


@pytest.mark.parametrize(
    ("run", "structure", "choice"),
    [
        ("fedsq", "sent", "best"),
        ("fedsq", "own", "final"),
        ("fedavg", "sent", "best"),
        ("refreshed", "own", "final"),
        ("released", "sent", "final"),
    ],
)
def test_a_silo_predicts_as_the_server_does(runs, grid, given, tmp_path, run, structure, choice):
    model, wire = given(run, structure, choice), Wire(grid, dtype="bfloat16")  # what rounds do does not matter
    assert deliver(wire, [1000, 1001], model, 60).kept == {1000, 1001}
    here = restore(tmp_path / "1" / "models" / RUN)
    there = restore(runs / run / "checkpoints" / ("last" if choice == "final" else "best"))
    assert (here.round, here.class_names) == (there.round, there.class_names)
    assert here.model.fingerprint == there.model.fingerprint
    states = here.model.quantitative_state(), there.model.quantitative_state()
    assert all(states[0][name].equal(tensor) for name, tensor in states[1].items())
    grid.sent.clear()
    assert deliver(wire, [1000, 1001], model, 60).kept == {1000, 1001}
    assert grid.sent == [(1000,), (1001,)]  # asked, and sent nothing


def test_only_a_structure_that_a_silo_lacks_is_sent_with_the_model(grid, given):
    deliver(Wire(grid, dtype="float32"), [1000], given("fedsq", "own"), 60)
    assert grid.sent == [(1000,), (1000, "model")]
    grid.sent.clear()
    deliver(Wire(grid, dtype="float32"), [1001], given("fedsq", "sent"), 60)
    assert grid.sent == [(1001,), (1001, "structure"), (1001, "model")]


class Lying(RunModel):
    @property
    def offer(self):
        offer = super().offer
        offer["sha256"] = "0" * 64
        return offer


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"run": "../../etc"}, "model-run of the model is not what it should be"),
        ({"run": "1" * 21}, "model-run of the model"),
        ({"run": "\u0661"}, "model-run of the model"),
        ({"choice": "worst"}, "model-choice of the model"),
        ({"round": 0}, "model-round of the model"),
        ({"fingerprint": "../x"}, "fingerprint of the model"),
        ({"fingerprint": "ab12"}, "lacks the structure that the model was made with"),
        ({"state": {}}, "is not as in this network"),
    ],
)
def test_what_is_no_model_of_this_network_is_not_kept(grid, given, tmp_path, change, told):
    done = deliver(Wire(grid, dtype="float32"), [1000], replace(given(), **change), 60)
    assert done.kept == set()
    assert told in done.failed[1000]
    assert not (tmp_path / "0" / "models").exists()


def test_a_model_with_another_digest_is_not_kept(grid, given, tmp_path):
    done = deliver(Wire(grid, dtype="float32"), [1000], Lying(**vars(given())), 60)
    assert "its sha256 is another" in done.failed[1000]
    assert not (tmp_path / "0" / "models").exists()


def test_a_silo_may_take_none_and_keeps_the_newest(grid, given, tmp_path):
    grid.set(0, "keep-models", 0)
    grid.set(1, "keep-models", 2)
    wire, model = Wire(grid, dtype="float32"), given("fedavg")
    for run in ("1", "2", "3"):
        done = deliver(wire, [1000, 1001], replace(model, run=run), 60)
        assert (done.kept, done.refusing, done.failed) == ({1001}, {1000}, {})
    assert not (tmp_path / "0" / "models").exists()
    assert sorted(path.name for path in (tmp_path / "1" / "models").iterdir()) == ["2", "3"]


def test_a_disk_that_is_full_is_told_without_the_place(grid, given, tmp_path):
    (tmp_path / "0").write_text("in the way")
    done = deliver(Wire(grid, dtype="float32"), [1000], given("fedavg"), 60)
    assert done.failed[1000].startswith("cannot store the model in state_dir: ")
    assert str(tmp_path) not in done.failed[1000]


def test_a_silo_that_was_away_has_the_model_in_the_next_run(grid, given, tmp_path, monkeypatch, caplog):
    caplog.set_level("INFO")
    monkeypatch.setattr("fedsq_flwr.apps.deliveries.model_to_deliver", lambda _, run, choice: replace(model, run=run))
    model, registry = given("fedavg"), NodeRegistry()
    settings = RunSettings.from_json(model.settings)
    federation = SimpleNamespace(settings=settings, strategy=SimpleNamespace(registry=registry))
    wire, first, second = Wire(grid, dtype="float32"), tmp_path / "runs" / "first", tmp_path / "runs" / "second"
    registry.update(wire)
    grid.away = {1001}
    first.mkdir(parents=True)
    Deliver(first, federation, wire).after_run()
    told = read_as(Deliveries, first / DELIVERIES)
    assert (told.run, told.received, told.owed) == (RUN, (0,), {"1001": 1})
    write_as_json(first / DELIVERIES, told.model_copy(update={"run": "7"}))
    grid.away = set()
    second.mkdir()
    (tmp_path / "runs" / "damaged").mkdir()
    (tmp_path / "runs" / "damaged" / DELIVERIES).write_text("{")
    Deliver(second, federation, wire).after_run()
    assert sorted(path.name for path in (tmp_path / "1" / "models").iterdir()) == [RUN, "7"]
    assert sorted(path.name for path in (tmp_path / "0" / "models").iterdir()) == [RUN]
    assert read_as(Deliveries, first / DELIVERIES).owed == read_as(Deliveries, second / DELIVERIES).owed == {}
    assert "not JSON" in caplog.text  # what is damaged costs nothing else


def test_it_goes_every_few_rounds_too(grid, given, tmp_path, monkeypatch):
    model, delivered = given("fedavg"), []
    settings = RunSettings.from_json(model.settings).changed(rounds=5, executor={"model_every": 2})
    federation = SimpleNamespace(settings=settings, strategy=SimpleNamespace(registry=NodeRegistry()))
    callback = Deliver(tmp_path, federation, Wire(grid, dtype="float32"))
    monkeypatch.setattr(callback, "_deliver", lambda *_: delivered.append(number))
    for number in range(1, 6):
        callback.after_round(SimpleNamespace(number=number))
    assert delivered == [2, 4]


@pytest.mark.parametrize("own", [{"batch_norm": "local"}, {"executor": {"send_model": "none"}}])
def test_where_there_is_no_one_model_none_is_sent(given, own):
    assert RunSettings.from_json(given(structure="own").settings).changed(**own).model_for_silos == "none"


def test_the_audit_log_says_which_model_arrived(grid, given, monkeypatch):
    seen, handle = [], Grid._handle
    monkeypatch.setattr(Grid, "_handle", lambda self, message: seen.append(asked(message)) or handle(self, message))
    model = given("fedavg")
    deliver(Wire(grid, dtype="float32"), [1000], model, 60)
    facts = {"kind": "query.model", "of_run": RUN, "round": model.round, "weights": model.offer["sha256"]}
    assert seen[1].items() >= facts.items()
    assert len(seen[1]["model"]) == 64


def test_predicting_at_a_silo_needs_nothing_but_what_it_was_given(grid, given, tmp_path, capsys):
    deliver(Wire(grid, dtype="float32"), [1000], given(choice="final"), 60)
    with pytest.raises(ConfigurationError):
        restore(tmp_path / "0")
    assert main(["export", str(tmp_path / "0" / "models" / RUN), "--output", str(tmp_path / "model.pt2")]) == 0
