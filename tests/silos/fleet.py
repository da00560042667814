"""A Fleet API on the loopback that answers as it is told: a SuperLink, or a proxy before it, on a bad day."""

import ssl
import threading
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

from flwr.app import Message
from flwr.app.message import remove_content_from_message
from flwr.common.serde import message_to_proto
from flwr.proto import fleet_pb2 as fleet
from flwr.proto.heartbeat_pb2 import SendNodeHeartbeatRequest, SendNodeHeartbeatResponse
from flwr.proto.message_pb2 import (
    ConfirmMessageReceivedRequest,
    ConfirmMessageReceivedResponse,
    PullObjectRequest,
    PullObjectResponse,
    PushObjectRequest,
    PushObjectResponse,
)
from flwr.proto.run_pb2 import GetRunRequest, GetRunResponse
from flwr.supercore.inflatable.inflatable_object import (
    get_all_nested_objects,
    get_object_tree,
    iterate_object_tree,
    no_object_id_recompute,
)

NODE_ID = 7
#: A protobuf message or plain text of status 200, an HTTP status, or a function of the request that returns one.
Answer = Any

_USUAL: dict[str, tuple[type, Answer]] = {
    "register-node": (fleet.RegisterNodeFleetRequest, fleet.RegisterNodeFleetResponse(node_id=NODE_ID)),
    "activate-node": (fleet.ActivateNodeRequest, fleet.ActivateNodeResponse(node_id=NODE_ID)),
    "deactivate-node": (fleet.DeactivateNodeRequest, fleet.DeactivateNodeResponse()),
    "unregister-node": (fleet.UnregisterNodeFleetRequest, fleet.UnregisterNodeFleetResponse()),
    "send-node-heartbeat": (SendNodeHeartbeatRequest, SendNodeHeartbeatResponse(success=True)),
    "pull-messages": (fleet.PullMessagesRequest, fleet.PullMessagesResponse()),
    "pull-object": (PullObjectRequest, PullObjectResponse()),
    "confirm-message-received": (ConfirmMessageReceivedRequest, ConfirmMessageReceivedResponse()),
    "push-messages": (fleet.PushMessagesRequest, fleet.PushMessagesResponse()),
    "push-object": (PushObjectRequest, PushObjectResponse(stored=True)),
    "get-run": (GetRunRequest, GetRunResponse()),
}


class Fleet:
    """Listens within a ``with`` statement; plain HTTP, or TLS with the ``server.*`` of ``certificates``.

    Attributes
    ----------
    answers : dict of str to list
        By the name of a call, what it is answered, one after the other; the last answer stays.
    asked : list of str
        The names of the calls that came, in their order; heartbeats, which may come at any time, are left out.
    heartbeats : int
        How many of them came.
    pushed : dict of str to bytes
        The objects that were sent, by their id.
    hang_ups : int
        So many of the next connections are closed before a byte is read.
    """

    def __init__(self, certificates: Path | None = None, port: int = 0) -> None:
        self.answers: dict[str, list[Answer]] = {}
        self.asked: list[str] = []
        self.heartbeats = 0
        self.pushed: dict[str, bytes] = {}
        self.hang_ups = 0
        self._server = _Server(self, port, certificates)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Listen no longer; does nothing a second time."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()

    def hand_out(self, message: Message) -> None:
        """Have the next call for a message answered with this one, and take in the reply."""
        with no_object_id_recompute():
            message.metadata.__dict__["_message_id"] = message.object_id
            tree = get_object_tree(message)
            contents = {name: part.deflate() for name, part in get_all_nested_objects(message).items()}
            head = message_to_proto(remove_content_from_message(message))
        handed_out = fleet.PullMessagesResponse(messages_list=[head], message_object_trees=[tree])
        self.answers["pull-messages"] = [handed_out, fleet.PullMessagesResponse()]
        self.answers["pull-object"] = [
            lambda asked: PullObjectResponse(
                object_found=True, object_available=True, object_content=contents[asked.object_id]
            )
        ]
        self.answers["push-messages"] = [
            lambda asked: fleet.PushMessagesResponse(
                objects_to_push=[part.object_id for part in iterate_object_tree(asked.message_object_trees[0])]
            )
        ]
        self.answers["push-object"] = [self._take]

    def answer(self, call: str, body: bytes) -> tuple[int, bytes]:
        request_type, usual = _USUAL[call]
        if call == "send-node-heartbeat":
            self.heartbeats += 1
        else:
            self.asked.append(call)
        waiting = self.answers.get(call, [usual])
        told = waiting.pop(0) if waiting[1:] else waiting[0]
        if isinstance(told, Callable):
            told = told(request_type.FromString(body))
        if isinstance(told, int):
            return told, b""
        return (200, told) if isinstance(told, bytes) else (200, told.SerializeToString())

    def _take(self, asked: PushObjectRequest) -> PushObjectResponse:
        self.pushed[asked.object_id] = asked.object_content
        return PushObjectResponse(stored=True)


class _Server(ThreadingHTTPServer):
    def __init__(self, told: Fleet, port: int, certificates: Path | None) -> None:
        self.told = told
        self._context = None
        if certificates is not None:
            self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._context.load_cert_chain(certificates / "server.crt", certificates / "server.key")
        super().__init__(("127.0.0.1", port), _Handler)

    def get_request(self) -> tuple[Any, Any]:
        connection, address = super().get_request()
        if self.told.hang_ups > 0:
            self.told.hang_ups -= 1
            connection.close()
            raise OSError("hung up")  # which the server passes over
        if self._context is not None:  # hands shake in the connection's own thread
            connection = self._context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        return connection, address

    def handle_error(self, request: Any, client_address: Any) -> None:
        """The other side hangs up where it refuses."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        status, content = self.server.told.answer(self.path.rpartition("/")[2], body)
        with suppress(OSError):
            self.send_response(status)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Keep quiet."""
