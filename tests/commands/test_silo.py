"""``fedsq silo`` around its connection and its work, both of which stand-ins do here."""

import logging
import os
from pathlib import Path

import pytest

from fedsq_flwr.commands.silo import silo


@pytest.fixture
def serve(monkeypatch, tmp_path):
    """Run the silo with this in the place of its work; as if Ctrl-C came then."""

    class Connected:
        node_id = 7

        def __init__(self, *_, **__):
            pass

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

    def run(work):
        class Interrupted:
            def __init__(self, *_, **__):
                pass

            def serve(self):
                work()
                raise KeyboardInterrupt

        monkeypatch.setattr("fedsq_flwr.silos.link.Link", Connected)
        monkeypatch.setattr("fedsq_flwr.silos.node.Node", Interrupted)
        silo(
            [
                "superlink=localhost:1",
                "silo=0",
                "silos=1",
                f"data_path={tmp_path}",
                f"state_dir={tmp_path}/state",
                "insecure=true",
            ]
        )

    loggers = [logging.getLogger(name) for name in ("fedsq_flwr", "flwr")]
    before = [(logger.handlers, logger.propagate, logger.level) for logger in loggers]
    yield run
    for logger, (handlers, propagate, level) in zip(loggers, before, strict=True):
        logger.handlers, logger.propagate = handlers, propagate
        logger.setLevel(level)


def test_what_a_silo_writes_is_for_its_owner_alone(serve, tmp_path: Path) -> None:
    """Gates tell about the images that they were computed from."""
    usual = os.umask(0o022)
    try:
        serve(lambda: ((tmp_path / "gates").mkdir(), (tmp_path / "gates" / "file").touch()))
        assert os.umask(0o022) == 0o022
    finally:
        os.umask(usual)
    assert (tmp_path / "gates").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "gates" / "file").stat().st_mode & 0o777 == 0o600
