"""The configurations that two versions are compared by, in the words of the present one."""

from dataclasses import dataclass
from pathlib import Path

#: Names of settings that version 0.1 had others for.
OLD_NAMES = {
    "fraction_train": "participation",
    "linear_probing_rounds": "head_first_rounds",
    "wire_dtype": "wire",
}


@dataclass(frozen=True)
class Configuration:
    """A command and its overrides; FOLDER stands for a folder of images."""

    overrides: tuple[str, ...]
    command: tuple[str, ...] = ("run",)


_SMALL = ("seed=3", "rounds=3", "silos=4", "partition.alpha=0.5", "data.limit=600", "executor=inprocess")


def _run(*overrides: str) -> Configuration:
    return Configuration((*_SMALL, *overrides))


CONFIGURATIONS = {
    "fedsq": _run("method=fedsq", "diagnostics=true"),
    "fedavg": _run("method=fedavg", "fraction_train=0.5", "rounds=4"),
    "fedprox": _run("method=fedprox", "method.mu=0.1"),
    "fedadam": _run("method=fedadam"),
    "fedsq_late_gates": _run("method=fedsq_late_gates", "data.augmentation=flip"),
    "fedsq_refreshed": _run("method=fedsq_refreshed", "method.refresh_every=1"),
    "linear_probing": _run("linear_probing_rounds=1"),
    "cosine": _run("learning_rate_schedule=cosine"),
    "bfloat16_wire": _run("wire_dtype=bfloat16"),
    "local_batch_norm": _run("batch_norm=local"),
    "image_folder": _run("data=imagefolder", "data.path=FOLDER", "data.limit=null"),
    "simulation": Configuration(("seed=3", "rounds=2", "silos=4", "data.limit=600")),
    "real_silos": Configuration(("seed=3", "rounds=2", "data.limit=400"), ("rehearse", "2")),
}


def in_words_of_0_1(override: str) -> str:
    """Return an override in the words of version 0.1."""
    name, equals, value = override.partition("=")
    return f"{OLD_NAMES.get(name, name)}{equals}{value}"


def make_folder(folder: Path) -> Path:
    """Write 400 of the UCI digits as a folder of images, a folder a class; return it."""
    if not folder.is_dir():
        import numpy as np
        from PIL import Image
        from sklearn.datasets import load_digits

        digits = load_digits()
        for place in range(400):
            path = folder / str(digits.target[place]) / f"{place:06d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray((digits.images[place] * 15).astype(np.uint8)).save(path)
    return folder
