"""The paper's recipes: complete, honest about what is chosen, and runnable."""

import re
from pathlib import Path

import pytest

from fedsq_flwr.settings.composition import compose_settings, conf_directory
from tests.data.published import parquet, pictures
from tests.endtoend.conftest import read_summary, run_in

PAPER = conf_directory() / "experiment" / "paper"
RECIPES = sorted(file.stem for file in PAPER.glob("*_*.yaml"))
CLASSES = {"cinic10": 10, "cifar100": 100}


def test_there_is_one_for_each_network_data_set_and_partition() -> None:
    data, partitions = ("cifar100", "cinic10"), ("dirichlet", "iid")
    parts = [(n, d, p) for n in ("alexnet", "resnet18") for d in data for p in partitions]
    assert ["_".join(part) for part in parts] == RECIPES


@pytest.mark.parametrize("name", RECIPES)
def test_each_is_what_its_name_says(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FEDSQ_DATA", raising=False)
    config = compose_settings([f"experiment=paper/{name}"])
    assert "_".join((config.backbone.name, config.data.name, config.partition.name)) == name
    assert config.experiment == f"paper/{name}"
    assert config.backbone.weights == "IMAGENET1K_V1"


@pytest.mark.parametrize("file", sorted(PAPER.glob("*.yaml")), ids=lambda file: file.stem)
def test_each_value_is_marked_as_stated_or_chosen(file: Path) -> None:
    values = [line for line in file.read_text().splitlines() if re.search(r"^[^#]*: *[^ #]", line)]
    unmarked = [line for line in values if "[stated]" not in line and "[chosen]" not in line]
    assert [line for line in unmarked if not line.startswith("experiment: ")] == []


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few random images of every class of both data sets, as the hub lays them out."""
    folder = tmp_path_factory.mktemp("published")
    for name, classes in CLASSES.items():
        each = 16 if classes == 10 else 4
        names = [f"class {number:02}" for number in range(classes)]
        label = "label" if name == "cinic10" else "fine_label"
        image = "image" if name == "cinic10" else "img"
        for part, some in (("train", each), ("test", 1), *([("validation", 1)] if name == "cinic10" else [])):
            labels = [number for number in range(classes) for _ in range(some)]
            pixels = pictures(len(labels))
            parquet(folder / name / f"{part}.parquet", pixels, labels, image=image, label=label, names=names)
    return folder


#: Every network, data set and partition; the others differ in nothing else (`test_each_is_what_its_name_says`).
RUN = ("alexnet_cinic10_iid", "resnet18_cifar100_dirichlet")


@pytest.mark.slow
@pytest.mark.parametrize("name", RUN)
def test_each_runs_on_local_images_with_random_weights(name: str, files: Path, tmp_path: Path) -> None:
    shorter = ["silos=2", "rounds=1", "partition.min_size=5", "validation_fraction=0.25"]
    shorter += ["partition.alpha=5"] if name.endswith("_dirichlet") else []
    here = ("executor=inprocess", "executor.threads=2", f"cache_dir={tmp_path}/cache")
    local = (f"data.path={files}", "backbone.weights=random")
    run_in(tmp_path, (f"experiment=paper/{name}", *shorter, *here, *local), name="run")
    summary = read_summary(tmp_path / "run")
    assert summary["weights"]["source"] == "random"
    assert summary["final_accuracy"] is not None
