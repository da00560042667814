"""A reply is matched by the message that it answers, whoever seems to have sent it."""

from flwr.app import Message, RecordDict

from fedsq_flwr.federation.asked import Asked
from tests.federation.grids import Copying, of_node_gone
from tests.federation.toys import toy_app


def exchange(grid, silos=3):
    nodes = list(grid.get_node_ids())[:silos]
    messages = [Message(RecordDict(), node, "query") for node in nodes]
    return messages, list(grid.send_and_receive(messages))


def test_each_reply_finds_its_message_in_any_order(make_grid):
    messages, replies = exchange(make_grid(toy_app()))
    asked = Asked(messages)
    assert [asked.place(reply) for reply in reversed(replies)] == [2, 1, 0]
    assert [asked.node(reply) for reply in replies] == [message.metadata.dst_node_id for message in messages]


def test_the_servers_error_for_a_node_that_went_away_finds_the_nodes_message(make_grid):
    messages, _ = exchange(make_grid(toy_app()))
    gone = of_node_gone(messages[1])
    assert gone.metadata.src_node_id == 1
    assert Asked(messages).place(gone) == 1


def test_a_reply_to_another_message_of_the_same_node_answers_none(make_grid):
    grid = make_grid(toy_app())
    (_, late), (messages, _) = exchange(grid), exchange(grid)
    assert [Asked(messages).place(reply) for reply in late] == [None] * 3
    assert Asked(messages).node(late[0]) is None


def test_if_copies_were_sent_the_node_decides(make_grid):
    messages, replies = exchange(Copying(make_grid(toy_app())))
    assert {message.metadata.message_id for message in messages} == {""}
    assert [Asked(messages).place(reply) for reply in replies] == [0, 1, 2]
    assert Asked(messages).place(of_node_gone(messages[0])) is None


def test_nobody_was_asked(make_grid):
    _, replies = exchange(make_grid(toy_app()))
    assert Asked().place(replies[0]) is None


def test_messages_may_be_sent_one_after_the_other_while_replies_come(make_grid):
    """A grid may give a message its id only when it comes to it."""
    grid = make_grid(toy_app())
    messages = [Message(RecordDict(), node, "query") for node in grid.get_node_ids()]
    asked = Asked(messages)
    for place in (2, 0, 3, 1):
        (reply,) = grid.send_and_receive([messages[place]])
        assert asked.place(reply) == place
        assert asked.place(of_node_gone(messages[place])) == place
