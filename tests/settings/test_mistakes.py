"""Every bad setting is one line that names it, the value found, and what is allowed."""

import math
import os
import re
import subprocess
import sys
from functools import reduce
from pathlib import Path
from typing import Annotated, Any

import pytest
from pydantic import TypeAdapter

from fedsq_flwr.errors import ConfigurationError
from fedsq_flwr.records.config import read_config, write_config
from fedsq_flwr.settings.composition import compose_settings
from fedsq_flwr.settings.data import ImageFolderData
from fedsq_flwr.settings.fields import Entry, Fact, catalogue
from fedsq_flwr.settings.run import RunSettings
from fedsq_flwr.settings.variants import drop_other_variants

PRIVATE = "batch_norm=frozen max_update_ratio=0 method.weighting=uniform method.privacy=fixed_clipping"
#: overrides -> what the line must hold: the setting, the value, what is allowed
BAD = {
    "rounds=1.5": ("rounds=1.5", "a whole number"),
    "rounds=many": ("rounds=many", "a whole number"),
    "rounds=true": ("rounds=true", "a whole number"),
    "rounds=null": ("rounds=null", "a whole number"),
    "rounds=[1,2]": ("rounds=[1, 2]", "a whole number"),
    "rounds=0": ("rounds=0", "at least 1"),
    "resume=perhaps": ("resume=perhaps", "true or false"),
    "learning_rate=fast": ("learning_rate=fast", "a number"),
    "learning_rate=0": ("learning_rate=0", "above 0"),
    "learning_rate=inf": ("learning_rate=inf", "a finite number"),
    "learning_rate=nan": ("learning_rate=nan", "a finite number"),
    "momentum=1": ("momentum=1", "at least 0 and below 1"),
    "fraction_train=1.5": ("fraction_train=1.5", "above 0 and at most 1"),
    "fraction_evaluate=-0.5": ("fraction_evaluate=-0.5", "at least 0 and at most 1"),
    "batch_size=1": ("batch_size=1", "at least 2"),
    "local_epochs=0": ("local_epochs=0", "null or above 0"),
    "local_steps=2.5": ("local_steps=2.5", "a whole number"),
    "local_epochs=1 local_steps=5": ("local_steps=5: must be 0 with local_epochs=1: give one of them",),
    "seed=-1": ("seed=-1", "at least 0"),
    "min_replies=11": ("min_replies=11", "at most the 10 silos"),
    "fraction_train=0.25 min_replies=3": ("min_replies=3", "at most the 2 silos"),
    "min_available_silos=11": ("min_available_silos=11", "null or 1 to 10"),
    "partition.alpha=0": ("partition.alpha=0", "above 0"),
    "partition.alpha=-1": ("partition.alpha=-1", "above 0"),
    "partition.alpha=nan": ("partition.alpha=nan", "a finite number"),
    "partition.alpha=small": ("partition.alpha=small", "a number"),
    "partition=nope": ("partition=nope", "dirichlet, file, iid, natural, pathological, quantity, shards"),
    "partition.name=nope": ("partition.name=nope", "iid, dirichlet, pathological, shards, quantity, natural, file"),
    "partition=pathological partition.classes_per_silo=0": ("partition.classes_per_silo=0", "at least 1"),
    "partition=shards partition.shards_per_silo=0": ("partition.shards_per_silo=0", "at least 1"),
    "partition.shards_per_silo=1": ("partition.shards_per_silo=1", "of partition=shards, not of partition=dirichlet"),
    "partition=iid partition.alpha=0.1": ("partition.alpha=0.1", "partition=dirichlet, quantity", "partition=iid"),
    "partition.seed=-1": ("partition.seed=-1", "null or at least 0"),
    "partition=natural partition.groups=''": ("partition.groups=", "must not be empty"),
    "partition=file": ("partition.file: must be given", "the run's partition.json, or the run's directory"),
    "partition=file partition.file=''": ("partition.file=", "must not be empty"),
    "partition=file partition.file=/no/such": ("partition.file=/no/such", "there is no such file"),
    "partition.file=/tmp": ("partition.file=/tmp", "is a setting of partition=file"),
    "partition=file partition.file=/tmp partition.seed=1": ("partition.seed=1", "not of partition=file"),
    "method=nope": ("method=nope", "fedavg", "fedprox", "fedsq"),
    "method=null": ("method=null", "fedavg", "fedprox", "fedsq"),
    "data=nope": ("data=nope", "digits"),
    "experiment=paper/nope": ("experiment=paper/nope", "digits"),
    "method=fedsq,fedavg": ("method=fedsq,fedavg: several values are a sweep, which needs -m",),
    "trackers=tensorboard": ("trackers=tensorboard: must be a list, [tensorboard]",),
    "experiment=nope": ("experiment=nope", "digits"),
    "method.gates=trained": ("method.gates=trained", "none, pretrained, random"),
    "method.mu=0.1": ("method.mu=0.1", "method.aggregation=fedprox", "method.aggregation=fedavg"),
    "method=fedprox method.mu=-1": ("method.mu=-1", "at least 0"),
    "method.aggregation=mean": ("method.aggregation=mean", "fedavg, fedprox, fedavgm, fedadam, fedmedian, none"),
    "method.weighting=size": ("method.weighting=size", "examples, uniform"),
    "method=fedmedian method.weighting=uniform": ("method.weighting=uniform", "not of method.aggregation=fedmedian"),
    "method.server_learning_rate=0.5": ("method.server_learning_rate=0.5", "fedavgm, fedadam"),
    "method=fedprox method.server_momentum=0.9": ("method.server_momentum=0.9", "method.aggregation=fedavgm"),
    "method=fedavgm method.server_momentum=1": ("method.server_momentum=1", "below 1"),
    "method=fedavgm method.beta_2=0.9": ("method.beta_2=0.9", "a setting of method.aggregation=fedadam"),
    "method=fedavgm method.tau=0.1": ("method.tau=0.1", "a setting of method.aggregation=fedadam"),
    "method=fedadam method.tau=0": ("method.tau=0", "must be above 0"),
    "method=fedavg method.pool_gates=false": ("method.pool_gates=false", "not of method.gates=none"),
    "method=local_only diagnostics=true": ("diagnostics=true", "must be false where method.aggregation is none"),
    "method=local_only method.gates=pretrained method.refresh_every=1": ("method.refresh_every=1", "no global model"),
    "method=centralised silos=2": ("silos=2", "must be 1 where method.pooled"),
    "method.clip=1": ("method.clip=1", "method.privacy=fixed_clipping", "method.privacy=none"),
    f"{PRIVATE} method.target_quantile=0.5": ("method.target_quantile=0.5", "method.privacy=adaptive_clipping"),
    f"{PRIVATE} method.noise_multiplier=0": ("method.noise_multiplier=0", "must be above 0"),
    f"{PRIVATE} method.delta=1": ("method.delta=1", "below 1"),
    f"{PRIVATE} method.weighting=examples": ("method.weighting=examples", "must be uniform", "fixed_clipping"),
    f"{PRIVATE} batch_norm=batch": ("batch_norm=batch", "must be frozen", "running variances"),
    f"{PRIVATE} max_update_ratio=10": ("max_update_ratio=10", "must be 0", "every update is clipped"),
    **{
        f"{PRIVATE} method={name}": (f"method.aggregation={name}", "must be fedavg or fedprox")
        for name in ("fedavgm", "fedadam")
    },
    "batch_norm=frozen method=fedmedian method.privacy=fixed_clipping": ("method.aggregation=fedmedian", "fedavg"),
    "batch_norm=frozen method=local_only method.privacy=fixed_clipping": ("method.aggregation=none", "fedavg"),
    f"{PRIVATE} method.privacy=adaptive_clipping method.noise_multiplier=2": (
        "method.noise_multiplier=2",
        "must be below twice method.count_noise",
    ),
    "learning_rate_schedule=linear": ("learning_rate_schedule=linear", "constant, cosine"),
    "wire_dtype=int8": ("wire_dtype=int8", "float32, float16, bfloat16"),
    "batch_norm=global": ("batch_norm=global", "batch, frozen, local"),
    "batch_norm=local resume=true": ("resume=true", "not with batch_norm=local"),
    "batch_norm=local method.refresh_every=2": ("method.refresh_every=2", "must be 0 with batch_norm=local"),
    "batch_norm=local method.freeze_after=2": ("method.freeze_after=2", "must be 0 with batch_norm=local"),
    "linear_probing_rounds=-1": ("linear_probing_rounds=-1", "at least 0"),
    "method.refresh_every=-1": ("method.refresh_every=-1", "at least 0"),
    "method=fedavg method.refresh_every=2": ("method.refresh_every=2", "not of method.gates=none"),
    "method=fedprox method.release_after=2": ("method.release_after=2", "not of method.gates=none"),
    "method=fedsq_random_gates method.freeze_after=2": ("method.freeze_after=2", "not of method.gates=random"),
    "method.freeze_after=3 method.release_after=3": ("method.release_after=3", "0 or above method.freeze_after"),
    "method.gated_from=-0.5": ("method.gated_from=-0.5", "at least 0"),
    "method.gated_from=1": ("method.gated_from=1", "below 1"),
    "method.gated_to=0": ("method.gated_to=0", "above 0"),
    "method.gated_to=1.5": ("method.gated_to=1.5", "at most 1"),
    "method.gated_from=0.5 method.gated_to=0.5": ("method.gated_to=0.5", "above method.gated_from"),
    "method=fedavg method.gated_to=0.5": ("method.gated_to=0.5", "not of method.gates=none"),
    "method=fedavg method.gated_from=0.5": ("method.gated_from=0.5", "not of method.gates=none"),
    "executor.precision=float16": ("executor.precision=float16", "float32, bfloat16"),
    "backbone.weights=/no/such.safetensors": ("backbone.weights=/no/such.safetensors", "no such file"),
    "backbone.weights=imagenet": (
        "backbone.weights=imagenet",
        "imagenet is for efficientnet_lite0, not for resnet20",
    ),
    "backbone.weights=imagenet1k": (
        "backbone.weights=imagenet1k",
        "mnist, random, imagenet",
        "IMAGENET1K_V1",
        ".safetensors",
        "hf:",
    ),
    "backbone.weights=/no/such.pth": ("backbone.weights=/no/such.pth", "no such file"),
    "backbone.weights=IMAGENET1K_V1": ("backbone.weights=IMAGENET1K_V1", "torchvision has no weights for resnet20"),
    "backbone.weights=hf:owner": ("backbone.weights=hf:owner", "hf:owner/name[/file][@revision]"),
    "backbone.weights=~/x.safetensors": (
        "backbone.weights=~/x.safetensors",
        "needs quotes",
        "\"backbone.weights='~/x.safetensors'\"",
    ),
    "backbone=resnet18 backbone.in_channels=1": ("backbone.in_channels=1", "must be 3 for resnet18"),
    "backbone=vgg11 backbone.image_size=31": ("backbone.image_size=31", "at least 32 for vgg11"),
    "backbone=squeezenet1_1 backbone.head=zeros": ("backbone.head=zeros", "must be keep", "convolution"),
    "backbone.mean=[0.5]": ("backbone.std=null", "given together"),
    "backbone.std=[0.5]": ("backbone.mean=null", "given together"),
    "backbone.mean=[0.5,0.5] backbone.std=[1]": ("backbone.mean=[0.5, 0.5]", "each of the 1 channels"),
    "backbone.mean=[nan] backbone.std=[1]": ("backbone.mean=nan", "finite"),
    "backbone.mean=[0.5] backbone.std=[0]": ("backbone.std=[0.0]", "above 0"),
    "backbone.mean=[0.5] backbone.std=[1e-50]": ("backbone.std=[1e-50]", "above 0"),
    "backbone.mean=auto": ("backbone.mean=auto", "a list"),
    "executor=inprocess executor.workers=2 backbone=alexnet": ("executor.workers=2", "0 or 1", "alexnet", "dropout"),
    "executor.workers=2": ("executor.workers=2", "is a setting of executor=inprocess, not of executor=simulation"),
    "backbone.weights=random backbone.head=keep": ("backbone.head=keep", "pretrained weights"),
    "data=imagefolder": ("data.path=null", "must name a folder of images"),
    "data=imagefolder executor=inprocess": ("data.path=null", "must name a folder of images"),
    "data=imagefolder data.path=''": ("data.path=", "must not be empty"),
    "data=imagefolder data.path=/no/such": ("data.path=/no/such", "there is no such folder"),
    "data.path=/tmp": ("data.path=/tmp", "imagefolder", "not of data=digits"),
    "data=cifar10 data.path=/no/such": ("data.path=/no/such", "there is no such folder"),
    "data=cifar10 data.revision=main": ("data.revision=main", "a commit of the hub, 40 hexadecimal digits"),
    "data=cifar10 data.revision=null": ("data.revision=null", "must be text"),
    "data.revision=0b27": ("data.revision=0b27", "not of data=digits"),
    "data.limit=0": ("data.limit=0", "null or at least 1"),
    "data.test_limit=many": ("data.test_limit=many", "null or a whole number"),
    "data=imagefolder executor=silos data.limit=5": ("data.limit=5", "null for real silos"),
    "backbone.weights=runs/none": ("backbone.weights=runs/none", "no such directory", "a run's directory"),
    "data=imagefolder data.path=/ data.classes=[]": ("data.classes=[]", "null or at least 2 names that differ"),
    "data=imagefolder data.path=/ data.classes=[a]": ("data.classes=[a]", "at least 2 names that differ"),
    "data=imagefolder data.path=/ data.classes=[a,b,a]": ("data.classes=[a, b, a]", "that differ"),
    "data=imagefolder data.path=/ data.classes=[a,'']": ("data.classes=[a, '']", "at least 2 names"),
    "data=imagefolder data.path=/ data.unreadable=ignore": ("data.unreadable=ignore", "fail, skip"),
    "data=imagefolder data.path=/ data.test_fraction=0": ("data.test_fraction=0", "above 0 and below 1"),
    "trackers=[tensorbord]": ("trackers=tensorbord", "tensorboard, mlflow, wandb"),
    "trackers=[mlflow,mlflow]": ("trackers=[mlflow, mlflow]", "each at most once"),
    "trackers=mlflow": ("trackers=mlflow", "a list"),
    "output=''": ("output=", "directory"),
    "learning_rte=0.1": ("learning_rte", "no such setting", "did you mean learning_rate"),
    "participation=0.5": ("participation", "is called fraction_train since version 0.2"),
    "method.gate_statistics=reestimated batch_norm=frozen": (
        "method.gate_statistics=reestimated",
        "must be pretrained with batch_norm=frozen, under which no statistics travel",
    ),
    "method.gate_statistics=reestimated method=fedsq_random_gates": (
        "must be pretrained where method.gates is random",
    ),
    "method.gate_statistics=reestimated backbone=vgg11": ("must be pretrained for vgg11, which has no batch norm",),
    "method.release_over=2": ("method.release_over", "was removed in version 0.2"),
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
    "~rounds": ("~rounds", "cannot be left out"),
    "~method": ("~method", "cannot be left out"),
    "seed=${nothing}": ("seed", "nothing"),
    "rounds=1,2": ("rounds=1,2: several values are a sweep, which needs -m", "rounds=[1,2]"),
    "rounds": ("rounds", "must be NAME=VALUE"),
    "rounds==3": ("rounds==3",),
    "rounds=[1": ("[1",),
    "=3": ("=3", "needs a setting's name"),
}


def complaint(*overrides: str) -> str:
    with pytest.raises(ConfigurationError) as caught:
        compose_settings(overrides)
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


def test_weights_that_are_a_directory_or_of_another_format_are_refused(tmp_path: Path) -> None:
    pickle = tmp_path / "weights.pkl"
    pickle.touch()
    told = complaint(f"backbone.weights={pickle}")
    assert told.endswith("must end in one of .safetensors, .pth, .pt, .th, .bin, .ckpt, .tar")
    for suffix in (".safetensors", ".pth", ".pt", ".pth.tar", ".ckpt"):
        (tmp_path / f"folder{suffix}").mkdir()
        assert "there is no such file" in complaint(f"backbone.weights={tmp_path}/folder{suffix}")


@pytest.mark.parametrize("suffix", [".safetensors", ".pth", ".pt", ".pth.tar", ".ckpt", ".PTH", ".bin"])
def test_weights_that_are_there_are_taken(tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"weights{suffix}"
    file.touch()
    assert compose_settings([f"backbone.weights={file}"]).backbone.weights == str(file)


@pytest.mark.parametrize(
    "name", ["hf:owner/name", "hf:owner/name@v1.0", "hf:o/n/a/b.safetensors", "hf:o/n/b.safetensors@refs/pr/1"]
)
def test_weights_on_the_hub_may_be_named(name: str) -> None:
    assert compose_settings([f"backbone.weights={name}"]).backbone.weights == name


def test_a_folder_of_images_must_be_a_folder_and_is_taken_if_it_is_one(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    told = complaint("data=imagefolder", f"data.path={tmp_path}/file")
    assert told == f"data.path={tmp_path}/file: there is no such folder"
    data = compose_settings(["data=imagefolder", f"data.path={tmp_path}", "data.classes=[b,a]"]).data
    assert isinstance(data, ImageFolderData)
    assert (data.path, data.classes) == (str(tmp_path), ("b", "a"))


def test_real_silos_have_folders_of_their_own_and_the_server_needs_none() -> None:
    data = compose_settings(["data=imagefolder", "executor=silos"]).data
    assert isinstance(data, ImageFolderData)
    assert data.path is None


def test_settings_of_a_run_whose_folder_is_gone_are_valid_still(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    write_config(tmp_path / "config.yaml", compose_settings(["data=imagefolder", f"data.path={folder}"]))
    folder.rmdir()
    assert read_config(tmp_path / "config.yaml").plain()["data"]["path"] == str(folder)


@pytest.mark.parametrize("backbone", ["alexnet", "squeezenet1_1"])
@pytest.mark.parametrize("executor", ["inprocess executor.workers=0", "inprocess executor.workers=1", "simulation"])
def test_dropout_may_be_trained_one_silo_at_a_time_or_in_processes(backbone: str, executor: str) -> None:
    assert compose_settings([f"backbone={backbone}", *f"executor={executor}".split()])


def test_silos_without_dropout_may_train_side_by_side() -> None:
    settings = compose_settings(["backbone=densenet121", "executor=inprocess", "executor.workers=4"])
    assert settings.executor.plain()["workers"] == 4


def test_a_value_with_a_quote_is_shown_quoted() -> None:
    message = complaint("output=it's")
    assert message.endswith("\"output='it\\'s'\"")


def settings_that_have(entry: Entry) -> dict[str, Any]:
    """Return settings, as nested mappings, of which a chosen variant has the setting ``entry``."""
    nested = RunSettings(experiment="none").plain()
    group, variant = entry.name.partition(".")[0], next(iter(entry.fields))
    if variant:
        tags = (f"{group}.{tag}" for tag in ("name", "gates", "aggregation", "privacy"))
        put(nested, next(tag for tag in tags if variant in getattr(SETTINGS.get(tag), "fields", ())), variant)
    return drop_other_variants(nested)


def put(nested: dict[str, Any], name: str, value: object) -> None:
    *groups, last = name.split(".")
    reduce(lambda level, group: level[group], groups, nested)[last] = value


def told_of(entry: Entry, value: object) -> str:
    """Return what is said of a value of the setting, or nothing if the value is allowed."""
    nested = settings_that_have(entry)
    put(nested, entry.name, value)
    try:
        RunSettings.parse(nested)
    except ConfigurationError as error:
        return str(error)
    return ""


def schema_of(entry: Entry) -> dict[str, Any]:
    """Return what pydantic states of the setting in JSON schema: its type, its choices, its bounds."""
    field = next(iter(entry.fields.values()))
    kind: Any = Annotated[(field.annotation, None, *field.metadata)]
    schema = TypeAdapter(kind).json_schema()
    schema = next((each for each in schema.get("anyOf", ()) if each.get("type") != "null"), schema)
    return schema.get("items", schema)


SETTINGS = catalogue(RunSettings)
SCHEMAS = {name: schema_of(entry) for name, entry in SETTINGS.items()}
WORDS = {
    name: schema.get("enum", [schema.get("const")])
    for name, schema in SCHEMAS.items()
    if {"enum", "const"} & schema.keys()
}
NUMBERS = [name for name, schema in SCHEMAS.items() if schema.get("type") in ("integer", "number")]
LISTS = ("trackers", "backbone.mean", "backbone.std")
#: Bounds as JSON schema has them: a value beyond, and whether the bound itself is allowed.
BOUNDS = {
    "minimum": (-1, True),
    "exclusiveMinimum": (-1, False),
    "maximum": (1, True),
    "exclusiveMaximum": (1, False),
}


def test_there_are_words_and_numbers_among_the_settings() -> None:
    assert {"batch_norm", "method.gates", "executor.precision", "data.name", "trackers"} <= WORDS.keys()
    assert {"rounds", "learning_rate", "partition.alpha", "method.mu", "backbone.pretraining.epochs"} <= set(NUMBERS)


@pytest.mark.parametrize("name", WORDS)
def test_a_word_that_is_not_among_the_choices_is_refused(name: str) -> None:
    told = told_of(SETTINGS[name], ["nonsense"] if name in LISTS else "nonsense")
    assert told.startswith(f"{name}=nonsense: allowed are ")
    assert set(WORDS[name]) <= set(re.split(r"[ ,]+", told))


@pytest.mark.parametrize("name", [name for name in NUMBERS if name not in LISTS])
def test_every_number_has_a_lower_bound_and_is_refused_beyond_its_bounds(name: str) -> None:
    bounds = {sign: SCHEMAS[name][sign] for sign in BOUNDS if sign in SCHEMAS[name]}
    assert {"minimum", "exclusiveMinimum"} & bounds.keys()
    for sign, bound in bounds.items():
        direction, allowed = BOUNDS[sign]
        beyond = bound + direction * (1 if SCHEMAS[name]["type"] == "integer" else 1e-9)
        assert told_of(SETTINGS[name], beyond).startswith(f"{name}={beyond}: must be ")
        assert allowed or told_of(SETTINGS[name], bound).startswith(f"{name}={bound}: must be ")
        # The bound itself may still be refused for what it requires of another setting.
        assert not allowed or "at least" not in told_of(SETTINGS[name], bound) or name == "backbone.image_size"


@pytest.mark.parametrize("name", NUMBERS)
def test_no_number_may_have_more_digits_than_a_computer_counts_with(name: str) -> None:
    for value in (2**63, -(2**63), 10**400, -(10**5000)):
        told = told_of(SETTINGS[name], [value] if name in LISTS else value)
        assert told.startswith(f"{name}=")
        assert len(told) < 300


@pytest.mark.parametrize("word", ["rounds=", "learning_rate=-", "+nope=", "backbone.mean=[0.1,", "data=", "silos=0x"])
def test_digits_beyond_what_python_reads_are_refused(word: str) -> None:
    told = complaint(f"{word}1{'0' * 5000}{']' * word.count('[')}")
    assert told.startswith(word[:4])
    assert len(told) < 500


#: What can be the name of no file, and what is said of it.
NAMES = {
    "~nosuchuser/x.pth": "there is no user nosuchuser",
    f"{'a' * 252}.pth": "at most 255 bytes a part",
    f"/{'ä' * 126}.pth": "at most 255 bytes a part",
    f"/{'b/' * 2100}x.pth": "4095 in all",
    "a\0b.pth": "a character of value 0",
}


@pytest.mark.parametrize("text", NAMES, ids=range(len(NAMES)))
@pytest.mark.parametrize(
    "entry", [each for each in SETTINGS.values() if Fact.PATH in each.facts], ids=lambda e: e.name
)
def test_no_path_may_be_one_that_no_file_can_have(entry: Entry, text: str) -> None:
    told = told_of(entry, text)
    assert told.startswith(f"{entry.name}=")
    assert NAMES[text] in told


@pytest.mark.parametrize("value", ["'a\0b'", 300 * "x", 3000 * "b/" + "x"], ids=["zero", "long", "deep"])
@pytest.mark.parametrize("group", ["data", "experiment", "partition"])
def test_a_name_that_no_file_of_a_group_can_have_is_refused(group: str, value: str) -> None:
    assert complaint(f"{group}={value}").startswith(f"{group}=")


@pytest.mark.parametrize("name", ["output", "calibration", "backbone.weights", "partition.file", "data.path"])
def test_a_path_that_no_file_can_have_is_refused_on_the_command_line(name: str) -> None:
    group = name.partition(".")[0]
    variant = {"partition": ["partition=file"], "data": ["data=imagefolder"]}.get(group, [])
    for text, told in NAMES.items():
        assert told in complaint(*variant, f"{name}='{text}'")


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_no_number_may_be_infinite_or_none(name: str, value: float) -> None:
    whole = [value] if name in LISTS else value
    assert told_of(SETTINGS[name], whole).startswith(f"{name}=")


def test_of_two_bad_settings_the_same_one_is_named_each_time() -> None:
    program = (
        "from fedsq_flwr.settings.composition import compose_settings\n"
        "try: compose_settings(['rounds=0', 'silos=0', 'seed=-1', 'momentum=2', 'partition.alpha=0'])\n"
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


@pytest.mark.parametrize("inside", ["", "/runs", "/cat/run"])
def test_a_run_does_not_lie_among_its_images_where_its_folders_would_be_classes(tmp_path: Path, inside: str) -> None:
    told = complaint("data=imagefolder", f"data.path={tmp_path}", f"output={tmp_path}{inside}")
    assert told == f"output={tmp_path}{inside}: must not lie in the folder of images, data.path={tmp_path}"
    assert compose_settings(["data=imagefolder", f"data.path={tmp_path}", f"output={tmp_path}-runs"])


def test_a_directory_of_many_runs_is_no_partition(tmp_path: Path) -> None:
    told = complaint("partition=file", f"partition.file={tmp_path}")
    assert told == f"partition.file={tmp_path}: has no partition.json; name one run's directory, or its file"
    (tmp_path / "partition.json").touch()
    assert compose_settings(["partition=file", f"partition.file={tmp_path}"])


@pytest.mark.parametrize("path", ["/home/me/photos", "./photos", "my/photos"])
def test_a_folder_in_the_place_of_data_is_told_where_folders_go(path: str) -> None:
    assert complaint(f"data={path}").startswith(f"data={path}: allowed are cifar10, ")
    assert complaint(f"data={path}").endswith(f"; a folder of images is data=imagefolder data.path={path}")


@pytest.mark.parametrize("executor", ["inprocess", "simulation"])
@pytest.mark.parametrize("setting", ["reply_fraction=0.5", "reply_grace=1"])
def test_a_clock_that_leaves_silos_out_is_a_setting_of_real_silos_only(executor: str, setting: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        compose_settings([f"executor={executor}", f"executor.{setting}"])
    assert str(caught.value).startswith(f"executor.{setting}: is a setting of executor=silos, not of")
