"""What a small federation of three real silos consists of, before any of its processes is started."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from fedsq_flwr.commands.shares import lay_out_data
from fedsq_flwr.data import DataSource
from fedsq_flwr.data.sources import load_digits
from fedsq_flwr.executors.superlink import LocalSuperLink
from fedsq_flwr.settings.composition import compose_settings
from fedsq_flwr.silos.keys import make_node_key

SILOS = 3
#: Settings under which a round takes about a second.
TINY = (
    f"silos={SILOS}",
    "validation_fraction=0.2",
    "backbone.weights=random",
    "backbone.image_size=8",
    "partition.alpha=5",
    "learning_rate=0.02",
)


def few_digits(*_: object) -> DataSource:
    whole = load_digits()
    return replace(whole, pool=whole.pool.subset(range(200)), test=whole.test.subset(range(40)))


@dataclass(frozen=True)
class Federation:
    """Everything but the processes: images, keys that the SuperLink knows, and words for the commands.

    Attributes
    ----------
    superlink : LocalSuperLink
        Runs already.
    run : list of str
        Overrides for a run by these silos.
    silos : list of list of str
        Each silo's settings.
    """

    superlink: LocalSuperLink
    run: list[str]
    silos: list[list[str]]


def make_federation(superlink: LocalSuperLink, authority: Path, directory: Path) -> Federation:
    """Write images and keys below ``directory``, and have the SuperLink know the keys."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fedsq_flwr.assembly.data.load_source", few_digits)
        images, settings = lay_out_data(compose_settings(TINY), directory)
    told = {"path": settings.data.path, "classes": list(settings.data.classes or ())}
    data = ["data=imagefolder", *(f"data.{name}={json.dumps(value)}" for name, value in told.items())]
    certificate = f"{authority / 'ca.crt'}"
    silos = []
    for silo, folder in enumerate(images):
        key = directory / f"key-{silo}"
        superlink.register(make_node_key(key))
        own = [f"silo={silo}", f"silos={SILOS}", f"data_path={folder}", f"state_dir={directory}/state-{silo}"]
        own.append("keep_reports=0")  # a page takes each silo three seconds
        connection = [f"superlink={superlink.address}", f"private_key={key}", f"root_certificates={certificate}"]
        silos.append([*own, *connection, "device=cpu"])
    connection = [f"executor.superlink={superlink.address}", f"executor.root_certificates='{certificate}'"]
    return Federation(superlink, [*TINY, "executor=silos", *data, *connection], silos)


def history(directory: Path) -> list[dict[str, Any]]:
    """The lines of the rounds that are finished."""
    path = directory / "history.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def files_below(directory: Path) -> Iterator[Path]:
    return (path for path in directory.rglob("*") if path.is_file())
