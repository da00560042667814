"""The command line, ``fedsq COMMAND``: what each command takes; what it does is in ``commands``.

Commands are imported when they are called: some load torch or Flower, which takes seconds.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from fedsq_flwr import __version__
from fedsq_flwr.commands.going_on import InterruptedWorkError
from fedsq_flwr.errors import FedSQError

WRONG_USAGE = 2  # argparse's own status for a command line that it does not know
INTERRUPTED = 130  # what shells report after Ctrl-C
#: Commands that hand what argparse does not know on, as overrides.
_TAKE_OVERRIDES = ("run", "calibrate", "rehearse", "partition")
_OVERRIDES = (
    "Each OVERRIDE is NAME=VALUE; fedsq run --help lists the names. --config-dir DIR adds YAML files of your own; "
    "--config-name NAME makes one of them the primary file."
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command that ``arguments`` (default: those of the process) ask for.

    Returns
    -------
    int
        0 if it did what was asked; 1 after an error, told in one line; 2 without a command; 130 after Ctrl-C.
    """
    parser = _parser()
    chosen, rest = parser.parse_known_args(arguments)
    if chosen.command is None and not rest:
        parser.print_help(sys.stderr)
        return WRONG_USAGE
    if chosen.command is None:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if chosen.command in _TAKE_OVERRIDES:
        chosen.overrides = rest
    elif rest:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    try:
        chosen.action(chosen)
    except FedSQError as error:
        _complain(str(error))
        return 1
    except InterruptedWorkError as interrupt:
        _complain("interrupted; finished rounds are kept, and this command goes on:")
        print(interrupt.command, file=sys.stderr)  # noqa: T201 - whole, however long, to be pasted
        return INTERRUPTED
    except KeyboardInterrupt:
        _complain("interrupted")
        return INTERRUPTED
    return 0


class _SiloHelp(argparse.Action):
    """Prints the help of a command, with the settings of a silo."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object, **__: object) -> None:
        from fedsq_flwr.settings.reference import silo_help

        sys.stdout.write(f"{parser.format_help()}\n{silo_help()}\n")
        parser.exit()


def _complain(line: str) -> None:
    Console(stderr=True).print(f"fedsq: {line}", style="red", markup=False, highlight=False, soft_wrap=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="fedsq", description="Federated fine-tuning under fixed ReLU gates.")
    parser.add_argument("--version", action="version", version=f"fedsq {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    run = commands.add_parser(
        "run", help="run a federation; takes Hydra overrides (fedsq run --help)", add_help=False
    )
    run.set_defaults(action=_run)
    calibrate = commands.add_parser(
        "calibrate",
        help="choose learning rate and more for each method, on data in one place; takes Hydra overrides, as run",
        description="Try one grid of settings with every method, on data in one place, and write for each the values "
        "with the best validation accuracy. An override with several values, such as learning_rate=0.05,0.1, is a "
        "line of the grid; the default grid is in conf/calibration_grid.yaml.",
    )
    calibrate.add_argument(
        "--methods", default="fedsq,fedavg,fedprox", metavar="A,B", help="which (default: fedsq,fedavg,fedprox)"
    )
    calibrate.add_argument("--output", type=Path, required=True, metavar="FILE.yaml", help="where to write")
    calibrate.set_defaults(action=_calibrate)
    partition = commands.add_parser(
        "partition", help="show how samples are distributed among silos; takes Hydra overrides, as run"
    )
    partition.add_argument(
        "--output", type=Path, metavar="FILE", help="write the picture (.png, .svg), or a partition.file (.json)"
    )
    partition.set_defaults(action=_partition)
    _add_report_command(commands)
    _add_watching_commands(commands)
    _add_model_commands(commands)
    _add_silo_commands(commands)
    completion = commands.add_parser("completion", help='tab completion for bash: eval "$(fedsq completion bash)"')
    completion.add_argument("shell", choices=("bash",), help="the shell whose script is printed")
    completion.add_argument("line", nargs="?", help=argparse.SUPPRESS)  # the script itself asks with it
    completion.set_defaults(action=lambda chosen: _completion(chosen, parser))
    for name in _TAKE_OVERRIDES:
        usage = commands.choices[name].format_usage().removeprefix("usage: ").rstrip()
        commands.choices[name].usage = f"{usage} [OVERRIDE ...]"
        commands.choices[name].epilog = _OVERRIDES
    return parser


def _add_report_command(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    report = commands.add_parser("report", help="write a run's or a silo's report.html anew, or compare runs")
    report.add_argument(
        "directories",
        nargs="+",
        type=Path,
        metavar="DIR",
        help="a run; or a directory with runs below it; or several; or a silo's STATE_DIR, or STATE_DIR/reports/RUN",
    )
    report.add_argument(
        "--output",
        type=Path,
        metavar="DIR",
        help="where a comparison is written (default: the one DIR; of several, a new directory runs/comparison)",
    )
    report.add_argument(
        "--target",
        type=float,
        metavar="ACCURACY",
        help="count the rounds to this validation accuracy (default: 95 %% of the best method's, in each condition)",
    )
    report.add_argument(
        "--baseline",
        metavar="METHOD",
        help="compare with this method, seed by seed (default: fedavg, if it is there)",
    )
    report.add_argument("--pdf", action="store_true", help="write figures as PDF, too, beside SVG and CSV")
    report.set_defaults(action=_report)


def _add_watching_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    runs = commands.add_parser("runs", help="list runs: when, what, how far, how good, how long, where")
    runs.add_argument(
        "directory", nargs="?", type=Path, default=Path("runs"), metavar="DIR", help="with runs in or below it (runs)"
    )
    runs.set_defaults(action=_runs)
    status = commands.add_parser("status", help="show how a run stands, also while it goes on in another process")
    status.add_argument("directory", type=Path, metavar="DIR", help="the run's directory")
    status.set_defaults(action=_status)
    for command in (runs, status):
        command.add_argument("--json", action="store_true", help="print JSON")


def _add_model_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    predict = commands.add_parser("predict", help="classify a folder of images with a run's model")
    export = commands.add_parser("export", help="write a run's model as a torch.export program (.pt2)")
    for command in (predict, export):
        command.add_argument(
            "checkpoint",
            type=Path,
            metavar="CHECKPOINT",
            help="a run's directory (its best), or its checkpoints/last",
        )
        command.add_argument(
            "--form",
            choices=("dual", "plain"),
            help="under the fixed gates, or the same weights with their own ReLUs (default: as the method trains)",
        )
    predict.add_argument("folder", type=Path, metavar="FOLDER", help="images, in subfolders too")
    predict.add_argument("--output", type=Path, metavar="FILE.csv", help="where to write (default: standard output)")
    predict.set_defaults(action=_predict)
    export.add_argument("--output", type=Path, metavar="FILE.pt2", required=True, help="where to write")
    export.set_defaults(action=_export)


def _add_silo_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    silo = commands.add_parser("silo", help="take part in federations, as one silo, until stopped", add_help=False)
    silo.add_argument("-h", "--help", action=_SiloHelp, nargs=0, help="show this help with all settings, and exit")
    silo.set_defaults(action=_silo)
    doctor = commands.add_parser(
        "doctor",
        help="check a silo before it joins",
        description="Check a silo before it joins: its settings, key, connection, images, weights, disk and device.",
        epilog="The fingerprint of the gates must be the server's, which is in the history.jsonl and summary.json of "
        "its runs. Nothing is changed at the server, and a silo that is connected is not disturbed. fedsq silo "
        "--help lists the settings of a silo.",
    )
    doctor.set_defaults(action=_doctor)
    for command in (silo, doctor):
        command.add_argument("settings", nargs="*", metavar="FILE.yaml|NAME=VALUE", help="the silo's own settings")
    doctor.add_argument(
        "--run", nargs="*", default=[], metavar="OVERRIDE", help="settings of the run, as its server has them"
    )
    audit = commands.add_parser("audit", help="check a silo's audit log, and say what it says")
    audit.add_argument("log", type=Path, metavar="FILE", help="STATE_DIR/privacy/audit.jsonl")
    audit.add_argument("--run", type=Path, metavar="DIR", help="a run whose server was told of the log at its end")
    audit.set_defaults(action=_audit)
    rehearse = commands.add_parser("rehearse", help="run real silos on this machine; takes Hydra overrides, as run")
    rehearse.add_argument("silos", type=int, metavar="N", help="how many silos")
    rehearse.set_defaults(action=_rehearse)
    certs = commands.add_parser("certs", help="make certificates and node keys for a server and its silos")
    certs.add_argument("directory", type=Path, metavar="DIR", help="where they lie, or will lie")
    certs.add_argument(
        "--host", action="append", default=[], metavar="NAME", help="a name or address that silos reach the server by"
    )
    certs.add_argument("--silo", action="append", default=[], metavar="NAME", help="make a node key keys/NAME")
    certs.add_argument("--days", type=int, metavar="N", help="validity of the server's certificate (default: 365)")
    certs.add_argument(
        "--renew", action="store_true", help="replace the server's certificate by a later one for the same key"
    )
    certs.set_defaults(action=_certs)


def _run(chosen: argparse.Namespace) -> None:
    from fedsq_flwr.commands.run import run

    run(chosen.overrides)


def _calibrate(chosen: argparse.Namespace) -> None:
    from fedsq_flwr.commands.calibrate import calibrate

    calibrate(chosen.methods.split(","), chosen.overrides, chosen.output)


def _partition(chosen: argparse.Namespace) -> None:
    from fedsq_flwr.commands.partition import partition

    partition(chosen.overrides, chosen.output)


def _report(chosen: argparse.Namespace) -> None:
    from fedsq_flwr.commands.report import report

    report(chosen.directories, chosen.output, chosen.target, chosen.baseline, pdf=chosen.pdf)


def _runs(chosen: argparse.Namespace) -> None:
    from fedsq_flwr.commands.runs import runs

    runs(chosen.directory, as_json=chosen.json)


def _status(chosen: argparse.Namespace) -> None:
    from fedsq_flwr.commands.status import status

    status(chosen.directory, as_json=chosen.json)


def _predict(chosen: argparse.Namespace) -> None:
    from fedsq_flwr.commands.predict import predict

    predict(chosen.checkpoint, chosen.folder, chosen.form, chosen.output)


def _export(chosen: argparse.Namespace) -> None:
    from fedsq_flwr.commands.export import export

    print(export(chosen.checkpoint, chosen.form, chosen.output))  # noqa: T201 - the path is this command's output


def _silo(chosen: argparse.Namespace) -> None:
    from fedsq_flwr.commands.silo import silo

    silo(chosen.settings)


def _doctor(chosen: argparse.Namespace) -> None:
    from fedsq_flwr.commands.doctor import doctor

    doctor(chosen.settings, chosen.run)


def _audit(chosen: argparse.Namespace) -> None:
    from fedsq_flwr.commands.audit import audit

    print("\n".join(audit(chosen.log, chosen.run)))  # noqa: T201 - the summary is this command's output


def _rehearse(chosen: argparse.Namespace) -> None:
    from fedsq_flwr.commands.rehearse import rehearse

    rehearse(chosen.silos, chosen.overrides)


def _completion(chosen: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    from fedsq_flwr.commands.completion import completion

    for line in completion(chosen.line, parser):
        print(line)  # noqa: T201 - of the script, or what bash asked for


def _certs(chosen: argparse.Namespace) -> None:
    from fedsq_flwr.commands.certs import certs

    print("\n".join(certs(chosen.directory, chosen.host, chosen.silo, chosen.days, chosen.renew)))  # noqa: T201


if __name__ == "__main__":
    sys.argv[0] = "fedsq"  # as a run's records call it
    sys.exit(main())
