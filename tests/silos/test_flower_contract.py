"""The contract with Flower's internals, all of which two modules import: an upgrade that changes them shows here."""

import ast
import inspect
import time
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from flwr.app import Message, RecordDict
from flwr.proto import fleet_pb2, heartbeat_pb2, message_pb2, node_pb2, run_pb2
from flwr.serverapp.strategy import FedAdam, FedAvg, FedAvgM, FedYogi
from flwr.supercore.inflatable.inflatable_utils import ObjectUnavailableError, pull_objects
from flwr.supercore.task_identity import TaskIdentity
from flwr.superlink.grid import http_grid

import fedsq_flwr
from fedsq_flwr import flower_http, flower_internals

PACKAGE = Path(fedsq_flwr.__file__).parent
INTERNALS = [Path(module.__file__) for module in (flower_http, flower_internals)]
#: Modules of Flower that its documentation tells users to import from; `ErrorCode` is one of the constants.
PUBLIC = {
    "flwr",
    "flwr.app",
    "flwr.client",
    "flwr.clientapp",
    "flwr.common",
    "flwr.common.constant",
    "flwr.serverapp",
    "flwr.serverapp.strategy",
}

#: Functions and classes -> the parameters that they are given.
PARAMETERS = {
    "flwr.app.message.remove_content_from_message": "message",
    "flwr.common.serde.message_from_proto": "message_proto",
    "flwr.common.serde.message_to_proto": "message",
    "flwr.common.serde.run_from_proto": "run_proto",
    "flwr.serverapp.strategy.strategy_utils.aggregate_metricrecords": "records weighting_metric_name",
    "flwr.supercore.heartbeat.HeartbeatSender": "heartbeat_fn",
    "flwr.supercore.inflatable.inflatable_object.get_all_nested_objects": "obj",
    "flwr.supercore.inflatable.inflatable_object.get_object_tree": "obj",
    "flwr.supercore.inflatable.inflatable_object.iterate_object_tree": "tree",
    "flwr.supercore.inflatable.inflatable_object.no_object_id_recompute": "",
    "flwr.supercore.inflatable.inflatable_protobuf_utils.make_pull_object_fn_protobuf": (
        "pull_object_protobuf node run_id"
    ),
    "flwr.supercore.inflatable.inflatable_protobuf_utils.make_push_object_fn_protobuf": (
        "push_object_protobuf node run_id session_id"
    ),
    "flwr.supercore.inflatable.inflatable_utils.inflate_object_from_contents": "object_id object_contents",
    "flwr.supercore.inflatable.inflatable_utils.pull_objects": "object_ids pull_object_fn initial_backoff",
    "flwr.supercore.inflatable.inflatable_utils.push_objects": "objects push_object_fn object_ids_to_push",
    "flwr.supercore.interceptors.http.runtime_version.RuntimeVersionHttpInterceptor": "component_name",
    "flwr.supercore.primitives.asymmetric.generate_key_pairs": "",
    "flwr.supercore.primitives.asymmetric.public_key_to_bytes": "public_key",
    "flwr.supercore.retry.RetryInvoker": (
        "wait_gen_factory recoverable_exceptions max_tries max_time on_success on_backoff should_giveup wait_function"
    ),
    "flwr.supercore.retry.exponential": "max_delay",
    "flwr.supercore.error.FlowerError.from_json": "value",
    "flwr.supernode.fleet_http_client.FleetHttpClient.from_server_address": (
        "server_address insecure root_certificates interceptors"
    ),
    "flwr.supernode.fleet_http_client.FleetHttpClient.close": "self",
    "flwr.supernode.node_auth_http_interceptor.NodeAuthHttpInterceptor": "private_key public_key",
}

CALLS = (
    "RegisterNode",
    "ActivateNode",
    "DeactivateNode",
    "UnregisterNode",
    "SendNodeHeartbeat",
    "PullMessages",
    "PullObject",
    "ConfirmMessageReceived",
    "GetRun",
    "PushMessages",
    "PushObject",
)

#: Protobuf messages -> the fields that are read or written.
FIELDS = {
    fleet_pb2.RegisterNodeFleetRequest: "public_key",
    fleet_pb2.ActivateNodeRequest: "public_key heartbeat_interval",
    fleet_pb2.ActivateNodeResponse: "node_id",
    fleet_pb2.DeactivateNodeRequest: "node_id",
    fleet_pb2.UnregisterNodeFleetRequest: "node_id",
    fleet_pb2.PullMessagesRequest: "node",
    fleet_pb2.PullMessagesResponse: "messages_list message_object_trees",
    fleet_pb2.PushMessagesRequest: "node messages_list message_object_trees clientapp_runtime_list",
    fleet_pb2.PushMessagesResponse: "objects_to_push session_id",
    heartbeat_pb2.SendNodeHeartbeatRequest: "node heartbeat_interval",
    heartbeat_pb2.SendNodeHeartbeatResponse: "success",
    message_pb2.ConfirmMessageReceivedRequest: "node run_id message_object_id",
    message_pb2.ObjectTree: "object_id",
    node_pb2.Node: "node_id",
    run_pb2.GetRunRequest: "node run_id",
    run_pb2.GetRunResponse: "run",
}


def found(dotted: str) -> Any:
    """The object of that name, in a module or in a class of one; None if there is none."""
    holder, _, name = dotted.rpartition(".")
    try:
        module = import_module(holder)
    except ModuleNotFoundError:
        return getattr(found(holder), name, None)
    with suppress(ModuleNotFoundError):
        return getattr(module, name, None) or import_module(dotted)
    return None


def imports_of(path: Path) -> list[tuple[str, str]]:
    """Every module that a file imports from, with the name that it imports; the name is empty for a whole module."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            found += [(node.module or "", alias.name) for alias in node.names]
        elif isinstance(node, ast.Import):
            found += [(alias.name, "") for alias in node.names]
    return found


def imported_from_flower() -> list[str]:
    """Every name that the modules of Flower's internals import from Flower, with its module."""
    imports = (each for path in INTERNALS for each in imports_of(path))
    return sorted({f"{module}.{name}" for module, name in imports if module.startswith("flwr.")})


def test_nobody_else_imports_flowers_internals() -> None:
    files = [path for path in PACKAGE.rglob("*.py") if path not in INTERNALS]
    assert len(files) > 100
    private = [
        f"{path.relative_to(PACKAGE)}: {module}"
        for path in files
        for module, _ in imports_of(path)
        if module.split(".")[0] == "flwr" and module not in PUBLIC
    ]
    assert private == []


def test_nobody_else_writes_to_the_metadata_of_messages() -> None:
    """A message's id has no setter, so that only the dictionary of its metadata takes one."""
    written = [path.name for path in PACKAGE.rglob("*.py") if '__dict__["_' in path.read_text(encoding="utf-8")]
    assert written == ["flower_internals.py"]


def test_what_is_imported_is_there() -> None:
    names = imported_from_flower()
    assert names
    assert [name for name in names if found(name) is None] == []


def test_a_message_comes_from_whom_the_process_is_and_has_the_id_that_it_is_given() -> None:
    before = [getattr(TaskIdentity, f"_{name}") for name in ("run_id", "node_id", "task_id")]
    try:
        flower_internals.send_messages_as(7, 3)
        message = Message(RecordDict(), 12, "train")
    finally:
        for name, value in zip(("run_id", "node_id", "task_id"), before, strict=True):
            setattr(TaskIdentity, f"_{name}", value)
    assert (message.metadata.run_id, message.metadata.src_node_id, message.metadata.message_id) == (7, 3, "")
    flower_internals.give_message_id(message, "abc")
    reply = Message(RecordDict(), reply_to=message)
    assert (reply.metadata.reply_to_message_id, reply.metadata.src_node_id) == ("abc", 12)


@pytest.mark.parametrize("optimiser", [FedAvgM, FedAdam, FedYogi])
def test_server_optimisers_keep_their_moments_where_they_are_looked_for(optimiser: type[FedAvg]) -> None:
    inner: Any = optimiser(weighted_by_key="samples")
    assert inner.weighted_by_key == "samples"
    assert inner.current_arrays is None
    if isinstance(inner, FedAvgM):
        assert (inner.momentum_vector, inner.server_momentum) == (None, 0.0)
    else:
        assert isinstance(inner, flower_internals.FedOpt)
        assert (inner.m_t, inner.v_t) == (None, None)


@pytest.mark.parametrize("name", PARAMETERS)
def test_what_is_called_takes_what_it_is_given(name: str) -> None:
    assert set(PARAMETERS[name].split()) <= inspect.signature(found(name)).parameters.keys()


@pytest.mark.parametrize("name", CALLS)
def test_each_call_of_the_fleet_protocol_takes_one_request(name: str) -> None:
    assert list(inspect.signature(found(f"flwr.supernode.fleet_http_client.FleetHttpClient.{name}")).parameters) == [
        "self",
        "request",
    ]


@pytest.mark.parametrize("message", FIELDS, ids=lambda message: message.__name__)
def test_each_protobuf_message_has_the_fields_that_are_used(message: Any) -> None:
    assert set(FIELDS[message].split()) <= set(message.DESCRIPTOR.fields_by_name)


def test_functions_that_are_called_are_all_looked_at() -> None:
    """A function that is used and not in the table above would change unseen."""
    callables = {name for name in imported_from_flower() if inspect.isroutine(found(name))}
    assert callables <= PARAMETERS.keys()


def test_an_object_that_is_on_its_way_is_looked_for_again_soon_by_flowers_own_grid(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pull_objects, "__kwdefaults__", dict(pull_objects.__kwdefaults__))
    flower_internals.wait_for_objects(0.01)
    looked: list[float] = []

    def look(_: str) -> bytes:
        looked.append(time.monotonic())
        if len(looked) < 4:
            raise ObjectUnavailableError("w")
        return b"w"

    assert http_grid.pull_objects(["w"], look) == {"w": b"w"}  # as the grid calls it
    assert looked[-1] - looked[0] < 0.9  # Flower waits 0.8 to 1.2 s before the second look alone
