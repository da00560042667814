"""A run's directory, as the run writes it: what a finished round leaves behind, and where a resumed run starts."""

import logging
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from torch import Tensor

from fedsq_flwr.data import ServerData
from fedsq_flwr.errors import ConfigurationError, DataError
from fedsq_flwr.federation.rounds import Round
from fedsq_flwr.federation.server_model import ServerModel
from fedsq_flwr.files import write_as_json, writing
from fedsq_flwr.learning import Predictions, evaluate
from fedsq_flwr.learning.precision import choose_device
from fedsq_flwr.models import state_digest
from fedsq_flwr.privacy.ledger import AuditHead, Ledger
from fedsq_flwr.records.checkpoints import Checkpoints, digest_of_names, pixels_of
from fedsq_flwr.records.config import CONFIG, read_config, write_config
from fedsq_flwr.records.history import HISTORY, WAY_OUT, History, Line, best_line, check_kept, stops_early
from fedsq_flwr.records.restoring import restore
from fedsq_flwr.records.results import line_of, measured_on_test, partition_of, plain_figures, summary_of
from fedsq_flwr.records.status import LAST, holds_run
from fedsq_flwr.records.summary import FAILURE, PRIVACY, SUMMARY, Failure, TestMeasures, read_spent, total
from fedsq_flwr.settings.base import flat
from fedsq_flwr.settings.mistakes import written
from fedsq_flwr.settings.partition_file import PARTITION
from fedsq_flwr.settings.resuming import changes
from fedsq_flwr.settings.run import RunSettings, Selection

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Start:
    """Where a run starts: its first round, and what to load if that is not the first of all.

    ``structure`` is None where the round before had the start's structure, or none; ``server`` where the server
    remembers nothing but the model.
    """

    round: int
    state: dict[str, Tensor] | None
    structure: dict[str, Tensor] | None = None
    server: dict[str, Tensor] | None = None


class RunDirectory:
    """The directory of one run.

    A full or read-only disk ends a run with one line, and leaves the rounds that are finished.

    Parameters
    ----------
    path : str or Path
        It is made if it is not there.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).expanduser().absolute()
        self.history = History(self.path / HISTORY)
        self.checkpoints = Checkpoints(self.path / "checkpoints")
        self._opened = time.perf_counter()
        self._earlier_seconds = 0.0  # of the rounds that earlier, interrupted runs finished
        self._select_by: Selection = "accuracy"
        self._on_test: dict[str, Predictions] = {}  # by the name of the checkpoint

    def open(self, settings: RunSettings, task: ServerData) -> Start:
        """Make the directory ready for ``settings``, and say where to start.

        Raises
        ------
        ConfigurationError
            If it holds a run already and ``resume`` is not set, or a run with other settings.
        DataError, WeightsError
            If what is there to resume from is damaged, or it cannot be told how the weights want their images.
        RunFailedError
            If it cannot be written.
        """
        with writing(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
        self.check(settings)
        self._select_by = settings.select_by
        pixels = pixels_of(settings.backbone)
        self.checkpoints.pixels = {**pixels, "classes": digest_of_names(task.class_names)}
        start = Start(1, None)
        with writing(self.path):
            (self.path / FAILURE).unlink(missing_ok=True)  # of an earlier attempt
            if settings.resume and holds_run(self.path):
                start = self._resume()
            self.checkpoints.tidy()
            for name in (CONFIG, PARTITION, SUMMARY):
                for half in self.path.glob(f".{name}.*"):
                    half.unlink()
            write_config(self.path / CONFIG, settings)
            write_as_json(self.path / PARTITION, partition_of(task))
        return start

    def check(self, settings: RunSettings) -> None:
        """Refuse to write over another run; nothing is lost.

        Raises
        ------
        ConfigurationError, DataError
            As `open`.
        """
        if not holds_run(self.path):
            return
        if not settings.resume:
            raise ConfigurationError(
                f"output={settings.output}: holds a run already; choose another directory, or resume=true to go on"
            )
        before = read_config(self.path / CONFIG)
        for name in changes(before, settings):
            raise ConfigurationError(
                f"{name}: differs from the run in output={settings.output}, which has "
                f"{written(flat(before.plain()).get(name))}; to resume it, settings that change no number may "
                "change, and rounds (with a constant learning rate), stop_after, diagnostics, min_available_silos"
            )
        done = len(self.history.read())
        if done > settings.rounds:
            raise ConfigurationError(
                f"rounds={settings.rounds}: the run in output={settings.output} has {done} finished rounds; "
                "to resume it, ask for as many or more"
            )

    def keep(
        self,
        finished: Round,
        state: dict[str, Tensor],
        structure: dict[str, Tensor] | None = None,
        server: dict[str, Tensor] | None = None,
    ) -> Line:
        """Keep a finished round: checkpoints first, then its line, so that a run that dies can go on.

        Parameters
        ----------
        finished : Round
            The round.
        state : dict
            The quantitative state.
        structure : dict, optional
            The structural state of the round, where it came up during the run.
        server : dict, optional
            What the server remembers beside the model, which only a run that goes on needs.

        Raises
        ------
        RunFailedError
            If it cannot be written. The rounds before it are kept.
        """
        line = line_of(finished)
        lines = self.history.read()
        before = self.history.digest()
        with writing(self.path):
            self.checkpoints.save("last", state, line, structure, server, history=before)
            names = ["last"]
            if best_line([*lines, line], self._select_by) is line:
                self.checkpoints.save("best", state, line, structure)
                names.append("best")
            self.history.append(line)
        test = finished.server.get("test")
        if test is not None and test.predictions is not None:
            self._on_test.update(dict.fromkeys(names, test.predictions))
        return line

    def finish(
        self,
        settings: RunSettings,
        task: ServerData,
        model: ServerModel,
        weights: dict[str, Any],
        audits: Mapping[int, AuditHead | str] = MappingProxyType({}),
    ) -> None:
        """Write ``summary.json``.

        Parameters
        ----------
        settings : RunSettings
            The run's.
        task : ServerData
            Its data.
        model : ServerModel
            Evaluates the plain form.
        weights : dict
            Describes the weights that the run started from.
        audits : mapping of int to AuditHead or str
            What silos tell of their audit logs, or why they tell nothing.

        Raises
        ------
        RunFailedError
            If it cannot be written. All rounds are kept.
        """
        (best, _), (final, _) = (self.checkpoints.load(name) for name in ("best", "last"))
        shared = settings.method.aggregation != "none"  # else there is no one model to evaluate
        found = {
            **(self._measures_on_test(settings, task) if shared and len(task.test) else {}),
            **plain_figures(*(model.evaluate_plain(state) if shared else None for state in (best, final))),
            "wall_seconds": self._earlier_seconds + time.perf_counter() - self._opened,
            "fingerprint": model.fingerprint,
            "weights": weights,
            "weights_sha256": state_digest(final),
            **({"audits": [_told_of_audit(silo, told) for silo, told in sorted(audits.items())]} if audits else {}),
            **({"privacy": spent} if (spent := read_spent(self.path)) is not None else {}),
        }
        summary = summary_of(settings, task, self.history.read(), found)
        with writing(self.path):
            write_as_json(self.path / SUMMARY, summary)

    @property
    def ledger(self) -> Ledger:
        """What the server's noise was spent on, where there is any."""
        return Ledger(self.path / PRIVACY)

    def has_stopped(self, settings: RunSettings) -> bool:
        """Tell whether the run ends after the rounds that there are, for want of an improvement."""
        return settings.stop_after > 0 and stops_early(self.history.read(), settings)

    def _measures_on_test(self, settings: RunSettings, task: ServerData) -> dict[str, TestMeasures | None]:
        """Return the measures of the best and the last round on the test set, with intervals.

        A resumed run evaluates a checkpoint again that an earlier attempt has kept.
        """
        for name in {"best", "last"} - self._on_test.keys():
            model = restore(self.path / "checkpoints" / name).model
            device, precision = choose_device(settings.executor.device), settings.executor.precision
            test = task.test.to(device)
            told = evaluate(model.to(device), test.images, test.labels, precision=precision, predictions=True)
            if told.predictions is not None:
                self._on_test[name] = told.predictions
        final, same = self._on_test["last"], self._on_test["best"] is self._on_test["last"]
        last = measured_on_test(final, settings.seed)
        best = last if same else measured_on_test(self._on_test["best"], settings.seed)
        return {"test_measures": best, "final_measures": last}

    def write_failure(self, reason: str) -> None:
        """Keep the one line that says why the run ended, for whoever started it."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            write_as_json(self.path / FAILURE, Failure(error=reason))
        except OSError:  # the reason itself may be that nothing can be written
            log.exception("%s cannot be written", self.path / FAILURE)

    def _resume(self) -> Start:
        lines = self.history.read()
        if not os.path.lexists(self.path / LAST):
            raise DataError(
                f"{self.path / LAST} is missing, without which the run of {len(lines)} finished rounds cannot go on; "
                f"{WAY_OUT}"
            )
        state, line = self.checkpoints.load("last")
        structure, server = self.checkpoints.load_structure("last"), self.checkpoints.load_server("last")
        self.history.repair(line, self.checkpoints.metadata("last").history)
        lines = self.history.read()
        if (
            best_line(lines, self._select_by).round == line.round
        ):  # the run may have died before it was kept as the best
            self.checkpoints.save("best", state, line, structure)
        else:
            check_kept(lines, self.checkpoints.load("best")[1], self.checkpoints.path("best"), best=self._select_by)
        self._earlier_seconds = total(earlier.seconds for earlier in lines) or 0.0
        return Start(line.round + 1, state, structure, server)


def _told_of_audit(silo: int, told: AuditHead | str) -> dict[str, Any]:
    said = {"reason": told} if isinstance(told, str) else {"lines": told.lines, "last": told.last}
    return {"silo": silo, **said}
