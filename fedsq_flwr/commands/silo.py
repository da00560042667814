"""``fedsq silo``: take part in federations, as one silo, until told to stop."""

import logging
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from fedsq_flwr import __version__
from fedsq_flwr.executors.interrupts import ending_signals_raise
from fedsq_flwr.executors.log_lines import log_format, log_formatter
from fedsq_flwr.privacy.accounting import check_accountant
from fedsq_flwr.privacy.audit import AuditLog
from fedsq_flwr.privacy.ledger import Ledger
from fedsq_flwr.settings.silo import SiloSettings, privacy_folder, titled
from fedsq_flwr.settings.silo_file import read_silo_settings
from fedsq_flwr.silos.keys import read_node_key


def silo(words: Sequence[str]) -> None:
    """Connect to the SuperLink and answer its messages until SIGTERM or Ctrl-C, which end it cleanly.

    Parameters
    ----------
    words : sequence of str
        YAML files and ``name=value``, of which the later win.

    Raises
    ------
    FedSQError
        If a setting is wrong, or silo and SuperLink do not come together; one line says why.
    """
    log_format()  # refuses another one before anything is done
    own = read_silo_settings(words)
    if own.privacy is None:
        Ledger(privacy_folder(own.site())).require_unused()
    else:
        check_accountant()
    keys = None if own.private_key is None else read_node_key(Path(own.private_key))
    from fedsq_flwr.silos.health import health_file
    from fedsq_flwr.silos.link import Link  # Flower: only once the settings are known to be right

    _log_to_stdout(own)  # after Flower, which sets its own log up when it is imported
    log = logging.getLogger(__name__)
    try:
        with (
            ending_signals_raise(),
            _files_for_the_owner_alone(),
            _audited(own) as audit,
            health_file(own.health_file, own.silo, own.superlink) as health,
            Link(
                own.superlink,
                keys=keys,
                insecure=own.insecure,
                root_certificates=own.root_certificates,
                on_heartbeat=None if health is None else health.write,
            ) as link,
        ):
            log.info(
                "silo %d of %d%s is connected to %s (node %d)",
                own.silo,
                own.silos,
                titled(own.name),
                own.superlink,
                link.node_id,
            )
            audit.append("connected", {"superlink": own.superlink, "node": link.node_id})
            from fedsq_flwr import client_app  # torch and more, once the silo is known to be wanted
            from fedsq_flwr.silos.node import Node

            log.info("ready")
            service = client_app.service
            node = Node(
                link, client_app.app, own.node_config(), service.most_bytes, audit, trained=service.forget_training
            )
            node.serve()
    except KeyboardInterrupt:
        log.info("stopped: interrupted")
    except SystemExit as stop:
        if stop.code != 128 + signal.SIGTERM:
            raise
        log.info("stopped: terminated")


@contextmanager
def _audited(own: SiloSettings) -> Iterator[AuditLog]:
    """Lend the silo's audit log, which says when the silo started, with which privacy, and when it stopped."""
    audit = AuditLog(Ledger(privacy_folder(own.site())))
    privacy = None if own.privacy is None else own.privacy.plain()
    who = {"silo": own.silo, "silos": own.silos, "name": own.name}
    audit.append("started", {"version": __version__, **who, "privacy": privacy})
    try:
        yield audit
    finally:
        audit.append("stopped", {})


@contextmanager
def _files_for_the_owner_alone() -> Iterator[None]:
    """Make the silo's files private to its user: gates are computed from its images."""
    before = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(before)


def _log_to_stdout(own: SiloSettings) -> None:
    """Log in lines that systemd and containers collect: time, level, silo, what."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(log_formatter(named=False, silo=own.silo, silo_name=own.name))
    package = logging.getLogger("fedsq_flwr")
    package.handlers, package.propagate = [handler], False
    package.setLevel(logging.INFO)
    flower = logging.getLogger("flwr")
    flower.handlers, flower.propagate = [handler], False
    flower.setLevel(logging.WARNING)
