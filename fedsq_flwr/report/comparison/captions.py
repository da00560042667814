"""The sentences of the page that depend on the runs."""

from fedsq_flwr.report import numerals
from fedsq_flwr.report.captions import about_partition
from fedsq_flwr.report.comparison import wording
from fedsq_flwr.report.comparison.analysis import Comparison, Row, Section
from fedsq_flwr.report.comparison.settings import POOLED
from fedsq_flwr.report.comparison.statistics import CONFIDENCE, RESAMPLES
from fedsq_flwr.report.comparison.tuning import at_the_edge, tried, uneven
from fedsq_flwr.report.records import Run

FEW = 6  # seeds that are named in a sentence
SHORT = 56  # characters of methods in the heading


def title(comparison: Comparison) -> str:
    """Write the heading: the methods, by name if there are few, and the data."""
    labels = [arm.label for arm in comparison.groups.arms]
    if not labels:
        return "No run has a round yet"
    named = " and ".join(filter(None, (", ".join(labels[:-1]), labels[-1])))
    what = named if len(named) <= SHORT else numerals.count(len(labels), "method")
    return f"{what} on {' and '.join(dict.fromkeys(run.settings.data for run in runs(comparison)))}"


def common(comparison: Comparison) -> list[str]:
    """Write what the runs have in common, or how many of it there are, for the line under the heading."""
    settings = [run.settings for run in runs(comparison)]
    shared_out = [run.settings for run in _shared_out(comparison)]
    told = {
        "backbones": [each.backbone for each in settings],
        "partitions": [about_partition(each) for each in shared_out],
        "numbers of silos": [numerals.count(each.silos, "silo") for each in shared_out],
        "numbers of rounds": [numerals.count(each.rounds, "round") for each in settings],
        "policies of batch norm": [f"batch norm: {each.batch_norm}" for each in settings],
    }
    distinct = [(name, list(dict.fromkeys(values))) for name, values in told.items()]
    return [
        *(values[0] if len(values) == 1 else f"{len(values)} {name}" for name, values in distinct if values),
        *([seeds(comparison)] if settings else []),
    ]


def runs(comparison: Comparison) -> list[Run]:
    """Return all runs that have a round."""
    return [entry.run for entry in comparison.groups.entries if entry.run]


def _shared_out(comparison: Comparison) -> list[Run]:
    """Return the runs whose samples are shared out; those with all in one place if there are no others."""
    found = [entry.run for entry in comparison.groups.entries if entry.run and not entry.values.get(POOLED)]
    return found or runs(comparison)


def tally(comparison: Comparison) -> str:
    """Count the runs that are not averaged; empty if there are none."""
    lost, runs = len(comparison.incomplete), len(comparison.groups.entries)
    if not lost:
        return ""
    return f"{lost} of {numerals.count(runs, 'run')} failed or {'is' if lost == 1 else 'are'} unfinished"


def seeds(comparison: Comparison) -> str:
    """Name the seeds."""
    names = [str(seed) for seed in comparison.groups.seeds]
    if len(names) > FEW:
        return f"{len(names)} seeds"
    return f"seed{'s' if len(names) > 1 else ''} {', '.join(names)}"


def of_curves(section: Section, comparison: Comparison, *, bands: bool) -> str:
    """Write the sentence under the curves."""
    spread = "the band runs from the worst seed to the best" if bands else "no bands, which would cover one another"
    if all(row.n < 2 for row in section.finished):
        return f"Validation accuracy of one seed, each method at its best setting. {_dotted(section, comparison)}"
    return (
        f"Mean validation accuracy over seeds, each method at its best setting; {spread}. "
        f"{_dotted(section, comparison)}"
    )


def of_settings(section: Section, setting: str, *, bands: bool) -> str:
    """Write the sentences under the figure of a tuned setting."""
    name = setting.replace("_", " ")
    band = ", the band from the worst seed to the best" if bands else ""
    found = ", ".join(at_the_edge(section, setting))
    edge = f" Best at the edge of what was tried, so that another value may be better: {found}." if found else ""
    fewer = " Some values have fewer seeds, see the table of all settings." if uneven(tried(section, setting)) else ""
    return (
        f"Validation accuracy against {name}, {section.condition.label}: of the best round, the mean of all rounds, "
        f"and of the last round{band}. A method whose line is flat and whose last round is as good as its best is "
        f"easy to tune. The axes do not begin at 0.{fewer}{edge}"
    )


def of_gates(rows: list[Row]) -> str:
    """Write the sentence under the diagnostics."""
    lines = [line for row in rows for run in row.cell.runs.values() for line in run.rounds]
    images = sorted({line.diagnosis.images for line in lines if line.diagnosis})
    return (
        f"On {' or '.join(map(str, images))} validation images, means over seeds. Above: the share of the averaged "
        "model's own ReLU signs that differ from the fixed gates (for methods without: from the gates of the start). "
        "Below: the distance between the averaged model's logits and the mean of the silos', relative to the spread "
        "of the silos'."
    )


def of_best_map() -> str:
    """Write the sentence under the heat map of accuracies."""
    return (
        "Mean best validation accuracy over seeds, each method at its best setting: the stronger the colour, the "
        "higher, from the lowest to the highest of this picture."
    )


def of_difference_map(comparison: Comparison) -> str:
    """Write the sentence under the heat map of differences."""
    return (
        f"Mean paired difference in best validation accuracy to {comparison.baseline}: blue is above, orange below. "
        "A colour says nothing about chance; the intervals are in the tables."
    )


def about_tables(comparison: Comparison) -> str:
    """Say what the figures in the tables are."""
    against = ""
    if comparison.baseline is not None:
        against = (
            f" Below them the mean difference to {comparison.baseline} at the same seeds, with the "
            f"{100 * CONFIDENCE:.0f} % percentile interval of a bootstrap over the seeds ({RESAMPLES:,} resamples); "
            "in colour where it leaves 0 out."
        )
    return (
        f"In the tables: mean ± standard deviation over seeds; bold is a column's best mean.{against} A run that "
        "never reaches the target accuracy counts as one round more than it has, so that the mean (≥) is a lower "
        "bound."
    )


def about_baseline(comparison: Comparison) -> str:
    """Say why there are no differences; empty where there are."""
    if comparison.baseline is not None:
        return ""
    return "No run is of fedavg, so no differences are shown; --baseline NAME compares with another method."


def about_choice(comparison: Comparison) -> str:
    """Say how each method's setting was chosen; empty where nothing was tuned."""
    if not any(_tuned(section) for section in comparison.sections):
        return ""
    return (
        "Each method is shown at the setting with the highest mean best validation accuracy over the seeds, among "
        "those with the most seeds; the test split had no say. The best of several means is a little too high, for "
        "a method with more settings a little more."
    )


def _tuned(section: Section) -> bool:
    return len(section.rows) > len(section.best)


def _dotted(section: Section, comparison: Comparison) -> str:
    return f"The dotted line is the target, {wording.target(section, comparison)}."
