from types import SimpleNamespace

import pytest
from flwr.app import ArrayRecord, ConfigRecord, Error, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp.strategy import FedAvg

from fedsq_flwr.errors import RunFailedError
from fedsq_flwr.federation import FedSQ, answer_query
from fedsq_flwr.federation.layers.seeded_order import OrderedGrid
from fedsq_flwr.federation.protocol import CONFIG, NUM_PARTITIONS, PARTITION_ID
from fedsq_flwr.federation.registry import NodeRegistry
from tests.federation.toys import toy_app


class Shuffled:
    """A grid whose nodes come in another order than their partition ids."""

    def __init__(self, grid, asked):
        self._grid, self._asked = grid, asked

    def get_node_ids(self):
        return sorted(self._grid.get_node_ids(), key=lambda node: (node * 7) % 5)

    def send_and_receive(self, messages, *, timeout=None):
        messages = list(messages)
        self._asked.extend(m.metadata.dst_node_id for m in messages)
        return self._grid.send_and_receive(messages, timeout=timeout)


def test_nodes_come_in_the_order_of_their_partition_ids_and_are_asked_once(make_grid):
    asked = []
    grid, registry = Shuffled(make_grid(toy_app(), silos=5), asked), NodeRegistry()
    for _ in range(3):
        assert [registry.silo(node) for node in registry.update(grid)] == [0, 1, 2, 3, 4]
    assert len(asked) == 5
    assert registry.num_partitions == 5


def test_an_app_that_does_not_answer_queries_is_told_what_to_add(make_grid):
    with pytest.raises(RunFailedError, match="answer_query"):
        NodeRegistry().update(make_grid(ClientApp(), silos=2))


def test_two_nodes_of_one_partition_are_refused(make_grid):
    grid = make_grid(toy_app(), silos=2)
    for context in grid._contexts.values():
        context.node_config["partition-id"] = 1
    with pytest.raises(RunFailedError, match="both say that they are silo 1"):
        NodeRegistry().update(grid)


def named(make_grid, *names):
    grid = make_grid(toy_app(), silos=len(names))
    for context, name in zip(grid._contexts.values(), names, strict=True):
        context.node_config |= {} if name is None else {"name": name}
    return grid


def registering(grid, monkeypatch, **names):
    """Have the SuperLink know names for nodes."""
    nodes = [SimpleNamespace(node_id=int(node.removeprefix("node_")), name=name) for node, name in names.items()]
    monkeypatch.setattr(grid, "get_nodes", lambda: nodes, raising=False)
    return grid


def test_silos_are_called_by_their_names_beside_their_numbers(make_grid, caplog):
    caplog.set_level("INFO")
    registry = NodeRegistry()
    registry.update(named(make_grid, "north", None))
    assert (registry.name(1000), registry.name(1001), registry.names) == ("silo 0 (north)", "silo 1", {0: "north"})
    assert "silo 0 (north) is connected (node 1000)" in caplog.text


def test_two_silos_of_one_name_are_told_by_it(make_grid, caplog):
    with pytest.raises(RunFailedError, match="silos 0 and 1 both have the name north"):
        NodeRegistry().update(named(make_grid, "north", "north"))
    grid, registry = Joining(named(make_grid, "north", "north"), [1000]), NodeRegistry()
    registry.update(grid)
    grid.present = [1000, 1001]
    assert registry.update(grid) == [1000]
    assert "silos 0 and 1 both have the name north" in caplog.text


@pytest.mark.parametrize("name", ["", "a\x1b[31m", "x" * 41, 7])
def test_what_is_no_name_takes_no_part(make_grid, caplog, name):
    @(app := ClientApp()).query()
    def query(message, context):
        reply = answer_query(message, context)
        if context.node_config[PARTITION_ID] == 1:
            reply.content[CONFIG]["name"] = name
        return reply

    assert NodeRegistry().update(make_grid(app, silos=2)) == [1000]
    assert "\x1b" not in caplog.text


def test_a_name_that_a_key_was_registered_with_holds(make_grid, monkeypatch, caplog):
    grid = registering(named(make_grid, "north", None, "west"), monkeypatch, node_1000="north", node_1001="east")
    registry = NodeRegistry()
    registry.update(grid)
    assert registry.names == {0: "north", 1: "east", 2: "west"}
    other = registering(named(make_grid, "north", "south"), monkeypatch, node_1001="east")
    assert NodeRegistry().update(other) == [1000]
    assert "its name is 'south', but its key was registered with the name 'east'" in caplog.text


def test_waiting_for_silos_ends(make_grid):
    with pytest.raises(RunFailedError, match="2 of 3 silos connected"):
        NodeRegistry(timeout=0.3).wait_for(make_grid(toy_app(), silos=2), 3)


def test_an_inner_strategy_that_waits_for_more_silos_than_there_are_ends(make_grid):
    strategy = FedSQ(FedAvg(min_available_nodes=3), timeout=0.3)
    with pytest.raises(RunFailedError, match="fewer than the inner strategy's minimum"):
        strategy.configure_train(1, ArrayRecord(), ConfigRecord(), make_grid(toy_app(), silos=2))


def test_the_view_passes_messages_on(make_grid):
    grid = make_grid(toy_app(), silos=2)
    view = OrderedGrid(grid, NodeRegistry())
    assert list(view.send_and_receive([])) == []


class Joining:
    """A grid of which only the nodes in ``present`` are connected."""

    def __init__(self, grid, present):
        self._grid, self.present = grid, present

    def get_node_ids(self):
        return list(self.present)

    def send_and_receive(self, messages, *, timeout=None):
        return self._grid.send_and_receive(messages, timeout=timeout)


def test_who_is_there_when_the_time_is_over_suffices_if_they_are_enough(make_grid):
    grid = Joining(make_grid(toy_app(), silos=3), [1000, 1002])
    assert NodeRegistry(timeout=0.3).wait_for(grid, 3, fewest=2) == [1000, 1002]
    with pytest.raises(RunFailedError, match=r"2 of 3 silos connected within 0\.3 seconds"):
        NodeRegistry(timeout=0.3).wait_for(grid, 3, fewest=3)


def test_a_silo_that_joins_later_is_asked_then_and_one_that_leaves_is_missed(make_grid):
    grid, registry = Joining(make_grid(toy_app(), silos=3), [1000, 1001]), NodeRegistry()
    assert [registry.silo(node) for node in registry.update(grid)] == [0, 1]
    grid.present = [1002, 1001]
    assert [registry.silo(node) for node in registry.update(grid)] == [1, 2]


def test_a_newcomer_that_claims_a_number_that_is_taken_is_left_out_until_the_other_has_gone(make_grid, caplog):
    whole = make_grid(toy_app(), silos=3)
    whole._contexts[1002].node_config["partition-id"] = 0
    grid, registry = Joining(whole, [1000, 1001]), NodeRegistry()
    registry.update(grid)
    grid.present = [1000, 1001, 1002]
    assert registry.update(grid) == [1000, 1001]
    assert "node 1002 says that it is silo 0, which node 1000 is" in caplog.text
    grid.present = [1001, 1002]
    assert registry.update(grid) == [1002, 1001]


def test_one_that_comes_back_when_another_has_taken_its_place_is_left_out(make_grid, caplog):
    whole = make_grid(toy_app(), silos=3)
    whole._contexts[1002].node_config["partition-id"] = 0
    grid, registry = Joining(whole, [1000, 1001]), NodeRegistry()
    registry.update(grid)
    grid.present = [1001, 1002]
    registry.update(grid)
    grid.present = [1000, 1001, 1002]
    assert registry.update(grid) == [1002, 1001]
    assert "node 1000 says that it is silo 0, which node 1002 is" in caplog.text
    grid.present = [1000, 1001]
    assert registry.update(grid) == [1000, 1001]


@pytest.mark.parametrize(
    "answer",
    [
        RecordDict(),
        RecordDict({CONFIG: ConfigRecord()}),
        RecordDict({CONFIG: ConfigRecord({PARTITION_ID: "one", NUM_PARTITIONS: 3})}),
        RecordDict({CONFIG: ConfigRecord({PARTITION_ID: [1, 2], NUM_PARTITIONS: 3})}),
        *[
            RecordDict({CONFIG: ConfigRecord({PARTITION_ID: number, NUM_PARTITIONS: 3})})
            for number in (1.0, True, "1", "", [], b"1", float("nan"), float("inf"))
        ],
        RecordDict({CONFIG: ConfigRecord({PARTITION_ID: 1, NUM_PARTITIONS: 3.0})}),
    ],
)
def test_a_node_whose_answer_cannot_be_read_takes_no_part_and_ends_no_run(make_grid, caplog, answer):
    app = ClientApp()

    @app.query()
    def query(message, context):
        if context.node_config[PARTITION_ID] == 1:
            return Message(answer, reply_to=message)
        return answer_query(message, context)

    grid, registry = make_grid(app, silos=3), NodeRegistry()
    assert [registry.silo(node) for node in registry.update(grid)] == [0, 2]
    assert "node 1001: its answer cannot be read" in caplog.text


@pytest.mark.parametrize(
    ("silo", "silos"), [(-1, 3), (3, 3), (2**63, 3), (0, 0), (0, -1), (5, 2**64), (10**400, 3)], ids=str
)
def test_a_node_that_says_it_is_no_silo_of_those_takes_no_part_and_ends_no_run(make_grid, caplog, silo, silos):
    app = ClientApp()

    @app.query()
    def query(message, context):
        if context.node_config[PARTITION_ID] == 1:
            said = ConfigRecord({PARTITION_ID: silo, NUM_PARTITIONS: silos})
            return Message(RecordDict({CONFIG: said}), reply_to=message)
        return answer_query(message, context)

    grid, registry = make_grid(app, silos=3), NodeRegistry()
    assert [registry.silo(node) for node in registry.update(grid)] == [0, 2]
    assert registry.num_partitions == 3
    assert "node 1001 says that it is silo " in caplog.text


def naming(*answers):
    """An app whose silos name their samples when they are told the run; silo k answers as ``answers[k]`` says."""
    app, heard = toy_app(), []

    def query(message, context):
        silo, told = context.node_config[PARTITION_ID], "settings" in message.content.config_records.get(CONFIG, {})
        heard.append((silo, told))
        named = answers[silo] if told and not callable(answers[silo]) else None
        if told and callable(answers[silo]):
            return answers[silo](message)
        return answer_query(message, context, examples=named)

    app._registered_funcs["query.default"] = query
    return app, heard


def test_silos_are_asked_once_how_many_samples_they_have(make_grid):
    app, heard = naming((5, 2), None, (7, 0))
    grid, registry = make_grid(app, silos=3), NodeRegistry()
    nodes = registry.update(grid)
    for _ in range(2):
        registry.ask_examples(grid, nodes, ConfigRecord({"settings": "{}"}), 5)
    assert heard == [*[(silo, False) for silo in range(3)], *[(silo, True) for silo in range(3)]]
    assert [[registry.examples(node, kind) for node in nodes] for kind in ("train", "evaluate")] == [
        [5, None, 7],
        [2, None, 0],
    ]


@pytest.mark.parametrize("number", [-1, 5.0, True, "5", "", [5], float("nan")])
def test_a_number_of_samples_that_is_none_is_not_known(make_grid, number):
    def answer(message):
        said = ConfigRecord({"train-examples": 5, "evaluate-examples": number})
        return Message(RecordDict({CONFIG: said}), reply_to=message)

    def fail(message):
        raise ValueError("no data")

    app, _ = naming(answer, fail, (1, 1))
    grid, registry = make_grid(app, silos=3), NodeRegistry()
    registry.ask_examples(grid, registry.update(grid), ConfigRecord({"settings": "{}"}), 5)
    assert [registry.examples(node, "train") for node in (1000, 1001, 1002)] == [None, None, 1]


def test_an_answer_to_who_it_is_may_name_the_samples_at_once(make_grid):
    app = toy_app()
    app._registered_funcs["query.default"] = lambda message, context: answer_query(message, context, examples=(3, 1))
    grid, registry = make_grid(app, silos=2), NodeRegistry()
    assert [registry.examples(node, "train") for node in registry.update(grid)] == [3, 3]


def test_a_silo_that_refuses_is_named_when_the_wait_is_over_and_told_once(make_grid, caplog):
    """It is connected, so that "2 of 3 connected" alone would send its operator looking for a cable."""
    app = ClientApp()

    @app.query()
    def query(message, context):
        if context.node_config[PARTITION_ID] == 1:
            raise ValueError("backbone.weights=w.pth: is a file of the server's")
        return answer_query(message, context)

    grid = make_grid(app, silos=3)
    with pytest.raises(RunFailedError) as caught:
        NodeRegistry(timeout=0.5).wait_for(grid, 3)
    assert str(caught.value).startswith("2 of 3 silos connected within 0.5 seconds: node 1001: ")
    assert "is a file of the server's" in str(caught.value)
    assert caplog.text.count("takes no part") == 1
    strategy = FedSQ(FedAvg(min_available_nodes=3), timeout=0.3)
    with pytest.raises(RunFailedError, match=r"fewer than the inner strategy's minimum.*is a file of the server's"):
        strategy.configure_train(1, ArrayRecord(), ConfigRecord(), grid)


class Passing(Joining):
    """A grid whose first node is gone before it has answered."""

    def send_and_receive(self, messages, *, timeout=None):
        replies = list(super().send_and_receive(messages, timeout=timeout))
        if self.present == [1000]:
            self.present = [1001, 1002]
            return [Message(Error(0, "Node Unavailable"), reply_to=next(iter(messages)))]
        return replies


def test_a_node_that_leaves_before_it_has_answered_does_not_end_the_wait_for_others(make_grid):
    grid = Passing(make_grid(toy_app(), silos=3), [1000])
    assert NodeRegistry(timeout=5).wait_for(grid, 2) == [1001, 1002]


def test_the_wait_for_nodes_that_never_say_who_they_are_ends_with_what_to_do(make_grid):
    with pytest.raises(RunFailedError, match="answer_query"):
        NodeRegistry(timeout=0.3).wait_for(make_grid(ClientApp(), silos=2), 2)


class Starting(Joining):
    """A grid whose nodes ``slow`` answer only if they are given ``seconds``: Ray on a busy machine."""

    def __init__(self, grid, slow, seconds):
        super().__init__(grid, list(grid.get_node_ids()))
        self.slow, self.seconds, self.given = set(slow), seconds, []

    def send_and_receive(self, messages, *, timeout=None):
        messages = list(messages)
        self.given.append(timeout)
        ready = [m for m in messages if m.metadata.dst_node_id not in self.slow or timeout >= self.seconds]
        return super().send_and_receive(ready, timeout=timeout)


def test_the_nodes_of_a_simulation_have_all_the_time_to_start_that_the_setting_gives(make_grid):
    grid = Starting(make_grid(toy_app(), silos=2), [1000, 1001], 300)
    assert NodeRegistry(timeout=300).wait_for(grid) == [1000, 1001]
    assert grid.given == [300]


def test_a_real_silo_that_hangs_does_not_hold_up_the_others_so_long(make_grid):
    grid = Starting(make_grid(toy_app(), silos=3), [1001], 300)
    assert NodeRegistry(timeout=300).wait_for(grid, 2) == [1000, 1002]
    assert grid.given == [60]


@pytest.mark.parametrize(
    ("slow", "line"),
    [
        (
            [1000, 1001, 1002],
            r"no node said which silo it is: 0 of 3 nodes answered in \d+ s; raise executor.join_timeout, which is "
            r"0\.2 s, on a busy machine; a client app .* must answer queries",
        ),
        (
            [1001],
            r"2 of 3 silos connected within 0\.2 seconds; 1 more did not say in \d+ s which silo they are: raise "
            r"executor\.join_timeout",
        ),
    ],
)
def test_the_line_says_who_was_waited_for_how_long_who_answered_and_which_setting_to_raise(make_grid, slow, line):
    grid = Starting(make_grid(toy_app(), silos=3), slow, 300)
    with pytest.raises(RunFailedError, match=line):
        NodeRegistry(timeout=0.2).wait_for(grid)


def test_an_app_without_queries_is_told_at_once_and_not_to_wait_longer(make_grid):
    with pytest.raises(RunFailedError, match="2 of 2 nodes answered") as caught:
        NodeRegistry(timeout=300).wait_for(make_grid(ClientApp(), silos=2))
    assert "join_timeout" not in str(caught.value)
