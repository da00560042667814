"""Statistics of the pixels that published weights state: checked before use."""

from collections.abc import Mapping
from typing import Any

import torch

from fedsq_flwr.errors import WeightsError

_SHOWN = 40  # characters of a wrong value


def pixel_statistics(where: str, stated: Mapping[str, Any]) -> dict[str, tuple[float, ...]]:
    """Return ``mean`` and ``std`` as tuples; one that is not stated, or is None, is left out.

    Parameters
    ----------
    where : str
        Where they are stated; errors begin with it.
    stated : mapping
        ``mean`` and ``std``: a number each, or a list with one for each channel.

    Raises
    ------
    WeightsError
        If a value is no number, is not finite in float32 or, for ``std``, not above 0 there; or if the two lists
        are for different numbers of channels.
    """
    found = {}
    for name, allowed in (("mean", "finite numbers"), ("std", "finite numbers above 0")):
        value = stated.get(name)
        if value is None:
            continue
        numbers = _numbers(value)
        rounded = torch.tensor(numbers)  # float32: what images are normalised in
        in_range = torch.isfinite(rounded) if name == "mean" else torch.isfinite(rounded) & (rounded > 0)
        if not numbers or not in_range.all():
            raise WeightsError(
                f"{where}: {name}={brief(value)}: must be {allowed}, one for each channel or one for all"
            )
        found[name] = tuple(numbers)
    if len({len(values) for values in found.values()} - {1}) > 1:
        mean, std = (len(found[name]) for name in ("mean", "std"))
        raise WeightsError(f"{where}: mean has {mean} values and std {std}: must have one for each channel, or one")
    return found


def image_side(where: str, value: Any) -> int:
    """Return ``input_size``: the pixels a side of the images that a network was trained on.

    Raises
    ------
    WeightsError
        If it is no whole number above 0.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise WeightsError(f"{where}: input_size={brief(value)}: must be a whole number of pixels above 0")
    return value


def brief(value: Any) -> str:
    """Return ``value`` as a short text of one line."""
    text = " ".join(str(value).split())
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def _numbers(value: Any) -> list[float]:
    """Return a number or a list of them as floats, with NaN for what is none."""
    numbers = []
    for item in value if isinstance(value, list) else [value]:
        is_number = isinstance(item, int | float) and not isinstance(item, bool)
        try:
            numbers.append(float(item) if is_number else float("nan"))
        except OverflowError:  # an integer of hundreds of digits
            numbers.append(float("inf"))
    return numbers
