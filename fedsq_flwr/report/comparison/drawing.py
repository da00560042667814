"""Which figures a comparison has: none that has nothing to show."""

from fedsq_flwr.report.captions import of_partition
from fedsq_flwr.report.comparison import captions, heat_maps, rates, series
from fedsq_flwr.report.comparison.analysis import Comparison, Section
from fedsq_flwr.report.comparison.cells import Arm
from fedsq_flwr.report.comparison.curves import accuracy_curves, diagnosed, gate_curves, has_bands
from fedsq_flwr.report.comparison.series import Look
from fedsq_flwr.report.comparison.tuning import tried
from fedsq_flwr.report.partition_figure import partition_picture

Drawn = list[tuple[str, str]]  # SVG and caption


def draw_sections(comparison: Comparison) -> list[Drawn]:
    """Draw the figures of each condition; a method looks the same in all of them."""
    looks = series.looks(comparison.groups.arms)
    return [
        _section(section, str(place), comparison, looks) for place, section in enumerate(comparison.sections, start=1)
    ]


def draw_overview(comparison: Comparison) -> Drawn:
    """Draw the methods by conditions, where there are several."""
    if sum(bool(section.finished) for section in comparison.sections) < 2:
        return []
    drawn = [(heat_maps.best_accuracies(comparison), captions.of_best_map())]
    if heat_maps.has_differences(comparison):
        drawn.append((heat_maps.differences(comparison), captions.of_difference_map(comparison)))
    return drawn


def draw_partitions(comparison: Comparison) -> Drawn:
    """Draw the partition of one run of each condition."""
    drawn = []
    for place, section in enumerate(comparison.sections, start=1):
        runs = [run for row in section.rows for _, run in sorted(row.cell.runs.items()) if run.partition]
        # A method that has all samples in one place has a partition of one silo.
        run = max(runs, key=lambda run: run.settings.silos, default=None)
        if run and run.partition:
            picture = partition_picture(run.partition, f"partition-{place}")
            drawn.append((picture, f"{section.condition.label}. {of_partition(run.partition)}"))
    return drawn


def _section(section: Section, place: str, comparison: Comparison, looks: dict[Arm, Look]) -> Drawn:
    if not section.finished:
        return []
    drawn = []
    if any(len(run.rounds) > 1 for row in section.finished for run in row.cell.runs.values()):
        caption = captions.of_curves(section, comparison, bands=has_bands(section.finished))
        drawn.append((accuracy_curves(section, f"curves-{place}", looks), caption))
    for setting in comparison.groups.tuned:
        lines = tried(section, setting)
        if lines:
            picture = rates.accuracy_by_setting(section, setting, f"{setting}-{place}", looks)
            drawn.append((picture, captions.of_settings(section, setting, bands=rates.has_bands(lines))))
    rows = diagnosed(section)
    if rows:
        drawn.append((gate_curves(section, f"gates-{place}", looks), captions.of_gates(rows)))
    return drawn
