"""What a process that serves messages keeps from one to the next."""

import gc
import threading
import weakref

import pytest
from fedsq_flwr.config.site import NUM_PARTITIONS, PARTITION_ID, Site
from flwr.app import Context, RecordDict
from torch import nn

from fedsq_flwr import QuantitativeCopy, client_app
from fedsq_flwr.data import SiloData
from fedsq_flwr.data.images import LabelledImages
from fedsq_flwr.errors import ConfigurationError


@pytest.fixture
def built(monkeypatch):
    """Every model that was built, as long as somebody holds it."""
    models: list[weakref.ref] = []

    def build(config, classes):
        model = QuantitativeCopy(nn.Sequential(nn.Flatten(), nn.Linear(4, classes)))
        models.append(weakref.ref(model))
        return model

    monkeypatch.setattr(client_app, "build_silo_model", build)
    client_app._first_model.cache_clear()
    yield models
    client_app._first_model.cache_clear()


def test_run_after_run_only_the_last_ones_models_are_kept(built):
    two_messages_each = (("", f"seed={number}") for number in (0, 0, 1, 1, 2, 2))
    copies = [weakref.ref(client_app._model(key, Site(), 3)) for key in two_messages_each]
    assert copies[4]() is copies[5]() is not None
    gc.collect()
    assert len(built) == 3
    assert [model() is None for model in built] == [True, True, False]
    assert [copy() is None for copy in copies[:4]] == [True] * 4


def test_each_thread_has_a_model_of_its_own_and_all_share_one_start(built):
    key, found = ("", "seed=7"), []
    threads = [threading.Thread(target=lambda: found.append(client_app._model(key, Site(), 3))) for _ in range(3)]
    for thread in threads:
        thread.start()
        thread.join()
    assert len({id(model) for model in found}) == 3
    assert len(built) == 1
    assert built[0]() not in found


def test_the_images_of_a_run_have_gone_before_those_of_the_next_are_read(monkeypatch):
    """A silo's images may take more than half of its memory."""
    read: list[weakref.ref] = []

    def load(config, silo):
        gc.collect()
        assert [images() for images in read] == [None] * len(read)
        images = SiloData(LabelledImages.none(), LabelledImages.none(), ("cat", "dog"))
        read.append(weakref.ref(images))
        return images

    monkeypatch.setattr(client_app, "load_silo", load)
    client_app._folder.cache_clear()
    for run_id in (1, 1, 2, 2, 3):
        client_app._folder(("", ""), Site(), run_id, 0)
    assert len(read) == 3
    client_app._folder.cache_clear()


def test_a_silo_without_a_folder_reads_none_that_the_server_names(tmp_path):
    """A node that somebody starts by hand, with some settings of its own and no data."""
    run = ("", f"executor=silos data=imagefolder data.path={tmp_path} data.classes=[a,b] backbone.weights=random")
    node = {PARTITION_ID: 0, NUM_PARTITIONS: 1, "device": "cpu"}
    context = Context(1, 1, node, RecordDict(), dict(zip(("experiment", "overrides"), run, strict=True)))
    with pytest.raises(ConfigurationError, match=r"data\.path=null: must name this silo's folder of images"):
        client_app.client_of(context)
