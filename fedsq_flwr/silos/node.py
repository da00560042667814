"""The process of a silo: take a message, let the client app answer it, send the reply; for run after run.

The code of the app is the one installed here. Flower's bundle of a run, which could bring code along, is
never fetched, so that whoever runs the server cannot run code at a silo.
"""

import logging
import sys
import time
from collections.abc import Callable, Mapping

from flwr.app import Context, Error, Message, MessageType, RecordDict
from flwr.clientapp import ClientApp
from flwr.common.constant import ErrorCode

from fedsq_flwr.errors import DataError, FedSQError, RunFailedError
from fedsq_flwr.executors.log_lines import Fields, meanwhile
from fedsq_flwr.federation.protocol import count_bytes, round_of
from fedsq_flwr.federation.waiting import waits
from fedsq_flwr.privacy.audit import AuditLog
from fedsq_flwr.silos.auditing import asked, replied
from fedsq_flwr.silos.link import Link
from fedsq_flwr.silos.transfer import RunOverError, TooLargeError

log = logging.getLogger(__name__)

#: The app whose runs are answered.
APP_ID = "fedsq/fedsq-flwr"
#: The most seconds between two looks for a message; a look is a request of some hundred bytes.
POLL_SECONDS = 1.0
_MOST_OF_UNKNOWN = 2**32  # bytes of a message whose run cannot be answered: the answer says why
_KEPT_RUNS = 4  # contexts, which hold what a silo keeps for the length of a run


class Node:
    """Answers messages that come over a link.

    Parameters
    ----------
    link : Link
        The open connection.
    app : ClientApp
        Answers each message.
    node_config : mapping
        The silo's own settings, as `SiloSettings.node_config` gives them.
    most_bytes : callable, optional
        Returns how many bytes a message may have, by the context of its run; any number by default.
    audit : AuditLog, optional
        Told of each message, and of each reply before it leaves.
    trained : callable, optional
        Called when the reply to a training has been handed over.
    """

    def __init__(
        self,
        link: Link,
        app: ClientApp,
        node_config: Mapping[str, str | int],
        most_bytes: Callable[[Context], int] | None = None,
        audit: AuditLog | None = None,
        *,
        trained: Callable[[], None] | None = None,
    ) -> None:
        self._link = link
        self._audit = audit
        self._trained = trained
        self._most_bytes = most_bytes
        link.most_bytes = self._most
        self._app = app
        self._node_config = dict(node_config)
        self._contexts: dict[int, Context] = {}  # by run, the newest last

    def serve(self) -> None:
        """Answer messages for ever.

        Raises
        ------
        RunFailedError
            If the SuperLink no longer takes this silo.
        """
        seconds = waits(POLL_SECONDS)
        while True:
            answered = False
            try:
                answered = self.answer_next()
            except RunOverError:
                log.info("the run has ended before the silo was done")
            if answered:
                seconds = waits(POLL_SECONDS)
            else:
                time.sleep(next(seconds))

    def answer_next(self) -> bool:
        """Answer one message, if there is one; tell whether there was."""
        try:
            message = self._link.receive()
        except TooLargeError as error:
            log.error("run %s: refused: %s", error.message.metadata.run_id, error)
            refusal = Error(ErrorCode.CLIENT_APP_RAISED_EXCEPTION, str(error))
            self._send(Message(refusal, reply_to=error.message), error.message.metadata.message_type, 0.0)
            return True
        if message is None:
            return False
        started = time.perf_counter()
        if self._audit is not None:
            self._audit.append("asked", asked(message))
        with meanwhile(run=message.metadata.run_id) as known:
            reply = self._answer(message, started, known)
            self._send(reply, message.metadata.message_type, time.perf_counter() - started)
        return True

    def _send(self, reply: Message, kind: str, seconds: float) -> None:
        if self._audit is not None:
            self._audit.append(*replied(reply, kind))
        if not self._link.send(reply, 0.0 if "privacy" in self._node_config else seconds):
            log.warning("run %s: the server no longer waits for this answer to %s", reply.metadata.run_id, kind)
        elif kind == MessageType.TRAIN and self._trained is not None:
            self._trained()

    def _answer(self, message: Message, started: float, known: Fields) -> Message:
        """Let the app answer, or answer with an error; the log has all of it, the server what concerns it."""
        run, kind = f"run {message.metadata.run_id}", message.metadata.message_type
        what = f"{run}: {kind}"
        try:  # also a look at what the message holds may fail
            where = round_of(message)
            known |= {"round": int(where.split()[-1])} if where else {}
            what = f"{run}{where}: {kind}"
            log.info("%s asked for (%s bytes)", what, f"{count_bytes([message]):,}")
            reply = self._app(message, self._context(message.metadata.run_id))
            if reply.has_content():
                seconds, size = time.perf_counter() - started, count_bytes([reply])
                log.info("%s answered in %.1f s (%s bytes)", what, seconds, f"{size:,}")
            return reply
        except (RunOverError, RunFailedError):  # the link's: there is nobody to answer
            raise
        except DataError as error:  # names of files can be names of patients
            log.error("%s failed: %s", what, error)
            reason = "cannot use its data; its own log says why"
        except (FedSQError, ValueError) as error:
            log.error("%s failed: %s", what, error)
            reason = self._without_paths(str(error))
        except Exception as error:
            log.exception("%s failed", what)
            reason = f"failed with {type(error).__name__}; its own log says why"
        return Message(Error(ErrorCode.CLIENT_APP_RAISED_EXCEPTION, reason), reply_to=message)

    def _without_paths(self, text: str) -> str:
        """Put the names of the silo's settings for the paths that they hold."""
        paths = [(v, name) for name, v in self._node_config.items() if isinstance(v, str) and v.startswith("/")]
        for path, name in sorted(paths, key=lambda found: len(found[0]), reverse=True):  # one may lie in another
            text = text.replace(path, name)
        return text

    def _most(self, run_id: int) -> int:
        """Return how many bytes a message of a run may have; why that cannot be told is said in its answer."""
        if self._most_bytes is None:
            return sys.maxsize
        try:
            return self._most_bytes(self._context(run_id))
        except RunFailedError:  # the link's
            raise
        except (FedSQError, ValueError):
            return _MOST_OF_UNKNOWN

    def _context(self, run_id: int) -> Context:
        if run_id not in self._contexts:
            run = self._link.run(run_id)
            if run.fab_id != APP_ID:
                raise ValueError(f"answers runs of {APP_ID} only, not of {run.fab_id}")
            self._contexts[run_id] = Context(
                run_id=run_id,
                node_id=self._link.node_id,
                node_config=self._node_config,  # type: ignore[arg-type]
                state=RecordDict(),
                run_config=dict(run.override_config),
            )
            for older in list(self._contexts)[:-_KEPT_RUNS]:
                del self._contexts[older]
        return self._contexts[run_id]
