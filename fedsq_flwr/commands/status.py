"""``fedsq status``: how one run stands, while it goes on and afterwards."""

import json
import textwrap
from pathlib import Path

from rich.console import Console
from rich.text import Text

from fedsq_flwr.commands.runs import STYLES
from fedsq_flwr.errors import DataError
from fedsq_flwr.files import finite
from fedsq_flwr.records.history import Line, names_of
from fedsq_flwr.records.progress import Progress
from fedsq_flwr.records.runs import RECENT, Standing, State, is_run, standing
from fedsq_flwr.report import captions, numerals
from fedsq_flwr.report.terminal import printable
from fedsq_flwr.settings.silo import titled

_LABEL = 10  # characters before what is told
_SILOS_TOLD = 20
_ROUNDS_TOLD = 5  # the last ones with replies that were not used


def status(directory: Path, *, as_json: bool = False) -> None:
    """Print how the run in a directory stands.

    Parameters
    ----------
    directory : Path
        The run's.
    as_json : bool
        Print an object instead: the row of ``fedsq runs``, and more.

    Raises
    ------
    DataError
        If it is no run's directory.
    """
    run = standing(directory)
    if run.holder is None and not is_run(directory):
        raise DataError(f"{directory}: is no run's directory (fedsq runs DIR lists those below DIR)")
    if as_json:
        print(json.dumps(plain(run), indent=2, allow_nan=False))  # noqa: T201 - the output
        return
    console = Console(highlight=False)
    head = Text.assemble(f"{printable(str(directory))}: ", (str(run.state), STYLES[run.state]), _at_work(run))
    console.print(head, soft_wrap=True)
    for label, told in lines(run):
        indent = " " * (_LABEL + 2)
        wrapped = textwrap.wrap(printable(told), max(20, console.width - len(indent)), break_long_words=False)
        console.print(f"  {label:<{_LABEL}}{f'{chr(10)}{indent}'.join(wrapped)}", soft_wrap=True, markup=False)


def plain(run: Standing) -> dict[str, object]:
    """Return what is told, as JSON has it."""
    last = run.lines[-1] if run.lines else None
    told = {
        "round": _in_progress(run),
        "round_seconds": run.round_seconds,
        "seconds_a_round": run.seconds_a_round,
        "seconds_left": run.seconds_left,
        "progress": None if run.progress is None else run.progress.model_dump(),
        "slow": {} if last is None else {str(silo): seconds for silo, seconds in last.waited.items()},
        "dropped": [
            {"round": line.round, **drop.model_dump(by_alias=True)}
            for line in _with_drops(run)
            for drop in line.dropped
        ],
    }
    return {**run.plain(), **{name: finite(value) for name, value in told.items()}}


def lines(run: Standing) -> list[tuple[str, str]]:
    """Return what is told below the state, each with its label."""
    settings, told = run.settings, []
    names = names_of(run.lines)
    if settings is not None:
        silos = numerals.count(settings.silos, "silo")
        told.append(("what", f"{settings.method.name} on {settings.data.name}, {silos}, seed {settings.seed}"))
    if run.began is not None:
        told.append(("began", f"{run.began:%Y-%m-%d %H:%M:%S %z}, took {numerals.duration(run.seconds)}"))
    told.append(("round", _progress(run)))
    if (going := run.progress) is not None:
        told.append(("awaited", _awaited(going)))
        told += [("failed", f"silo {silo}: {reason}") for silo, reason in going.failed.items()]
    if run.seconds_a_round is not None:
        recent = min(RECENT, len(run.lines))
        mean = f"the mean of the last {recent}" if recent > 1 else "the first"
        told.append(("a round", f"{run.seconds_a_round:.1f} s, {mean}"))
    if run.seconds_left is not None:
        told.append(("left", f"about {numerals.clock(run.seconds_left)}"))
    if run.best is not None and settings is not None:
        told.append(("best", f"{settings.select_by} {numerals.loss(run.best_value)} in round {run.best.round}"))
    if run.lines and run.lines[-1].waited:
        waits = ", ".join(
            f"silo {silo}{titled(names.get(silo))} ({numerals.duration(each)})"
            for silo, each in run.lines[-1].waited.items()
        )
        told.append(("slow", f"round {run.lines[-1].round} waited for {waits} after enough others had answered"))
    told += [
        ("dropped", f"round {line.round}: {captions.of_drops(line.dropped, names)}") for line in _with_drops(run)
    ]
    if run.problem:
        told.append(("problem", run.problem))
    return told


def _with_drops(run: Standing) -> list[Line]:
    return [line for line in run.lines if line.dropped][-_ROUNDS_TOLD:]


def _in_progress(run: Standing) -> int | None:
    """Return the number of the round that goes on; None if none does."""
    done = run.lines[-1].round if run.lines else 0
    over = run.settings is not None and done >= run.settings.rounds
    return done + 1 if run.state is State.RUNNING and run.settings is not None and not over else None


def _awaited(going: Progress) -> str:
    """Say who is awaited; of many the first."""
    silos = ", ".join(map(str, going.awaited[:_SILOS_TOLD]))
    more = f" and {len(going.awaited) - _SILOS_TOLD} more" if going.awaited[_SILOS_TOLD:] else ""
    who = f"silo{'s' if going.awaited[1:] else ''} {silos}{more}" if going.awaited else "nobody"
    return f"{who} ({going.doing}); {len(going.asked) - len(going.awaited)} of {len(going.asked)} have answered"


def _progress(run: Standing) -> str:
    done, settings = run.lines[-1].round if run.lines else 0, run.settings
    wanted = "?" if settings is None else str(settings.rounds)
    number, spent = _in_progress(run), numerals.clock(run.round_seconds or 0.0)
    if number is not None:
        return f"{number} of {wanted}, for {spent}"
    if run.state is not State.RUNNING:
        return f"{done} of {wanted} {'is' if done == 1 else 'are'} finished"
    if not done:
        return f"none yet, for {spent}: data and weights are loaded, and silos are waited for"
    return f"all {wanted} are finished; the results are written"


def _at_work(run: Standing) -> str:
    holder = run.holder
    if holder is None:
        return ""
    return f", process {holder.pid} on {printable(holder.host)} since {printable(holder.since)}" if holder.pid else ""
