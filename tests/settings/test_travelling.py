"""Settings as one line of JSON: what the process that composed them sends to all others."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedsq_flwr.errors import ConfigurationError
from fedsq_flwr.settings.composition import compose_settings, conf_directory
from fedsq_flwr.settings.run import MAX_JSON, RunSettings

NEEDED = {"imagefolder": ["data.path=/usr"], "file": ["partition.file=/dev/null"]}
OPTIONS = sorted(
    (file.parent.name, file.stem)
    for file in conf_directory().glob("*/*.yaml")
    if file.stem != "cifar10_halves"  # whose weights are a file that a user makes
)


@pytest.mark.parametrize(("group", "option"), OPTIONS, ids=lambda value: value)
def test_settings_arrive_as_they_were_sent(group: str, option: str) -> None:
    sent = compose_settings([f"{group}={option}", *NEEDED.get(option, [])])
    text = sent.to_json()
    assert RunSettings.from_json(text) == sent
    assert "\n" not in text
    assert len(text) < 4000


@given(text=st.text(max_size=40))
@settings(deadline=None, max_examples=100)
def test_text_of_any_kind_arrives(text: str) -> None:
    sent = RunSettings(experiment=text, output=f"a{text}".replace("\0", ""))
    assert RunSettings.from_json(sent.to_json()) == sent


def changed(**values: object) -> str:
    return json.dumps({**json.loads(RunSettings(experiment="none").to_json()), **values})


HOSTILE = {
    "no JSON": ("rounds=3", "settings: no JSON"),
    "empty": ("", "settings: no JSON"),
    "a list": ("[1]", "settings: list where a JSON object is expected"),
    "a number": ("3", "settings: int where"),
    "deep": ("[" * 10**5, "settings: no JSON"),
    "long": (changed(output="a" * MAX_JSON), "characters; allowed are"),
    "not a number": (changed(learning_rate=float("nan")), "learning_rate=nan: must be a finite number"),
    "text for a number": (changed(rounds="3"), "rounds=3: must be a whole number"),
    "a fraction": (changed(rounds=3.5), "rounds=3.5: must be a whole number"),
    "many digits": (changed(rounds=-(10**400)), "rounds=a number of many digits: must be at least 1"),
    "unknown": (changed(run="rm"), "run: there is no such setting"),
    "older": (changed(participation=0.5), "participation: is called fraction_train since version 0.2"),
    "no group": (changed(data="digits"), "data"),
    "no variant": (changed(data={"name": "nope"}), "data.name=nope: allowed are digits, cifar10"),
    "no name": (changed(data={}), "data.name=null: allowed are digits"),
    "another variant's": (changed(data={"name": "digits", "path": "/"}), "data.path=/: is a setting of"),
    "lines": (changed(batch_norm="a\nb"), "batch_norm=a b: allowed are"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_what_is_no_settings_is_refused_in_one_line(kind: str) -> None:
    text, told = HOSTILE[kind]
    with pytest.raises(ConfigurationError) as caught:
        RunSettings.from_json(text)
    assert told in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
    assert len(str(caught.value)) < 400


def test_settings_do_not_change_but_make_others() -> None:
    before = RunSettings(experiment="none")
    with pytest.raises(ValueError, match="frozen"):
        before.rounds = 3  # type: ignore[misc]
    after = before.changed(rounds=3, backbone={"head": "normal"}, method={"weighting": "uniform"})
    assert (before.rounds, before.backbone.head, before.method.weighting) == (10, "zeros", "examples")
    assert (after.rounds, after.backbone.head, after.method.weighting) == (3, "normal", "uniform")
    with pytest.raises(ConfigurationError, match="rounds=0: must be at least 1"):
        before.changed(rounds=0)
