"""What is wrong with a value, in one line: the setting, its value and what is allowed."""

import re
from collections.abc import Iterator, Mapping, Sequence
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import ValidationError

from fedsq_flwr.settings.fields import Entry, Model, catalogue, inlined, no_such_setting, tag_of, tags_of, variants_of

_KINDS = {
    "int": "must be a whole number",
    "float": "must be a number",
    "finite": "must be a finite number",
    "bool": "must be true or false",
    "string": "must be text",
    "tuple": "must be a list",
    "model": "must be a group of settings",
}
_LONGEST = 200  # characters of a value that a line shows
_DEEPEST = 4  # lists within lists
_SIGNS = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}


def explain_mistake(error: ValidationError, model: Model) -> str:
    """Return the line for the first bad setting of ``model``."""
    first: Any = error.errors()[0]
    name, owner, field = _place(model, first["loc"])
    kind, value = first["type"], first["input"]
    if kind == "extra_forbidden":
        foreign = only_of(model, name, owner)
        return f"{name}={written(value)}: {foreign}" if foreign else unknown(model, name)
    if kind == "missing":
        described = catalogue(model)[name].description if name in catalogue(model) else ""
        told = f": {described[0].lower()}{described[1:]}".replace("``", "").rstrip(".") if described else ""
        return f"{name}: must be given{told}"
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        tag = first["ctx"]["discriminator"].strip("'")
        allowed = [each for variant in variants_of(owner.model_fields[field]) for each in tags_of(variant, tag)]
        chosen = value.get(tag) if isinstance(value, dict) else value
        return f"{name}.{tag}={written(chosen)}: allowed are {', '.join(allowed)}"
    return f"{name}={written(value)}: {_allowed(first, owner, field)}"


def only_of(model: Model, name: str, chosen: Model) -> str:
    """Say which variants have a setting that the variant ``chosen`` lacks; nothing if no variant has it."""
    entry = catalogue(model).get(name)
    if entry is None:
        return ""
    group = name.rpartition(".")[0]
    tag = next((tag for tag in ("name", "gates", "aggregation", "privacy") if tag in chosen.model_fields), "name")
    if inlined(chosen):  # the setting is one of a choice that is written without a level of its own
        return "is no setting of this method"
    key = group if tag == "name" else f"{group}.{tag}"
    return f"is a setting of {key}={', '.join(filter(None, entry.fields))}, not of {key}={tags_of(chosen, tag)[0]}"


def allowed_values(entry: Entry) -> str:
    """Return in words what a setting may be: its choices or its bounds."""
    if entry.is_tag:
        return ", ".join(entry.fields)
    field = next(iter(entry.fields.values()))
    kinds = [field.annotation, *field.metadata]
    words = [word for kind in kinds for word in choices(kind)]
    limits = " and ".join(f"{_SIGNS[sign]} {limit:g}" for sign, limit in dict(_limits(kinds)).items())
    names = {"int": "whole number", "float": "number", "bool": "true or false", "tuple": "list", "str": "text"}
    kind = next((names[each] for each in names if each in str(field.annotation)), "")
    null = ", or null" if type(None) in get_args(field.annotation) else ""
    return (", ".join(words) or f"{kind} {limits}".strip()) + null


def written(value: Any) -> str:
    """Write a value on one line, as YAML and the command line write it, but for what is too long for a line."""
    text = _written(value, _DEEPEST)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


def unknown(model: Model, name: str) -> str:
    """Say that a setting is unknown: what took its place, or which ones are like it."""
    renamed = getattr(model, "renamed", {})
    return f"{name}: {renamed[name]}" if name in renamed else no_such_setting(model, name)


def _written(value: Any, levels: int) -> str:
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    if isinstance(value, list | tuple | Mapping):
        start, end = "{}" if isinstance(value, Mapping) else "[]"
        if not levels:
            return f"{start}...{end}"
        first = list(value)[:_LONGEST]  # more are not shown
        if isinstance(value, Mapping):
            inner = [f"{_written(each, 0)}: {_written(value[each], levels - 1)}" for each in first]
        else:
            inner = [_written(each, levels - 1) or repr(each) for each in first]
        return f"{start}{', '.join(inner)}{end}"
    if isinstance(value, int) and abs(value) >= 10**20:
        return "a number of many digits"
    # Control characters could steer the terminal or the log that the line ends up in.
    return " ".join("".join(letter if letter.isprintable() else " " for letter in str(value)).split())


def _place(model: Model, place: Sequence[int | str]) -> tuple[str, Model, str]:
    """Return the dotted name of a place, the class that holds it, and the field's own name."""
    names: list[str] = []
    owner, last, rest = model, "", list(place)
    while rest:
        last = written(rest.pop(0))
        if last not in owner.model_fields:
            names.append(last)
            break
        field = owner.model_fields[last]
        if last not in inlined(owner):
            names.append(last)
        variants = variants_of(field)
        if variants and rest:
            tag = tag_of(field)
            chosen = str(rest.pop(0)) if tag else ""
            owner = next(each for each in variants if not tag or chosen in tags_of(each, tag))
        elif rest:  # a place in a list
            break
    return ".".join(names), owner, last


def _allowed(error: Any, owner: Model, name: str) -> str:
    told = error["type"]
    if told == "value_error":
        return str(error["ctx"]["error"])
    field = owner.model_fields.get(name)
    limits = {} if field is None else dict(_limits([field.annotation, *field.metadata]))
    null = "null or " if field is not None and type(None) in get_args(field.annotation) else ""
    if told == "literal_error":
        words = re.findall(r"'([^']*)'", str(error["ctx"]["expected"]))
        return f"allowed are {null}{', '.join(words)}"
    if told.endswith("too_short"):
        return "must not be empty"
    if told.startswith(("greater_than", "less_than")) and limits:
        return f"must be {null}{' and '.join(f'{_SIGNS[sign]} {limit:g}' for sign, limit in limits.items())}"
    if told.startswith("tuple"):
        return f"must be a list, [{written(error['input'])}]"
    kind = _KINDS.get(told.partition("_")[0], str(error["msg"]))
    return kind.replace("must be ", f"must be {null}", 1)


def choices(annotation: Any) -> Iterator[str]:
    """Give the values that an annotation lists."""
    if get_origin(annotation) is Literal:
        yield from map(str, get_args(annotation))
    elif get_origin(annotation) in (Annotated, Union, UnionType, tuple):
        for each in get_args(annotation):
            yield from choices(each)


def _limits(metadata: Sequence[Any]) -> Iterator[tuple[str, float]]:
    for each in metadata:
        if get_origin(each) in (Annotated, Union, UnionType):
            yield from _limits([*get_args(each), *getattr(each, "__metadata__", ())])
        for sign in _SIGNS:
            if isinstance(limit := getattr(each, sign, None), int | float):
                yield sign, limit
        yield from _limits(getattr(each, "metadata", ()))
