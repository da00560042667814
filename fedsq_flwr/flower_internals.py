"""All of Flower that is not its public interface: imported here and in `flower_http`, nowhere else in the package.

Flower's public modules are `flwr.app`, `flwr.clientapp`, `flwr.client`, `flwr.common` and `flwr.serverapp` with its
strategies. The names below may change with any release of Flower. ``tests/silos/test_flower_contract.py`` checks that
they are there, and that they take what they are given.

The names are used for six purposes:

* A silo speaks Flower's Fleet protocol from its own process: protobuf messages, and the objects that a message is
  cut into. The HTTP client is in `flower_http`, with its retries and heartbeats.
* The in-process grid stands for a runtime: it says who sends a message, and gives each message its id.
* Flower's pull of objects is told how soon to look again for one that is on its way.
* The grid of Flower's simulation is known by its class: its messages go through memory, not over a network.
* Replies are told apart by the codes of Flower's errors.
* Server optimisers are known by their base class, and metrics are averaged as Flower averages them.
"""

from flwr.app import Message
from flwr.app.message import remove_content_from_message
from flwr.common.constant import HEARTBEAT_DEFAULT_INTERVAL, SYSTEM_TIME_TOLERANCE, TIMESTAMP_TOLERANCE, ErrorCode
from flwr.common.serde import message_from_proto, message_to_proto, run_from_proto
from flwr.proto import fleet_pb2 as fleet
from flwr.proto.heartbeat_pb2 import SendNodeHeartbeatRequest
from flwr.proto.message_pb2 import ConfirmMessageReceivedRequest
from flwr.proto.node_pb2 import Node
from flwr.proto.run_pb2 import GetRunRequest
from flwr.serverapp import Grid
from flwr.serverapp.strategy.fedopt import FedOpt
from flwr.serverapp.strategy.strategy_utils import aggregate_metricrecords
from flwr.supercore.inflatable.inflatable_object import (
    get_all_nested_objects,
    get_object_tree,
    iterate_object_tree,
    no_object_id_recompute,
)
from flwr.supercore.inflatable.inflatable_protobuf_utils import (
    make_pull_object_fn_protobuf,
    make_push_object_fn_protobuf,
)
from flwr.supercore.inflatable.inflatable_utils import (
    ObjectPullError,
    ObjectPushError,
    inflate_object_from_contents,
    pull_objects,
    push_objects,
)
from flwr.supercore.primitives.asymmetric import generate_key_pairs, public_key_to_bytes
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity

__all__ = [
    "HEARTBEAT_DEFAULT_INTERVAL",
    "OBJECT_WAIT",
    "SYSTEM_TIME_TOLERANCE",
    "TIMESTAMP_TOLERANCE",
    "ConfirmMessageReceivedRequest",
    "ErrorCode",
    "FedOpt",
    "GetRunRequest",
    "Node",
    "ObjectPullError",
    "ObjectPushError",
    "Run",
    "SendNodeHeartbeatRequest",
    "aggregate_metricrecords",
    "fleet",
    "generate_key_pairs",
    "get_all_nested_objects",
    "get_object_tree",
    "give_message_id",
    "inflate_object_from_contents",
    "is_simulated",
    "iterate_object_tree",
    "make_pull_object_fn_protobuf",
    "make_push_object_fn_protobuf",
    "message_from_proto",
    "message_to_proto",
    "no_object_id_recompute",
    "public_key_to_bytes",
    "pull_objects",
    "push_objects",
    "registered_names",
    "remove_content_from_message",
    "run_from_proto",
    "send_messages_as",
    "wait_for_objects",
]

#: Seconds after which an object of a message is looked for again that its sender is still uploading.
OBJECT_WAIT = 0.05


def send_messages_as(run_id: int, node_id: int) -> None:
    """Let the messages that this process makes be of run ``run_id``, and come from node ``node_id``."""
    TaskIdentity.run_id = run_id
    TaskIdentity.node_id = node_id
    TaskIdentity.task_id = 0


def give_message_id(message: Message, message_id: str) -> None:
    """Give a message the id that replies name it by, as Flower's own processes do when they send it."""
    message.metadata.__dict__["_message_id"] = message_id


def wait_for_objects(seconds: float) -> None:
    """Look again after ``seconds`` for an object of a message that its sender is still uploading.

    A message is there before its objects are. Flower looks for each of them again after one second, then two, four
    and so on. The first of these waits is what this sets, for the whole process; Flower has no setting for it.
    """
    pull_objects.__kwdefaults__ = {**(pull_objects.__kwdefaults__ or {}), "initial_backoff": seconds}


def registered_names(grid: Grid) -> dict[int, str]:
    """Return the names that nodes were registered with (``flwr supernode register --name``), by their ids.

    Flower 1.41 does not tell the server app.
    """
    nodes = grid.get_nodes() if hasattr(grid, "get_nodes") else ()
    return {node.node_id: node.name for node in nodes if getattr(node, "name", "")}


def is_simulated(grid: Grid) -> bool:
    """Tell whether a grid is that of Flower's simulation, which hands messages to Ray as they are."""
    from flwr.superlink.grid import InMemoryGrid  # a third of a second, that a silo is spared

    return isinstance(grid, InMemoryGrid)
