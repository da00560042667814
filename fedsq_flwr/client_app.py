"""The Flower app of a silo: it hands each message to a `FedSQClient`."""

import logging
from functools import partial

from flwr.app import Context, Message
from flwr.clientapp import ClientApp

from fedsq_flwr.apps.received_models import answer_model
from fedsq_flwr.apps.silo_service import SiloService
from fedsq_flwr.federation import answer_evaluate, answer_query, answer_statistics, answer_train
from fedsq_flwr.federation.audit_heads import answer_audit
from fedsq_flwr.federation.contents import config_records, metric_records
from fedsq_flwr.federation.protocol import (
    AUDIT,
    CONFIG,
    METRICS,
    MODEL,
    MODEL_RUN,
    REFUSES,
    ROUND,
    STATISTICS,
    UNREADABLE,
)
from fedsq_flwr.privacy.ledger import Ledger
from fedsq_flwr.records.own_figures import ABOUT
from fedsq_flwr.report.page import not_at_the_runs_cost
from fedsq_flwr.report.site import write_site_report
from fedsq_flwr.settings.silo import privacy_folder, read_site, reports_folder, state_folder

log = logging.getLogger(__name__)

# Flower looks for a plain assignment, and pickles functions that are not at a module's top level by value.
app = ClientApp()
#: Serves all messages of this process.
service = SiloService()


@app.query()
def query(message: Message, context: Context) -> Message:
    """Say which silo this is and, to a server that tells the run, how many samples it has; keep a structure."""
    expected = partial(service.structure, message, context) if read_site(context.node_config).is_real else None
    examples = service.examples(message, context)
    return answer_query(message, context, service.structures(context), examples, expected)


@app.query(STATISTICS)
def statistics(message: Message, context: Context) -> Message:
    """Sum up what enters each batch norm over this silo's training samples."""
    with service.client(message, context) as client:
        return answer_statistics(client, message)


@app.query(AUDIT)
def audit(message: Message, context: Context) -> Message:
    """Say how long this silo's audit log is, and the hash of its last line."""
    ledger = Ledger(privacy_folder(read_site(context.node_config)))
    return answer_audit(message, lambda: ledger.read().audit)


@app.query(MODEL)
def model(message: Message, context: Context) -> Message:
    """Keep the model of a run, for the silo's own use."""
    reply = answer_model(message, context, service)
    told = config_records(reply.content)[CONFIG]
    if MODEL in told or REFUSES in told:  # else there is more to come
        _report(context, str(config_records(message.content)[CONFIG][MODEL_RUN]))
    return reply


@app.train()
def train(message: Message, context: Context) -> Message:
    """Train on this silo's samples."""
    with service.client(message, context) as client:
        reply = answer_train(client, message)
    site = read_site(context.node_config)
    if site.is_real:
        data = service.data(service.settings(message, context), message, context)
        metric_records(reply.content)[METRICS][UNREADABLE] = 0 if site.privacy is not None else data.unreadable
    return reply


@app.evaluate()
def evaluate(message: Message, context: Context) -> Message:
    """Evaluate on this silo's held-out samples."""
    with service.client(message, context) as client:
        reply = answer_evaluate(client, message)
    settings = service.settings(message, context)
    if settings.model_for_silos == "none" and config_records(message.content)[CONFIG].get(ROUND) == settings.rounds:
        _report(context, str(context.run_id))
    return reply


def _report(context: Context, run: str) -> None:
    """Write a real silo's own page of a run, if the silo has figures of it."""
    site = read_site(context.node_config)
    if site.is_real and (reports_folder(site) / run / ABOUT).exists():
        with not_at_the_runs_cost(state_folder(site)):
            log.info("run %s: the site report is %s", run, write_site_report(state_folder(site), run))
