"""The figures of the site report: loss and accuracy on the silo's own held-out samples, round by round."""

from collections.abc import Callable, Sequence

from matplotlib.axes import Axes

from fedsq_flwr.records.own_figures import OwnFigures, OwnRound
from fedsq_flwr.records.summary import Interval
from fedsq_flwr.report import svg
from fedsq_flwr.report.figures import DASHED, HEIGHT, axes_by_round, draw_line, drawable
from fedsq_flwr.report.svg import Canvas, Drawing

_Value = Callable[[OwnFigures], float | None]
_Ends = Callable[[OwnFigures], Interval]


def figures_of(rounds: Sequence[OwnRound], shown: OwnRound | None) -> list[tuple[Drawing, str]]:
    """Draw the figures, and write their captions; none of a silo that has not evaluated."""
    known = [line for line in rounds if line.federated is not None]
    if not known:
        return []
    mark = None if shown is None else shown.round
    local = "; dashed, the model of this silo alone" if any(line.local for line in known) else ""
    caption = (
        f"of the averaged model on this silo's own held-out samples{local}. Bands: 95 % intervals of a bootstrap"
    )
    about = {
        "accuracy": (lambda told: told.accuracy, lambda told: told.accuracy_interval),
        "loss": (lambda told: told.loss, lambda told: told.loss_interval),
    }
    return [
        (_by_round(name, known, mark, *of), f"{name.capitalize()} {caption} over the samples.")
        for name, of in about.items()
    ]


def _by_round(name: str, rounds: Sequence[OwnRound], mark: int | None, value: _Value, ends: _Ends) -> Drawing:
    federated = [line.federated for line in rounds]
    local = [line.local for line in rounds]
    numbers = [line.round for line in rounds]

    def paint(figure: Canvas) -> None:
        axes = axes_by_round(figure, numbers, mark, name, "shown")
        _band(axes, numbers, [ends(each) if each else None for each in federated], svg.VALIDATION)
        values = [value(each) if each else None for each in federated]
        draw_line(axes, numbers, values, colour=svg.VALIDATION, label="averaged model")
        if any(local):
            _band(axes, numbers, [ends(each) if each else None for each in local], svg.TEST)
            values = [value(each) if each else None for each in local]
            draw_line(axes, numbers, values, colour=svg.TEST, label="this silo alone", style=DASHED)
        axes.set_ylim(*((None, min(axes.get_ylim()[1], 1.02)) if name == "accuracy" else (0, None)))
        figure.legend(loc="outside upper left", ncols=2)

    heads = ("round", "averaged model", "from", "to", "this silo alone", "from", "to")
    table = [
        (number, *_cells(both[0], value, ends), *_cells(both[1], value, ends))
        for number, both in zip(numbers, zip(federated, local, strict=True), strict=True)
    ]
    return Drawing(name, f"{name.capitalize()} by round", HEIGHT, paint, (heads, table))


def _cells(figures: OwnFigures | None, value: _Value, ends: _Ends) -> tuple[object, object, object]:
    if figures is None:
        return None, None, None
    low, high = ends(figures) or (None, None)
    return value(figures), low, high


def _band(axes: Axes, rounds: Sequence[int], ends: Sequence[Interval], colour: str) -> None:
    low, high = ([drawable(each[side] if each else None) for each in ends] for side in (0, 1))
    axes.fill_between(rounds, low, high, color=colour, alpha=0.18, linewidth=0, zorder=0)
