"""Overrides in one string, as Flower's run config carries them."""

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import example, given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from fedsq_flwr.errors import ConfigurationError
from fedsq_flwr.settings.composition import compose_settings
from fedsq_flwr.settings.overrides import quoted, split_overrides

SPLITS = {
    "": [],
    "  \t ": [],
    "rounds=3": ["rounds=3"],
    "method=fedavg partition.alpha=0.1": ["method=fedavg", "partition.alpha=0.1"],
    "  a=1   b=2\tc=3 ": ["a=1", "b=2", "c=3"],
    "output='a b' rounds=3": ["output='a b'", "rounds=3"],
    'output="a b" rounds=3': ['output="a b"', "rounds=3"],
    """output='say "hi" now' b=1""": ["""output='say "hi" now'""", "b=1"],
    r"output='it\'s here' b=1": [r"output='it\'s here'", "b=1"],
    r"output='ends with \\' b=1": [r"output='ends with \\'", "b=1"],
    "output=runs/'a b'/c b=1": ["output=runs/'a b'/c", "b=1"],
    "a=[1, 2] b=1": ["a=[1, 2]", "b=1"],
    "a=['x y', z] b=1": ["a=['x y', z]", "b=1"],
    "a=['x]y', z] b=1": ["a=['x]y', z]", "b=1"],
    "a=[[1, 2], [3]] b=1": ["a=[[1, 2], [3]]", "b=1"],
    "a={b: 1, c: 2} b=1": ["a={b: 1, c: 2}", "b=1"],
    "a={b: {c: 1}, d: 2} b=1": ["a={b: {c: 1}, d: 2}", "b=1"],
    "a='[' b=1": ["a='['", "b=1"],
    "output=runs/${now:%Y-%m-%d} seed=1": ["output=runs/${now:%Y-%m-%d}", "seed=1"],
    "+a=1 ++b=2 ~c": ["+a=1", "++b=2", "~c"],
    "output='a b'\nrounds=3": ["output='a b'", "rounds=3"],
    "\nrounds=3\n\nseed=1\n": ["rounds=3", "seed=1"],
    "\n  rounds=3\n  seed=1\n  ": ["rounds=3", "seed=1"],
    "rounds=3\r\nseed=1\r\n": ["rounds=3", "seed=1"],
    "output='a\nb' rounds=3": ["output='a\nb'", "rounds=3"],
}


@pytest.mark.parametrize("text", SPLITS)
def test_overrides_are_split_at_blanks_and_line_ends_that_nothing_encloses(text: str) -> None:
    assert split_overrides(text) == SPLITS[text]


@pytest.mark.parametrize("text", ["rounds=3'", "rounds=3]", "rounds=3 }", "output='a b", "rounds='3", 'rounds=3 "'])
def test_a_quote_or_bracket_without_its_other_half_is_an_error_and_not_dropped(text: str) -> None:
    with pytest.raises(ConfigurationError):
        compose_settings(split_overrides(text))


#: Characters that mean something to Hydra, to OmegaConf, to the shell, to TOML or to `str.splitlines`.
VALUES = st.text(st.sampled_from(list("ab/ .'\"\\=,:#%~[]{}()$&\tü\x0c\x1e\u2028")), max_size=12)


def read(override: str) -> str:
    """What Hydra and OmegaConf make of ``override``."""
    (parsed,) = OverridesParser.create().parse_overrides([override])
    return OmegaConf.create({"value": parsed.value(), "rounds": 10}).value


@example("a\\b")
@example("${rounds}")
@example("${")
@example("\\${x}")
@example("\\\\${x}\\")
@example("C:\\runs\\'s ${x}\\")
@given(value=VALUES)
@settings(deadline=None, max_examples=150)
def test_a_quoted_value_comes_through_as_it_was(value: str) -> None:
    assert read(f"output={quoted(value)}") == value


@example(["\u2028"])
@given(values=st.lists(VALUES, min_size=1, max_size=4))
@settings(deadline=None, max_examples=60)
def test_quoted_overrides_are_split_into_themselves_from_one_line_and_from_many(values: list[str]) -> None:
    overrides = ["rounds=3", *(f"key{place}={quoted(value)}" for place, value in enumerate(values))]
    assert split_overrides(" ".join(overrides)) == overrides
    assert split_overrides("\n".join(overrides)) == overrides


@pytest.mark.parametrize("between", [" ", "\n"], ids=["one line", "many lines"])
def test_a_path_with_blanks_and_quotes_reaches_the_settings(between: str) -> None:
    path = """runs/it's a "run", [no 1] = {x}"""
    assert compose_settings(split_overrides(f"rounds=3{between}output={quoted(path)}")).output == path
