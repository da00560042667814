"""Every bad setting is one line that names it, the value found, and what is allowed."""

import copy
import math
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import is_dataclass
from functools import reduce
from pathlib import Path

import pytest

from fedsq_flwr.config import compose_config, validate
from fedsq_flwr.config.validation import CHOICES, LOWER_BOUNDS, UPPER_BOUNDS
from fedsq_flwr.errors import ConfigurationError

#: overrides -> what the line must hold: the setting, the value, what is allowed
BAD = {
    "rounds=1.5": ("rounds", "1.5", "Integer"),
    "rounds=many": ("rounds", "many", "Integer"),
    "rounds=true": ("rounds", "True", "Integer"),
    "rounds=null": ("rounds", "null", "not Optional"),
    "rounds=[1,2]": ("rounds",),
    "rounds=0": ("rounds=0", "at least 1"),
    "resume=perhaps": ("resume", "perhaps", "bool"),
    "learning_rate=fast": ("learning_rate", "fast", "Float"),
    "learning_rate=0": ("learning_rate=0.0", "above 0"),
    "learning_rate=inf": ("learning_rate=inf", "above 0"),
    "learning_rate=nan": ("learning_rate=nan", "above 0"),
    "momentum=1": ("momentum=1.0", "at least 0 and below 1"),
    "participation=1.5": ("participation=1.5", "above 0 and at most 1"),
    "batch_size=1": ("batch_size=1", "at least 2"),
    "seed=-1": ("seed=-1", "at least 0"),
    "min_replies=11": ("min_replies=11", "at most the 10 silos"),
    "participation=0.25 min_replies=3": ("min_replies=3", "at most the 2 silos"),
    "partition.alpha=0": ("partition.alpha=0.0", "above 0"),
    "partition.alpha=-1": ("partition.alpha=-1.0", "above 0"),
    "partition.alpha=nan": ("partition.alpha=nan", "above 0"),
    "partition.alpha=small": ("partition.alpha", "small", "Float"),
    "method=nope": ("method=nope", "fedavg", "fedprox", "fedsq"),
    "data=nope": ("data=nope", "digits"),
    "experiment=nope": ("experiment=nope", "digits"),
    "method.gates=trained": ("method.gates=trained", "pretrained, random, none"),
    "method.mu=0.1": ("method.mu=0.1", "fedprox"),
    "batch_norm=global": ("batch_norm=global", "batch, frozen, local"),
    "batch_norm=local resume=true": ("resume=True", "not with batch_norm=local"),
    "batch_norm=local method.refresh_every=2": ("method.refresh_every=2", "must be 0 with batch_norm=local"),
    "batch_norm=local method.freeze_after=2": ("method.freeze_after=2", "must be 0 with batch_norm=local"),
    "head_first_rounds=-1": ("head_first_rounds=-1", "at least 0"),
    "method.refresh_every=-1": ("method.refresh_every=-1", "at least 0"),
    "method=fedavg method.refresh_every=2": ("method.refresh_every=2", "0 where method.gates is none"),
    "method=fedprox method.release_after=2": ("method.release_after=2", "0 where method.gates is none"),
    "method=fedsq_random_gates method.freeze_after=2": ("method.freeze_after=2", "unless method.gates is pretrained"),
    "method.freeze_after=3 method.release_after=3": ("method.release_after=3", "0 or above method.freeze_after"),
    "executor.precision=float16": ("executor.precision=float16", "float32, bfloat16"),
    "backbone.weights=/no/such.safetensors": ("backbone.weights=/no/such.safetensors", "no such file"),
    "backbone.weights=imagenet": ("backbone.weights=imagenet", "mnist, random or a .safetensors file"),
    "backbone.weights=random backbone.head=keep": ("backbone.head=keep", "pretrained weights"),
    "output=''": ("output=", "directory"),
    "learning_rte=0.1": ("learning_rte", "no such setting", "did you mean learning_rate"),
    "partition.alpa=0.1": ("partition.alpa", "no such setting", "did you mean partition.alpha"),
    "backbone.pretraining.epoch=1": (
        "backbone.pretraining.epoch",
        "no such setting",
        "did you mean backbone.pretraining.epochs",
    ),
    "alpha=0.1": ("alpha", "no such setting"),
    "metod=fedavg": ("metod", "no such setting", "did you mean method"),
    "+extra=1": ("extra", "no such setting"),
    "++extra=1": ("extra", "no such setting"),
    "+partition.extra=1": ("partition.extra", "no such setting"),
    "~rounds": ("rounds", "missing"),
    "seed=${nothing}": ("seed", "nothing"),
    "rounds=1,2": ("rounds=1,2", "--multirun"),
    "rounds": ("rounds", "EQUAL"),
    "rounds==3": ("rounds==3",),
    "rounds=[1": ("[1",),
    "=3": (),
}


def complaint(*overrides: str) -> str:
    with pytest.raises(ConfigurationError) as caught:
        compose_config(overrides)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    assert message == message.strip()
    assert "Traceback" not in message
    assert len(message) < 300
    return message


@pytest.mark.parametrize("overrides", BAD)
def test_a_bad_setting_is_one_line_that_names_it_and_what_is_allowed(overrides: str) -> None:
    message = complaint(*overrides.split(" "))
    for part in BAD[overrides]:
        assert part in message


@pytest.mark.parametrize("setting", ["batch_norm", "backbone.weights", "data.name"])
def test_a_value_of_two_lines_is_still_told_in_one(setting: str) -> None:
    assert setting in complaint(f"{setting}='two\nlines'")


def test_weights_that_are_a_directory_or_no_safetensors_file_are_refused(tmp_path: Path) -> None:
    pickle = tmp_path / "weights.pt"
    pickle.touch()
    assert "a .safetensors file" in complaint(f"backbone.weights={pickle}")
    (tmp_path / "folder.safetensors").mkdir()
    assert "there is no such file" in complaint(f"backbone.weights={tmp_path}/folder.safetensors")


def test_weights_that_are_there_are_taken(tmp_path: Path) -> None:
    file = tmp_path / "weights.safetensors"
    file.touch()
    assert compose_config([f"backbone.weights={file}"]).backbone.weights == str(file)


@pytest.mark.parametrize("name", CHOICES)
def test_a_word_that_is_not_among_the_choices_is_refused(name: str) -> None:
    config = compose_config()
    holder, _, last = name.rpartition(".")
    setattr(getattr(config, holder) if holder else config, last, "nonsense")
    with pytest.raises(ConfigurationError) as caught:
        validate(config)
    assert str(caught.value) == f"{name}=nonsense: allowed are {', '.join(CHOICES[name])}"


@pytest.fixture(scope="module")
def check() -> Callable[[str, float], None]:
    """A function that changes one setting of the defaults, and checks them all."""
    defaults = compose_config()

    def change_and_validate(name: str, value: float) -> None:
        config = copy.deepcopy(defaults)
        *groups, last = name.split(".")
        setattr(reduce(getattr, groups, config), last, value)
        validate(config)

    return change_and_validate


@pytest.mark.parametrize(
    ("name", "bound", "included", "beyond"),
    [
        *((name, *bound, -1e-9) for name, bound in LOWER_BOUNDS.items()),
        *((name, *bound, 1e-9) for name, bound in UPPER_BOUNDS.items()),
    ],
)
def test_a_bound_is_allowed_or_not_as_its_table_says(check, name, bound, included, beyond) -> None:
    with pytest.raises(ConfigurationError, match=f"^{name}=.*must be "):
        check(name, bound + beyond)
    if included:
        check(name, bound)
    else:
        with pytest.raises(ConfigurationError, match=f"^{name}=.*must be "):
            check(name, bound)


@pytest.mark.parametrize("name", LOWER_BOUNDS)
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_no_number_may_be_infinite_or_none(check, name: str, value: float) -> None:
    with pytest.raises(ConfigurationError, match=f"^{name}="):
        check(name, value)


def numbers(settings: object, prefix: str = "") -> list[str]:
    found = []
    for name, value in vars(settings).items():
        if is_dataclass(value):
            found += numbers(value, f"{prefix}{name}.")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            found.append(prefix + name)
    return found


def test_every_number_has_a_lower_bound() -> None:
    assert set(numbers(compose_config())) == set(LOWER_BOUNDS)


def test_of_two_bad_settings_the_same_one_is_named_each_time() -> None:
    program = (
        "from fedsq_flwr.config import compose_config\n"
        "try: compose_config(['rounds=0', 'silos=0', 'seed=-1', 'batch_size=0', 'momentum=2', 'partition.alpha=0'])\n"
        "except Exception as error: print(error)"
    )
    told = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(told) == 1
