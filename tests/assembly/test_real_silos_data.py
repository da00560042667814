"""What the server and each real silo load: their own folders, and only the parts that are theirs."""

import pytest
import torch

from fedsq_flwr.assembly.data import load_server_data, load_silo, load_task
from fedsq_flwr.assembly.model import build_silo_model
from fedsq_flwr.errors import ConfigurationError, DataError
from fedsq_flwr.settings.composition import compose_settings
from fedsq_flwr.settings.run import RunSettings
from fedsq_flwr.settings.silo import Site, at_site
from tests.data.folders import make

FOLDER = ["executor=silos", "data=imagefolder", "backbone.weights=random", "backbone.image_size=8"]


def settings(*overrides: str) -> RunSettings:
    return compose_settings([*FOLDER, *overrides])


def at(folder, *overrides: str) -> RunSettings:
    return at_site(settings("data.classes=[cat,dog]", *overrides), Site(data_path=str(folder)))


def test_the_server_reads_validation_and_test_and_nothing_of_train(tmp_path):
    make(tmp_path, {"validation/cat/1.png": 10, "test/dog/1.png": 20, "test/dog/2.png": 30})
    (tmp_path / "train" / "cat").mkdir(parents=True)
    (tmp_path / "train" / "cat" / "broken.png").write_bytes(b"no image")
    data = load_server_data(settings(f"data.path={tmp_path}"))
    assert (len(data.validation), len(data.test), data.class_names) == (1, 2, ("cat", "dog"))
    assert data.test.labels.tolist() == [1, 1]


def test_a_server_may_have_no_data_but_must_name_the_classes():
    data = load_server_data(settings("data.classes=[cat,dog,owl]"))
    assert (len(data.validation), len(data.test), data.class_names) == (0, 0, ("cat", "dog", "owl"))
    with pytest.raises(ConfigurationError, match=r"data.classes=null: must be given where the server has no"):
        load_server_data(settings())


def test_of_any_other_data_set_the_server_works_out_the_whole():
    config = compose_settings(["executor=silos", "silos=3", "backbone.weights=random"])
    assert len(load_server_data(config).train) == 3


def test_a_silo_learns_from_train_and_is_judged_on_validation(tmp_path):
    make(tmp_path, {"train/cat/1.png": 10, "train/dog/0.png": 20, "validation/dog/5.png": 30, "test/cat/1.png": 40})
    data = load_silo(at(tmp_path), 0)
    assert (data.train.labels.tolist(), data.held_out.labels.tolist()) == ([1, 0], [1])
    assert (data.class_names, data.unreadable) == (("cat", "dog"), 0)


def test_without_a_part_validation_a_silo_holds_out_by_seed_and_by_its_number(tmp_path):
    make(tmp_path, {f"{'cat' if n % 2 else 'dog'}/{n:03}.png": n for n in range(60)})
    held = {
        (seed, silo): load_silo(at(tmp_path, f"seed={seed}"), silo).held_out.images[:, 0, 0, 0].tolist()
        for seed in (0, 1)
        for silo in (0, 1)
    }
    assert all(len(values) == 6 for values in held.values())
    assert len({tuple(values) for values in held.values()}) == 4
    again = load_silo(at(tmp_path, "seed=1"), 1).held_out.images[:, 0, 0, 0].tolist()
    assert held[1, 1] == again


def test_files_that_cannot_be_read_are_counted(tmp_path):
    make(tmp_path, {"train/cat/1.png": 10, "train/dog/2.png": 20, "validation/cat/3.png": 30})
    for part in ("train", "validation"):
        (tmp_path / part / "cat" / "broken.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"broken\.png"):
        load_silo(at(tmp_path), 0)
    assert load_silo(at(tmp_path, "data.unreadable=skip"), 0).unreadable == 2


def test_a_silo_needs_a_run_with_folders_and_classes(tmp_path):
    make(tmp_path, {"cat/1.png": 10, "dog/2.png": 20})
    with pytest.raises(ConfigurationError, match=r"data.classes=null: must be given, since silos have to agree"):
        load_silo(at_site(settings(), Site(data_path=str(tmp_path))), 0)
    digits = at_site(compose_settings(["executor=silos"]), Site(data_path=str(tmp_path)))
    with pytest.raises(ConfigurationError, match=r"data.name=digits: must be imagefolder"):
        load_silo(digits, 0)


def test_where_the_structure_is_sent_the_silos_model_has_the_form_of_the_servers_and_no_weights_of_it(tmp_path):
    config = at(tmp_path, "executor.structure=sent", "backbone.weights=mnist")
    model, whole = build_silo_model(config, 2), build_silo_model(at(tmp_path), 2)
    assert config.backbone.weights == "random"
    assert {n: t.shape for n, t in model.quantitative_state().items()} == {
        n: t.shape for n, t in whole.quantitative_state().items()
    }
    assert model.fingerprint != whole.fingerprint
    assert torch.equal(model.head_state()["fc.weight"], whole.head_state()["fc.weight"])  # zeros, both


def test_a_simulation_is_shared_out_as_before(tmp_path):
    config = compose_settings(["executor=inprocess", "silos=2", "backbone.weights=random"])
    assert [len(part) for part in load_task(config, 2).train] == [len(p) for p in load_server_data(config).train]
