"""The command line: ``fedsq run [HYDRA OVERRIDES]``, ``report``, ``predict``, ``export``, ``certs``."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig
from rich.console import Console

from fedsq_flwr.config import to_config
from fedsq_flwr.config.composition import CONFIG_NAME, compose_config, register_schema
from fedsq_flwr.config.explanation import one_line_errors
from fedsq_flwr.errors import FedSQError, RunFailedError

INTERRUPTED = 130  # what shells report after Ctrl-C


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command that ``arguments`` (default: those of the process) ask for.

    Returns
    -------
    int
        0 if it did what was asked; 1 after an error, told in one line; 130 after Ctrl-C.
    """
    parser = _parser()
    chosen, rest = parser.parse_known_args(arguments)
    if chosen.command != "run" and rest:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    try:
        with one_line_errors():
            if chosen.command == "run":
                _run(rest)
            elif chosen.command == "report":
                _report(chosen.directories)
            elif chosen.command == "predict":
                _predict(chosen)
            elif chosen.command == "certs":
                _certs(chosen)
            else:
                _export(chosen)
    except FedSQError as error:
        Console(stderr=True).print(f"fedsq: {error}", style="red", markup=False, highlight=False, soft_wrap=True)
        return 1
    except KeyboardInterrupt:
        Console(stderr=True).print("fedsq: interrupted; finished rounds are kept", style="red")
        return INTERRUPTED
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="fedsq", description="Federated fine-tuning under fixed ReLU gates.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("run", help="run a federation; takes Hydra overrides (fedsq run --help)", add_help=False)
    report = commands.add_parser("report", help="write report.html anew for finished or broken-off runs")
    report.add_argument("directories", nargs="+", type=Path, metavar="DIR", help="a run's directory")
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
    export.add_argument("--output", type=Path, metavar="FILE.pt2", required=True, help="where to write")
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
    return parser


def _run(overrides: list[str]) -> None:
    """Hand ``overrides`` to Hydra, which calls the job once, or once for each job of a sweep (``-m``).

    A sweep goes on after a job that failed; its error is raised when all jobs are over.
    """
    # Hydra would print its errors itself, many lines long, and exit; this makes it raise them.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    register_schema()
    if not any(word.startswith("-") for word in overrides):
        compose_config(overrides)  # before Hydra makes the run's directory
    failed: list[tuple[str, FedSQError]] = []

    def job(composed: DictConfig) -> float:
        try:
            return _job(composed)
        except FedSQError as error:  # kept from Hydra, which would add lines of its own
            failed.append((HydraConfig.get().job.override_dirname, error))
            return float("nan")

    before, sys.argv = sys.argv, ["fedsq run", *overrides]
    try:
        hydra.main(version_base="1.3", config_path="conf", config_name=CONFIG_NAME)(job)()
    finally:
        sys.argv = before
    if len(failed) == 1:
        raise failed[0][1]
    if failed:
        raise RunFailedError(f"{len(failed)} jobs failed: " + "; ".join(f"{name}: {error}" for name, error in failed))


def _job(composed: DictConfig) -> float:
    """Run one federation and return its best validation accuracy, the figure that a sweeper would optimise."""
    config = to_config(composed)
    job = HydraConfig.get()
    from fedsq_flwr.job import run_job  # torch and more: only once the settings are known to be right

    return run_job(config, list(job.overrides.task), Path(job.runtime.output_dir))


def _report(directories: list[Path]) -> None:
    from fedsq_flwr.report import write_report

    for directory in directories:
        print(write_report(directory))  # noqa: T201 - the path is this command's output


def _predict(chosen: argparse.Namespace) -> None:
    from fedsq_flwr.commands.predict import predict

    predict(chosen.checkpoint, chosen.folder, chosen.form, chosen.output)


def _export(chosen: argparse.Namespace) -> None:
    from fedsq_flwr.commands.export import export

    print(export(chosen.checkpoint, chosen.form, chosen.output))  # noqa: T201 - as above


def _certs(chosen: argparse.Namespace) -> None:
    from fedsq_flwr.commands.certs import certs

    print("\n".join(certs(chosen.directory, chosen.host, chosen.silo, chosen.days, chosen.renew)))  # noqa: T201


if __name__ == "__main__":
    sys.exit(main())
