"""The contract with Flower's private parts that the in-process grid uses."""

from flwr.app import Context, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.supercore.task_identity import TaskIdentity

from fedsq_flwr.executors.grid import FIRST_SILO_NODE_ID, InProcessGrid


def test_messages_and_replies_know_each_other():
    app = ClientApp()

    @app.train()
    def train(message: Message, context: Context) -> Message:
        return Message(RecordDict(), reply_to=message)

    with InProcessGrid(app, silos=2) as grid:
        messages = [Message(RecordDict(), node, "train") for node in grid.get_node_ids()]
        replies = list(grid.send_and_receive(messages))
    assert TaskIdentity.run_id == messages[0].metadata.run_id
    assert [r.metadata.src_node_id for r in replies] == [FIRST_SILO_NODE_ID, FIRST_SILO_NODE_ID + 1]
    assert [r.metadata.reply_to_message_id for r in replies] == [m.metadata.message_id for m in messages]
    assert len({r.metadata.message_id for r in replies}) == 2
    assert all(r.has_content() for r in replies)


def test_an_exception_in_the_client_becomes_an_error_reply():
    app = ClientApp()

    @app.train()
    def train(message: Message, context: Context) -> Message:
        raise ValueError("no data")

    with InProcessGrid(app, silos=1) as grid:
        (reply,) = grid.send_and_receive([Message(RecordDict(), FIRST_SILO_NODE_ID, "train")])
    assert reply.has_error()
    assert reply.error.reason == "no data"


def test_a_context_lasts_from_message_to_message():
    app = ClientApp()
    seen = []

    @app.train()
    def train(message: Message, context: Context) -> Message:
        assert context.run_config == {}  # what a silo must know comes with each message
        seen.append((context.node_config["partition-id"], context.node_config["num-partitions"], id(context.state)))
        return Message(RecordDict(), reply_to=message)

    with InProcessGrid(app, silos=2) as grid:
        for _ in range(2):
            list(grid.send_and_receive([Message(RecordDict(), node, "train") for node in grid.get_node_ids()]))
    assert len(set(seen)) == 2
    assert [s[:2] for s in seen] == [(0, 2), (1, 2)] * 2
