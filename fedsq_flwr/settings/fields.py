"""What the fields of settings say of themselves: facts, variants, defaults and descriptions, read off the classes."""

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from functools import lru_cache
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

Model = type[BaseModel]
#: The value of a setting that has no default, or not the same default in all variants: Hydra's word for it.
MISSING = "???"


class Fact(Enum):
    """What is known of a setting beside its type and bounds."""

    NO_NUMBER = "changes no number of a run"
    LAST_BITS = "changes no more than the last bits of the numbers"
    RESUMABLE = "may change when a run is resumed"
    PATH = "is a path of this machine"
    PLACE = "names a place of this machine or network, which no tracker and no real silo is told"
    CONDITION = "is part of what every method of a comparison has to cope with alike"
    SHARING = "says how samples and rounds are shared among silos, and nothing about a method without silos"
    NOT_COMPARED = "is not compared between runs"
    NOT_TUNED = "makes another method at each value, though it is a fraction"


@dataclass
class Entry:
    """A setting.

    Attributes
    ----------
    name : str
        The dotted name on the command line and in YAML.
    description : str
        One line.
    fields : dict of str to FieldInfo
        The setting in each variant that has it, by the variant's tag, such as ``dirichlet``. The tag is empty where
        the setting does not depend on a choice.
    facts : set of Fact
        What is known of the setting in any variant.
    is_tag : bool
        Whether the setting chooses a variant.
    """

    name: str
    description: str = ""
    fields: dict[str, FieldInfo] = field(default_factory=dict)
    facts: set[Fact] = field(default_factory=set)
    is_tag: bool = False

    @property
    def default(self) -> Any:
        """The default, or `MISSING` where there is none or variants differ in it."""
        found = [each.get_default(call_default_factory=True) for each in self.fields.values()]
        if any(value is PydanticUndefined or value != found[0] for value in found):
            return MISSING
        return list(found[0]) if isinstance(found[0], tuple) else found[0]


@lru_cache
def catalogue(model: Model) -> Mapping[str, Entry]:
    """Return all settings of a class and of the groups below it, by dotted names, in the order of the classes."""
    entries: dict[str, Entry] = {}
    for name, tags, owner, info in _walk(model, "", ("",)):
        entry = entries.setdefault(name, Entry(name))
        entry.is_tag = tags != ("",) and get_args(info.annotation) == tags
        entry.fields |= dict.fromkeys(tags, info)
        entry.description = entry.description or _description(owner, name.rpartition(".")[2])
        entry.facts |= getattr(owner, "facts", frozenset())
        entry.facts |= {fact for fact in info.metadata if isinstance(fact, Fact)}
    return entries


def facts_of(model: Model, name: str) -> frozenset[Fact]:
    """Return what is known of a setting, or, for the name of a group, of the setting that chooses its variant."""
    known = catalogue(model)
    return frozenset(next((known[each].facts for each in (name, f"{name}.name") if each in known), ()))


def defaults(model: Model) -> dict[str, Any]:
    """Return all settings of all variants as nested mappings, with their defaults or `MISSING`."""
    nested: dict[str, Any] = {}
    for name, entry in catalogue(model).items():
        *groups, last = name.split(".")
        level = nested
        for group in groups:
            level = level.setdefault(group, {})
        level[last] = entry.default
    return nested


def no_such_setting(model: Model, name: str) -> str:
    """Say that a setting is unknown, and which ones are like it."""
    known = list(catalogue(model))
    groups = dict.fromkeys(each.rpartition(".")[0] for each in known)
    close = difflib.get_close_matches(name, [*known, *filter(None, groups)], n=3)
    hint = f"; did you mean {' or '.join(close)}?" if close else ""
    return f"{name}: there is no such setting{hint}"


def variants_of(info: FieldInfo) -> tuple[Model, ...]:
    """Return the classes that a field may hold: one for a plain group, several for a choice, none for a value."""
    return tuple(_classes(info.annotation))


def tag_of(info: FieldInfo) -> str | None:
    """Return the name of the field that tells the variants of a choice apart, or None for anything else."""
    return info.discriminator if isinstance(info.discriminator, str) else None


def tags_of(variant: Model, tag: str) -> tuple[str, ...]:
    """Return the values of the field ``tag`` that choose ``variant``."""
    return get_args(variant.model_fields[tag].annotation)


def inlined(owner: Model) -> tuple[str, ...]:
    """Return the names of those choices whose settings stand beside the other settings of ``owner``."""
    return getattr(owner, "inlined", ())


def _walk(
    owner: Model, prefix: str, tags: tuple[str, ...]
) -> Iterator[tuple[str, tuple[str, ...], Model, FieldInfo]]:
    for name, info in owner.model_fields.items():
        variants = variants_of(info)
        if not variants:
            yield f"{prefix}{name}", tags, owner, info
        below = prefix if name in inlined(owner) else f"{prefix}{name}."
        tag = tag_of(info)
        for variant in variants:
            yield from _walk(variant, below, tags_of(variant, tag) if tag else tags)


def _description(owner: Model, name: str) -> str:
    """Return the docstring of a field; a class that only changes a default leaves it to the class above."""
    for above in owner.__mro__:
        if issubclass(above, BaseModel) and name in above.model_fields and above.model_fields[name].description:
            return " ".join(str(above.model_fields[name].description).split())
    return ""


def _classes(annotation: Any) -> Iterator[Model]:
    if get_origin(annotation) is Annotated:
        yield from _classes(get_args(annotation)[0])
    elif get_origin(annotation) in (Union, UnionType):
        for each in get_args(annotation):
            yield from _classes(each)
    elif isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
