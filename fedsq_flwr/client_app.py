"""The Flower app of a silo: it hands each message to a `FedSQClient`."""

from functools import partial

from flwr.app import Context, Message
from flwr.clientapp import ClientApp

from fedsq_flwr.apps.silo_service import SiloService
from fedsq_flwr.federation import answer_evaluate, answer_query, answer_statistics, answer_train
from fedsq_flwr.federation.contents import metric_records
from fedsq_flwr.federation.protocol import METRICS, STATISTICS, UNREADABLE
from fedsq_flwr.settings.silo import read_site

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
        return answer_evaluate(client, message)
