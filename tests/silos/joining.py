"""A silo that is about to join, and a server that answers as it is told."""

import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from fedsq_flwr.settings.silo import SiloSettings


def silo_of(folder: Path, **settings: object) -> SiloSettings:
    """A silo whose data and state lie in ``folder``, and which has no key and no authority.

    The settings are taken as they are: a stand-in of a server speaks plain HTTP to a silo with a key, too.
    """
    plain = {"superlink": "localhost:9092", "silo": 0, "silos": 2, "data_path": str(folder)}
    return SiloSettings.parse(plain).model_copy(update={"state_dir": str(folder / "state"), **settings})


@dataclass
class Answers:
    """What a server answers: the date of a page, and the status and Flower's code of a call; None: neither."""

    date: str | None = "now"
    status: int = 400
    code: int | None = 2003
    asked: int = 0


@contextmanager
def server_at(certificates: Path | None, answers: Answers | None = None) -> Iterator[str]:
    """Answer on the loopback, by TLS if there are ``certificates``; gives the address by name."""
    told = answers or Answers()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response_only(404)
            if told.date is not None:
                self.send_header("Date", self.date_time_string() if told.date == "now" else told.date)
            self.end_headers()

        def do_POST(self) -> None:
            told.asked += 1
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(told.status)
            self.end_headers()
            if told.code is not None:  # nothing is an empty message of any kind
                self.wfile.write(json.dumps({"code": told.code, "detail": "no"}).encode())

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        if certificates is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificates / "server.crt", certificates / "server.key")
            listening.socket = context.wrap_socket(listening.socket, server_side=True)
        thread = threading.Thread(target=listening.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield f"localhost:{listening.server_address[1]}"
        finally:
            listening.shutdown()
            thread.join()
