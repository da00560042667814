"""What was tuned: the values of a setting that were tried, and whether enough of them were."""

from itertools import groupby

from fedsq_flwr.report.comparison.analysis import Row, Section
from fedsq_flwr.report.comparison.cells import Arm
from fedsq_flwr.report.comparison.choosing import best_setting

Lines = dict[Arm, list[tuple[float, Row]]]  # a method's values of a setting, in order, with their rows


def tried(section: Section, setting: str) -> Lines:
    """Return the values of a tuned setting with their rows, for each method with finished runs at several.

    Where other settings were tuned too, a value's row is the best of them.
    """
    found = {}
    for arm in dict.fromkeys(row.cell.arm for row in section.rows):
        pairs = [
            (dict(row.cell.setting)[setting], row)
            for row in section.rows
            if row.cell.arm == arm and row.n and setting in dict(row.cell.setting)
        ]
        pairs.sort(key=lambda pair: pair[0])
        best = [(value, _best([row for _, row in same])) for value, same in groupby(pairs, key=lambda pair: pair[0])]
        if len(best) > 1:
            found[arm] = best
    return found


def at_the_edge(section: Section, setting: str) -> list[str]:
    """Name the methods whose best setting is the lowest or the highest that was tried."""
    told = []
    for arm, pairs in tried(section, setting).items():
        best = next(row for row in section.best if row.cell.arm == arm)
        value = dict(best.cell.setting)[setting]
        for edge, word in ((pairs[0][0], "lowest"), (pairs[-1][0], "highest")):
            if value == edge:
                told.append(f"{arm.label} ({value:g}, the {word})")
    return told


def uneven(lines: Lines) -> bool:
    """Whether some settings have fewer seeds than others."""
    return len({row.n for pairs in lines.values() for _, row in pairs}) > 1


def _best(rows: list[Row]) -> Row:
    cell = best_setting([row.cell for row in rows])
    return next(row for row in rows if row.cell is cell)
