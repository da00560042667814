"""The planned experiments: list them, run what is missing, print tables of what has ended.

Usage: ``python -m scripts.experiments ACTION [PLAN ...] [--output FOLDER]``. Of the actions, ``table`` prints means,
``pairs`` differences to FedAvg by seed, ``axes`` one axis at a time, and ``checks`` other pretrained networks and
lower rates; ``diagnoses`` joins the lead of fixed gates to drift and averaging gap, and draws it into ``--figure
FILE``; ``publish`` writes the figures of all runs into ``--into FOLDER``, from which the tables can be made, with
that folder as the output. A run needs the extra ``imagenet`` and FEDSQ_DATA, a folder with ``cifar10/train.parquet``
and ``test.parquet``. Ctrl-C or SIGTERM stops it; the same command goes on within the run that was stopped.
"""

import argparse
import signal
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from scripts.experiments import diagnoses
from scripts.experiments.axes_table import axes_table
from scripts.experiments.checks_tables import rates_table, starts_table
from scripts.experiments.lead_figure import draw
from scripts.experiments.pairs import tables
from scripts.experiments.plans import PLANS, TUNING, Run
from scripts.experiments.results import RESULTS, Results, publish, read_results, table
from scripts.experiments.runner import StoppedError, run_plans
from scripts.experiments.trial_rule import rule_table, trials_of

PUBLISHED = Path(__file__).parents[2] / "docs" / "explanation" / "experiments"


def main() -> int:
    """Do what the command line asks for; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m scripts.experiments", description=__doc__.partition("\n")[0])
    parser.add_argument("action", choices=("list", "run", "table", "pairs", "axes", "checks", "diagnoses", "publish"))
    parser.add_argument(
        "plans", nargs="*", metavar="PLAN", help=f"of {', '.join(PLANS)}; by default all, in this order"
    )
    parser.add_argument("--output", type=Path, default=Path("runs/experiments"))
    parser.add_argument("--hours", type=float, default=12.0, help="of all runs in the output, earlier ones included")
    parser.add_argument("--figure", type=Path, help="of diagnoses: a .png, .svg or .pdf")
    parser.add_argument("--into", type=Path, default=PUBLISHED, help="of publish")
    chosen = parser.parse_args()
    if unknown := sorted(set(chosen.plans) - PLANS.keys()):
        parser.error(f"{unknown[0]}: there is no such plan; allowed are {', '.join(PLANS)}")
    names, output = chosen.plans or list(PLANS), chosen.output.absolute()
    found = read_results(output / RESULTS)
    match chosen.action:
        case "run":
            return _run(names, output, chosen.hours)
        case "publish":
            publish(found, chosen.into)
        case "diagnoses":
            _print_diagnoses(names, found, chosen.figure)
        case "axes":
            print(axes_table(found))
        case "checks":
            print(f"{starts_table(found)}\n\n{rates_table(found)}")
        case "pairs":
            tuning = sorted({seed for seeds in TUNING.values() for seed in seeds})
            for _, runs in _planned(names, found):
                print(f"{tables((run.name for run in runs), found, tuning)}\n")
        case "table" | "list":
            _print_plans(names, found, with_figures=chosen.action == "table")
    return 0


def _run(names: Sequence[str], output: Path, hours: float) -> int:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        run_plans([PLANS[name] for name in names], output, hours)
    except (StoppedError, KeyboardInterrupt) as error:
        print(error or "stopped; the same command goes on", file=sys.stderr)
        return 130
    return 0


def _planned(names: Sequence[str], found: Results) -> Iterator[tuple[str, list[Run]]]:
    """Yield each plan's runs without those of the plans before it."""
    listed = set[str]()
    for name in names:
        runs = [run for run in PLANS[name](found) if run.name not in listed]
        listed |= {run.name for run in runs}
        yield name, runs


def _print_plans(names: Sequence[str], found: Results, *, with_figures: bool) -> None:
    for name, runs in _planned(names, found):
        missing = [run for run in runs if run.name not in found]
        minutes = sum(run.minutes for run in missing)
        print(f"{name}: {len(runs)} runs, {len(runs) - len(missing)} ended; the others take {minutes / 60:.1f} h")
        if with_figures:
            print(f"\n{table(found[run.name] for run in runs if run.name in found)}\n")
            continue
        for run in runs:
            print(f"  {'ended  ' if run.name in found else f'{run.minutes:4.1f} min'} {run.name}")


def _print_diagnoses(names: Sequence[str], found: Results, figure: Path | None) -> None:
    planned = {run.name for _, runs in _planned(names, found) for run in runs}
    pairs = diagnoses.pairs_of({name: line for name, line in found.items() if name in planned})
    print(f"{diagnoses.table(pairs)}\n\n{diagnoses.summary(pairs)}\n\n{diagnoses.flips_table(found)}\n")
    print(rule_table(trials_of(found)))
    if figure is not None:
        draw(pairs, figure)


if __name__ == "__main__":
    sys.exit(main())
