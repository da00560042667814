"""A silo's connection to the SuperLink: what Flower's SuperNode does, within the silo's own process.

Flower's SuperNode fetches a message, hands it on over HTTP to a process that it starts for this one
message, and looks for the next one after three seconds. Here one process does it all, so that torch, the
images, the network and the gates are there when a message comes. It speaks Flower's Fleet protocol through
Flower's own client, see `fedsq_flwr.flower_internals`.
"""

import logging
import ssl
import sys
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

import httpx
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey, EllipticCurvePublicKey
from flwr.app import Message

from fedsq_flwr.errors import ConfigurationError, RunFailedError
from fedsq_flwr.flower_http import (
    ApiErrorCode,
    FleetHttpClient,
    FlowerError,
    HeartbeatSender,
    NodeAuthHttpInterceptor,
    RetryInvoker,
    RetryState,
    RuntimeVersionHttpInterceptor,
    exponential,
)
from fedsq_flwr.flower_internals import (
    HEARTBEAT_DEFAULT_INTERVAL,
    SYSTEM_TIME_TOLERANCE,
    TIMESTAMP_TOLERANCE,
    GetRunRequest,
    Node,
    Run,
    SendNodeHeartbeatRequest,
    fleet,
    generate_key_pairs,
    public_key_to_bytes,
    run_from_proto,
)
from fedsq_flwr.silos.refusals import PASSING, refusal, tls_error
from fedsq_flwr.silos.transfer import Answer, Request, RunOverError, Transfer

log = logging.getLogger(__name__)

KeyPair = tuple[EllipticCurvePrivateKey, EllipticCurvePublicKey]
#: Seconds that a silo's clock may be ahead of the SuperLink's, and behind it: each request is signed with the time.
MOST_AHEAD, MOST_BEHIND = SYSTEM_TIME_TOLERANCE, TIMESTAMP_TOLERANCE + SYSTEM_TIME_TOLERANCE
_LONGEST_WAIT = 20  # seconds between two tries while the SuperLink cannot be reached
_TELL_SECONDS = 60.0  # between two lines of the log that say so
_RUN_OVER = 403  # what the SuperLink answers where a run has ended


class Link:
    """The connection of one silo, for use in a ``with`` statement.

    Parameters
    ----------
    address : str
        ``host:port`` of the SuperLink.
    keys : pair of keys, optional
        The node's; without them the node registers itself under a key made for the occasion.
    insecure : bool
        Plain HTTP.
    root_certificates : str, optional
        File of the authority that the server is verified by; the system's authorities by default.
    patience : float, optional
        Seconds to go on trying where nobody answers; for ever by default.
    on_heartbeat : callable, optional
        Called, in a thread of its own, each time that the SuperLink has taken a heartbeat: within half a minute.

    Attributes
    ----------
    node_id : int
        What the SuperLink calls this silo.
    most_bytes : callable
        Returns how many bytes a message of a run may have, by the run's id; any number by default.

    Raises
    ------
    ConfigurationError
        If ``root_certificates`` holds none.
    RunFailedError
        On entering: the SuperLink, or this silo, is refused, or the patience is over; one line says why.
    """

    def __init__(
        self,
        address: str,
        *,
        keys: KeyPair | None,
        insecure: bool = False,
        root_certificates: str | None = None,
        patience: float | None = None,
        on_heartbeat: Callable[[], None] | None = None,
    ) -> None:
        self.address = address
        self.node_id = 0
        self.most_bytes: Callable[[int], int] = lambda _: sys.maxsize
        self._on_heartbeat = on_heartbeat
        self._registers_itself = keys is None
        private, public = generate_key_pairs() if keys is None else keys
        self._public = public_key_to_bytes(public)
        try:
            self._client = FleetHttpClient.from_server_address(
                address,
                insecure,
                root_certificates,
                interceptors=[
                    RuntimeVersionHttpInterceptor(component_name="SuperNode"),
                    NodeAuthHttpInterceptor(private, public),
                ],
            )
        except OSError as error:  # TLS errors are of these
            raise ConfigurationError(f"root_certificates={root_certificates}: holds no certificate in PEM") from error
        self._left = threading.Event()  # ends what still tries, in Flower's threads too
        self._retry = RetryInvoker(
            lambda: exponential(max_delay=_LONGEST_WAIT),
            (httpx.TransportError, httpx.HTTPStatusError),
            max_tries=None,
            max_time=patience,
            should_giveup=self._is_final,
            on_success=self._tell_success,
            on_backoff=self._tell_backoff,
            wait_function=self._wait,
        )
        self._heartbeat = HeartbeatSender(self._send_heartbeat)
        self._lost = threading.Event()
        self._told_at: float | None = None  # when the log said last that the SuperLink cannot be reached

    def __enter__(self) -> Self:
        """Connect: wait for a SuperLink that is not there yet, and have it know this silo."""
        try:
            if self._registers_itself:
                self._call(self._client.RegisterNode, fleet.RegisterNodeFleetRequest(public_key=self._public))
            request = fleet.ActivateNodeRequest(
                public_key=self._public, heartbeat_interval=HEARTBEAT_DEFAULT_INTERVAL
            )
            self.node_id = self._call(self._client.ActivateNode, request).node_id
        except BaseException:
            self._client.close()
            raise
        self._node = Node(node_id=self.node_id)
        self._transfer = Transfer(self._client, self._node, self._call)
        self._heartbeat.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Tell the SuperLink that this silo leaves."""
        self._left.set()
        self._heartbeat.stop()
        try:
            self._client.DeactivateNode(fleet.DeactivateNodeRequest(node_id=self.node_id))
            if self._registers_itself:
                self._client.UnregisterNode(fleet.UnregisterNodeFleetRequest(node_id=self.node_id))
        except (httpx.HTTPError, ValueError) as problem:
            log.warning("%s could not be told that this silo leaves: %s", self.address, problem)
        self._client.close()

    def is_known(self) -> bool:
        """Ask whether the SuperLink knows this silo's key, without connecting; ends a link that was not entered.

        A silo that connects and leaves again would end a run that has been waiting for it. So the request names
        an interval between heartbeats that is not allowed, which Flower refuses after it has looked up the key.

        Raises
        ------
        RunFailedError
            As on entering.
        """
        request = fleet.ActivateNodeRequest(public_key=self._public, heartbeat_interval=0)
        try:
            self._retry.invoke(self._client.ActivateNode, request)
        except httpx.HTTPStatusError as error:
            told = FlowerError.from_json(error.response.text)
            code = None if told is None else told.code
            if code not in (ApiErrorCode.FLEET_INVALID_HEARTBEAT_INTERVAL, ApiErrorCode.FLEET_NODE_ACTIVATION_FAILED):
                raise RunFailedError(refusal(self.address, error)) from error
            return code == ApiErrorCode.FLEET_INVALID_HEARTBEAT_INTERVAL
        except (httpx.HTTPError, ValueError) as error:  # ValueError: what is answered is not Flower's protocol
            raise RunFailedError(refusal(self.address, error)) from error
        finally:
            self._client.close()
        return True  # a Flower that takes any interval: the node is offline again at once

    def receive(self) -> Message | None:
        """Return the next message for this silo, or None if there is none now.

        Raises
        ------
        RunFailedError
            If the SuperLink no longer takes this silo.
        RunOverError
            If the run ended before the message was here.
        TooLargeError
            If the message has more than `most_bytes`.
        """
        if self._lost.is_set():
            raise RunFailedError(f"superlink={self.address}: no longer knows this silo")
        return self._transfer.receive(self.most_bytes)

    def send(self, reply: Message, seconds: float) -> bool:
        """Send ``reply``, which took ``seconds`` to make; tell whether it was taken.

        Flower takes no reply to a message that it has given up, because this silo could not be reached for a while.

        Raises
        ------
        RunFailedError, RunOverError
            As `receive`.
        """
        return self._transfer.send(reply, seconds)

    def run(self, run_id: int) -> Run:
        """Return what the SuperLink says of a run."""
        return run_from_proto(self._call(self._client.GetRun, GetRunRequest(node=self._node, run_id=run_id)).run)

    def _call(self, method: Callable[[Request], Answer], request: Request) -> Answer:
        try:
            answer: Answer = self._retry.invoke(method, request)
        except (httpx.HTTPError, ValueError) as error:  # ValueError: what is answered is not Flower's protocol
            status = error.response.status_code if isinstance(error, httpx.HTTPStatusError) else None
            if status == _RUN_OVER and self.node_id:
                raise RunOverError from error
            raise RunFailedError(refusal(self.address, error)) from error
        return answer

    def _wait(self, seconds: float) -> None:
        self._left.wait(seconds)

    def _tell_backoff(self, state: RetryState) -> None:
        if self._told_at is None or time.monotonic() - self._told_at > _TELL_SECONDS:
            log.warning("%s cannot be reached (%s); the silo goes on trying", self.address, state.exception)
            self._told_at = time.monotonic()

    def _tell_success(self, _: RetryState) -> None:
        if self._told_at is not None:
            log.info("%s is reached again", self.address)
            self._told_at = None

    def _send_heartbeat(self) -> bool:
        request = SendNodeHeartbeatRequest(node=self._node, heartbeat_interval=HEARTBEAT_DEFAULT_INTERVAL)
        try:
            if not self._client.SendNodeHeartbeat(request).success:
                self._lost.set()
            elif self._on_heartbeat is not None:
                self._on_heartbeat()
        except (httpx.RequestError, ValueError):
            return False
        except httpx.HTTPStatusError as error:
            if error.response.status_code in PASSING:
                return False
            self._lost.set()
        return True

    def _is_final(self, error: Exception) -> bool:
        """Tell whether trying again would change nothing."""
        if self._left.is_set():
            return True
        if isinstance(error, httpx.HTTPStatusError):
            return error.response.status_code not in PASSING
        if (tls := tls_error(error)) is not None:
            return not isinstance(tls, ssl.SSLEOFError)  # which a proxy sends while the SuperLink is down
        # A SuperLink that is started again breaks connections off, too; one that never answered will not.
        return self.node_id == 0 and isinstance(error, httpx.RemoteProtocolError)
