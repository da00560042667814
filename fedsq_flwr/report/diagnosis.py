"""The diagnostics of a round as the report reads them: from the history's line to records."""

from dataclasses import dataclass

from fedsq_flwr.report.fields import Fields


@dataclass(frozen=True)
class Layer:
    """Flips and open gates of one call; rates are shares, None where they were not finite or do not apply."""

    name: str
    pools: bool
    flip_rate: float | None
    density: float | None
    own_density: float | None


@dataclass(frozen=True)
class Diagnosis:
    """The key ``diagnostics`` of a line of ``history.jsonl``."""

    images: int
    flip_rate: float | None
    layers: tuple[Layer, ...]
    gap: float | None
    spread: float | None
    relative_gap: float | None
    drift: float | None
    drift_of_mean: float | None


def parse_diagnosis(fields: Fields) -> Diagnosis:
    """Read what the examiner found in a round."""
    averaging, drift = fields.inner("averaging"), fields.inner("drift")
    return Diagnosis(
        images=fields.whole("images"),
        flip_rate=fields.number("flip_rate"),
        layers=tuple(_layer(layer) for layer in fields.objects("layers")),
        gap=averaging.number("gap"),
        spread=averaging.number("spread"),
        relative_gap=averaging.number("relative"),
        drift=drift.number("mean"),
        drift_of_mean=drift.number("of_mean"),
    )


def _layer(fields: Fields) -> Layer:
    return Layer(
        name=fields.text("layer"),
        pools=fields.text("kind") == "max_pool",
        flip_rate=fields.number("flip_rate"),
        density=fields.number("density"),
        own_density=fields.number("own_density"),
    )
