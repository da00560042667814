"""What a process that serves messages keeps from one to the next."""

import gc
import threading
import time
import weakref

import pytest
import torch
from flwr.app import ConfigRecord, Context, Message, RecordDict
from torch import nn

from fedsq_flwr import QuantitativeCopy
from fedsq_flwr.apps import silo_service
from fedsq_flwr.apps.latest import Latest
from fedsq_flwr.apps.silo_service import ModelPool, SiloService
from fedsq_flwr.assembly.data import load_server_data
from fedsq_flwr.data import SiloData
from fedsq_flwr.data.images import LabelledImages
from fedsq_flwr.errors import ConfigurationError
from fedsq_flwr.federation.protocol import NUM_PARTITIONS, PARTITION_ID, SETTINGS
from fedsq_flwr.gating import DualCopy, fingerprint
from fedsq_flwr.settings.composition import compose_settings
from fedsq_flwr.settings.run import RunSettings

CPU = torch.device("cpu")


def network(classes=3):
    return QuantitativeCopy(nn.Sequential(nn.Flatten(), nn.Linear(4, classes)))


def run_of(seed: int) -> RunSettings:
    return RunSettings(experiment="digits", seed=seed)


@pytest.fixture
def built(monkeypatch):
    """Every model that was built, as long as somebody holds it."""
    models: list[weakref.ref] = []

    def build(settings, classes):
        model = network(classes)
        models.append(weakref.ref(model))
        return model

    monkeypatch.setattr(silo_service, "build_silo_model", build)
    return models


def test_run_after_run_only_the_last_ones_models_are_kept(built):
    service, copies = SiloService(), []
    for seed in (0, 0, 1, 1, 2, 2):
        with service.models(run_of(seed), 3).borrow(CPU) as model:
            copies.append(weakref.ref(model))
            del model
    assert copies[4]() is copies[5]() is not None
    gc.collect()
    assert len(built) == 3
    assert [model() is None for model in built] == [True, True, False]
    assert [copy() is None for copy in copies[:4]] == [True] * 4


def test_each_message_in_work_has_a_model_of_its_own_and_all_share_one_start(built):
    service, run, found = SiloService(), run_of(7), []
    together = threading.Barrier(3)

    def work():
        with service.models(run, 3).borrow(CPU) as model:
            together.wait()  # each of the three messages is in work now
            found.append(model)
            together.wait()

    for _ in range(2):  # the second three borrow what the first gave back
        threads = [threading.Thread(target=work) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(found) == 6
    assert len({id(model) for model in found}) == 3
    assert len(built) == 1
    assert all(built[0]() is not model for model in found)


def test_a_model_comes_back_from_a_message_that_failed():
    pool = ModelPool(network())
    with pytest.raises(OSError, match="disk"), pool.borrow(CPU) as first:
        raise OSError("disk is full")
    with pool.borrow(CPU) as second:
        assert second is first is not pool.first


def test_a_model_that_is_lent_again_needs_no_new_fingerprint(monkeypatch):
    """It takes 5 ms for a ResNet-20, at each message."""
    pool, counted = ModelPool(DualCopy(nn.Sequential(nn.Flatten(), nn.Linear(4, 3)))), []
    compute = fingerprint.structure_fingerprint
    monkeypatch.setattr(fingerprint, "structure_fingerprint", lambda *a, **k: counted.append(1) or compute(*a, **k))
    for _ in range(3):
        with pool.borrow(CPU) as model:
            assert model.fingerprint == pool.first.fingerprint
            model.load_quantitative_state({n: t.clone() for n, t in model.quantitative_state().items()})
    assert len(counted) == 2  # of the lent model, and of the first one


def test_the_first_model_stays_as_it_was():
    pool = ModelPool(network())
    before = {name: tensor.clone() for name, tensor in pool.first.quantitative_state().items()}
    with pool.borrow(CPU) as model, torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1)
    assert all(torch.equal(tensor, before[name]) for name, tensor in pool.first.quantitative_state().items())


def test_threads_that_ask_for_one_key_wait_for_one_value():
    latest, built, found = Latest(), [], []

    def build():
        time.sleep(0.1)  # in which the others ask
        built.append(object())
        return built[-1]

    threads = [threading.Thread(target=lambda: found.append(latest.get("run", build))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(built) == 1
    assert set(map(id, found)) == {id(built[0])}


def test_what_could_not_be_built_is_tried_again_and_the_last_has_gone():
    latest = Latest()
    latest.put("first run", 1)

    def fail():
        raise OSError("disk is full")

    with pytest.raises(OSError, match="disk"):
        latest.get("second run", fail)
    assert latest.get("second run", lambda: 2) == 2
    assert latest.get("first run", lambda: 3) == 3


def silo(run_id=1, **node):
    return Context(run_id, 1, {PARTITION_ID: 0, NUM_PARTITIONS: 1, **node}, RecordDict(), {})


def test_the_images_of_a_run_have_gone_before_those_of_the_next_are_read(monkeypatch):
    """A silo's images may take more than half of its memory."""
    read: list[weakref.ref] = []

    def load(settings, number):
        gc.collect()
        assert [images() for images in read] == [None] * len(read)
        images = SiloData(LabelledImages.none(), LabelledImages.none(), ("cat", "dog"))
        read.append(weakref.ref(images))
        return images

    monkeypatch.setattr(silo_service, "load_silo", load)
    service = SiloService()
    for run_id in (1, 1, 2, 2, 3):
        service.data(run_of(0), asking(run_of(0)), silo(run_id, **{"data-path": "/data"}))
    assert len(read) == 3


def test_a_silo_without_a_folder_reads_none_that_the_server_names(tmp_path):
    """A node that somebody starts by hand, with some settings of its own and no data."""
    folder = ["data=imagefolder", f"data.path={tmp_path}", "data.classes=[a,b]"]
    settings = compose_settings(["executor=silos", *folder, "backbone.weights=random"])
    with (
        pytest.raises(ConfigurationError, match=r"data\.path=null: must name this silo's folder of images"),
        SiloService().client(asking(settings), silo(device="cpu")),
    ):
        pass


def asking(settings: RunSettings) -> Message:
    """A message of a run, as far as it says the settings."""
    from fedsq_flwr.flower_internals import send_messages_as

    send_messages_as(1, 1)
    return Message(RecordDict({"config": ConfigRecord({SETTINGS: settings.to_json()})}), 1, "train")


def test_data_that_the_server_in_this_process_has_loaded_are_not_loaded_again(monkeypatch):
    settings = compose_settings(["executor=inprocess", "silos=3", "data.limit=150", "backbone.weights=random"])
    data = load_server_data(settings)

    def load(*_):
        raise AssertionError("the data are loaded again")

    monkeypatch.setattr(silo_service, "load_task", load)
    service = SiloService()
    service.adopt(settings, data)
    context = Context(1, 1, {PARTITION_ID: 1, NUM_PARTITIONS: 3}, RecordDict(), {})
    told = service.settings(asking(settings), context)
    assert service.data(told, asking(settings), context).train is data.train[1]
    assert service.examples(asking(settings), context) == (len(data.train[1]), len(data.held_out[1]))
    assert service.examples(Message(RecordDict(), 1, "query"), context) is None
    with pytest.raises(AssertionError, match="loaded again"):
        service.data(told.changed(seed=5), asking(settings), context)


@pytest.mark.parametrize(
    ("told", "most"), [({}, 2**32), ({"backbone": "resnet20"}, 3e6), ({"backbone": "vgg11"}, 7e8)]
)
def test_a_message_may_have_the_bytes_of_the_runs_network(told, most):
    context = silo()
    if told:
        words = [
            "executor=silos",
            "data=imagefolder",
            "backbone.weights=random",
            *(f"{k}={v}" for k, v in told.items()),
        ]
        context.run_config[SETTINGS] = compose_settings(words).to_json()
    assert most / 2 < SiloService().most_bytes(context) <= most
