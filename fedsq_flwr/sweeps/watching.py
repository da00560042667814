"""Showing a sweep while Hydra is busy with it: a thread reads the jobs' events as they come.

Events say which jobs failed, so they are read to the end whatever becomes of showing them; what went wrong is
raised when the sweep is over. (Where nobody reads the output any more, rich raises SystemExit.)
"""

import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fedsq_flwr.sweeps.outcomes import Event, Inbox
from fedsq_flwr.sweeps.progress import SweepProgress

_POLL_SECONDS = 0.2


@contextmanager
def watched(output: Path, progress: SweepProgress) -> Iterator[Path]:
    """Give a directory for the events of a sweep below ``output``, and show them until the sweep is over.

    Raises
    ------
    BaseException
        What reading or showing an event raised first, once all have been read.
    """
    output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".sweep-", dir=output) as made:
        inbox, over = Inbox(Path(made)), threading.Event()
        broken: list[BaseException] = []

        def watch() -> None:
            last = False
            while not last:
                last = over.wait(_POLL_SECONDS)  # what came before the end is read after it
                for event in _read(inbox, broken):
                    _show(progress, event, broken)

        watcher = threading.Thread(target=watch, name="sweep", daemon=True)
        progress.start()
        watcher.start()
        try:
            yield Path(made)
        finally:
            over.set()
            watcher.join()
            progress.stop()
        if broken:
            raise broken[0]


def _read(inbox: Inbox, broken: list[BaseException]) -> list[Event]:
    try:
        return inbox.read()
    except Exception as error:  # noqa: BLE001 - raised when the sweep is over
        broken.append(error)
        return []


def _show(progress: SweepProgress, event: Event, broken: list[BaseException]) -> None:
    try:
        progress.add(event)
    except BaseException as error:  # noqa: BLE001 - raised when the sweep is over
        broken.append(error)
