"""Two checks of the ten seeds of the digits: other pretrained networks, and lower rates for FedAvg."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from scripts.experiments.pairs import difference
from scripts.experiments.plans import DIGITS, LOWER_RATES, METHODS, REPORTED, STARTS, Run, Settings, tuned
from scripts.experiments.plans import other_starts as planned_starts
from scripts.experiments.results import Results

_ALPHAS = (0.1, 0.5)
_FIXED = tuple(arm for arm in METHODS if arm["method"] != "fedavg")
_MEASURES = ("mean", "final_test")


def starts_table(found: Results) -> str:
    """Return a Markdown table of the leads by pretrained network; a start with a run missing is left out.

    The lead of a start is the mean over its seeds. The interval is Student's, over starts.
    """
    seeds = sorted({run.settings["seed"] for run in planned_starts(found)})
    head = ("task", "method", "starts", "lead, mean of the rounds", "by start", "lead, final test", "by start")
    lines = _head(head)
    for alpha in _ALPHAS:
        plain = tuned({"method": "fedavg"}, alpha, found)
        for arm in _FIXED:
            own = tuned(arm, alpha, found)
            leads = [lead for start in STARTS if (lead := _leads(own, plain, start, seeds, found)) is not None]
            if len(leads) > 1:
                cells = [text for place in range(2) for text in _over_starts([lead[place] for lead in leads])]
                lines.append(_row(f"Dirichlet({alpha})", f"`{arm['method']}`", str(len(leads)), *cells))
    return "\n".join(lines)


def rates_table(found: Results) -> str:
    """Return a Markdown table of the leads over FedAvg at each rate, with Student's intervals over the ten seeds."""
    lines = _head(("task", "method", "rate", "rate of FedAvg", "lead, mean of the rounds", "lead, final test"))
    rates = sorted({*LOWER_RATES, *(tuned({"method": "fedavg"}, alpha, found)["learning_rate"] for alpha in _ALPHAS)})
    for alpha in _ALPHAS:
        for arm in _FIXED:
            own = tuned(arm, alpha, found)
            for rate in rates:
                plain = {**DIGITS, "partition.alpha": alpha, "method": "fedavg", "learning_rate": rate}
                if (pairs := _pairs(own, plain, REPORTED, found)) is not None:
                    leads = [difference(*([line[name] for line in side] for side in pairs)) for name in _MEASURES]
                    told = [f"{lead.mean:+.3f} [{lead.low:+.3f}, {lead.high:+.3f}]" for lead in leads]
                    method = (f"`{arm['method']}`", f"{own['learning_rate']:g}", f"{rate:g}")
                    lines.append(_row(f"Dirichlet({alpha})", *method, *told))
    return "\n".join(lines)


def _leads(
    own: Settings, plain: Settings, start: int, seeds: Sequence[int], found: Results
) -> tuple[float, ...] | None:
    changed = {} if start == STARTS[0] else {"backbone.pretraining.seed": start}
    pairs = _pairs({**own, **changed}, {**plain, **changed}, seeds, found)
    if pairs is None:
        return None
    return tuple(statistics.fmean(a[name] - b[name] for a, b in zip(*pairs, strict=True)) for name in _MEASURES)


def _pairs(
    own: Settings, plain: Settings, seeds: Sequence[int], found: Results
) -> tuple[Sequence[Mapping[str, Any]], Sequence[Mapping[str, Any]]] | None:
    """Return the lines of both for all seeds; None if one is missing or failed."""
    sides = [[found.get(Run({**each, "seed": seed}).name, {}) for seed in seeds] for each in (own, plain)]
    return (sides[0], sides[1]) if all("best" in line for side in sides for line in side) else None


def _over_starts(leads: Sequence[float]) -> tuple[str, str]:
    lead = difference(leads, [0.0] * len(leads))
    each = ", ".join(f"{value:+.2f}" for value in leads)
    return f"{lead.mean:+.3f} [{lead.low:+.3f}, {lead.high:+.3f}]", each


def _head(names: Sequence[str]) -> list[str]:
    return [_row(*names), f"|{'---|' * len(names)}"]


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"
