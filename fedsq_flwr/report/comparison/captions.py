"""The sentences of the page that depend on the runs."""

from fedsq_flwr.report import numerals
from fedsq_flwr.report.captions import about_partition
from fedsq_flwr.report.comparison.analysis import TARGET_SHARE, Comparison, Row, Section, at_the_edge
from fedsq_flwr.report.comparison.settings import POOLED
from fedsq_flwr.report.comparison.statistics import CONFIDENCE, RESAMPLES
from fedsq_flwr.report.measure_tables import NAMES
from fedsq_flwr.report.run import Run

FEW = 6  # seeds that are named in a sentence
SHORT = 56  # characters of methods in the heading


def title(comparison: Comparison) -> str:
    """Write the heading: the methods, by name if there are few, and the data."""
    labels = [arm.label for arm in comparison.groups.arms]
    if not labels:
        return "No run has a round yet"
    named = " and ".join(filter(None, (", ".join(labels[:-1]), labels[-1])))
    what = named if len(named) <= SHORT else numerals.count(len(labels), "method")
    return f"{what} on {' and '.join(dict.fromkeys(run.settings.data.title for run in runs(comparison)))}"


def common(comparison: Comparison) -> list[str]:
    """Write the line under the heading: what the runs share, or how many values there are."""
    settings = [run.settings for run in runs(comparison)]
    distributed = [run.settings for run in _distributed(comparison)]
    told: dict[str, list[str]] = {
        "backbones": [each.backbone.name for each in settings],
        "partitions": [about_partition(each) for each in distributed],
        "numbers of silos": [numerals.count(each.silos, "silo") for each in distributed],
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


def _distributed(comparison: Comparison) -> list[Run]:
    """Return the runs whose samples are distributed; those with all in one place if there are no others."""
    found = [entry.run for entry in comparison.groups.entries if entry.run and not entry.values.get(POOLED)]
    return found or runs(comparison)


def tally(comparison: Comparison) -> str:
    """Count the runs that are not averaged; empty if there are none."""
    lost, total = len(comparison.incomplete), len(comparison.groups.entries)
    if not lost:
        return ""
    return f"{lost} of {numerals.count(total, 'run')} failed or {'is' if lost == 1 else 'are'} unfinished"


def seeds(comparison: Comparison) -> str:
    """Name the seeds."""
    names = [str(seed) for seed in comparison.groups.seeds]
    if len(names) > FEW:
        return f"{len(names)} seeds"
    return f"seed{'s' if len(names) > 1 else ''} {', '.join(names)}"


def target(section: Section, comparison: Comparison) -> str:
    """Describe the target and its origin."""
    if comparison.target_given:
        return f"{section.target:g}, as asked for"
    return f"{numerals.accuracy(section.target)}, {100 * TARGET_SHARE:.0f} % of the best method's mean"


def of_curves(section: Section, comparison: Comparison, *, bands: bool) -> str:
    """Write the sentence under the curves."""
    dotted = f"The dotted line is the target, {target(section, comparison)}."
    if all(row.n < 2 for row in section.finished):
        return f"Validation accuracy of one seed, each method at its best setting. {dotted}"
    band = "; the band runs from the worst seed to the best" if bands else ""
    return f"Mean validation accuracy over seeds, each method at its best setting{band}. {dotted}"


def of_settings(section: Section, setting: str, *, bands: bool) -> str:
    """Write the sentences under the figure of a tuned setting."""
    band = ", the band from the worst seed to the best" if bands else ""
    found = ", ".join(at_the_edge(section, setting))
    edge = f" At the edge of the values tried, so that another may be better: {found}." if found else ""
    return (
        f"Validation accuracy against {setting.replace('_', ' ')}, {section.condition.label}: of the best round, the "
        f"mean of all rounds, and of the last round{band}. The axes do not begin at 0.{edge}"
    )


def of_gates(rows: list[Row]) -> str:
    """Write the sentence under the diagnostics."""
    lines = [line for row in rows for run in row.cell.runs.values() for line in run.rounds]
    images = sorted({line.diagnostics.images for line in lines if line.diagnostics})
    return (
        f"On {' or '.join(map(str, images))} validation images, means over seeds. Above: the share of the averaged "
        "model's own ReLU signs that differ from the fixed gates (for methods without: from the gates of the start). "
        "Below: the distance between the averaged model's logits and the mean of the silos', relative to the spread "
        "of the silos'."
    )


def about_tables(comparison: Comparison) -> str:
    """Say what the figures in the tables are."""
    against = ""
    if comparison.baseline is not None:
        against = (
            f" Below them the mean difference to {comparison.baseline} at the same seeds, with the "
            f"{100 * CONFIDENCE:.0f} % percentile interval of a bootstrap over the seeds ({RESAMPLES:,} resamples); "
            "in colour where it excludes 0."
        )
    return (
        f"In the tables: mean ± standard deviation over seeds; bold is a column's best mean.{against} A run that "
        "never reaches the target accuracy counts as one round more than it has, so that the mean (≥) is a lower "
        "bound."
    )


def about_baseline(comparison: Comparison) -> str:
    """Explain why there are no differences; empty if there are some."""
    if comparison.baseline is not None:
        return ""
    return "No run is of fedavg, so no differences are shown; --baseline NAME compares with another method."


def chosen_by(comparison: Comparison) -> str:
    """Name what chose the best rounds and settings."""
    names = dict.fromkeys(NAMES[section.select_by] for section in comparison.sections)
    return f"best validation {' or '.join(names) or NAMES['accuracy']}"


def about_choice(comparison: Comparison) -> str:
    """Say how each method's setting was chosen; empty where nothing was tuned."""
    if not any(len(section.rows) > len(section.best) for section in comparison.sections):
        return ""
    return (
        f"Each method is shown at the setting with the best mean {chosen_by(comparison)} over the seeds, among "
        "those with the most seeds; the test split had no say. The best of several means is a little too high, the "
        "more so the more settings were tried."
    )
