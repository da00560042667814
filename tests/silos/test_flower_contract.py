"""The contract with those insides of Flower that a silo's link uses: an upgrade that changes them shows here."""

import ast
import inspect
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from flwr.proto import fleet_pb2, heartbeat_pb2, message_pb2, node_pb2, run_pb2

import fedsq_flwr.silos

#: Functions and classes -> the parameters that they are given.
PARAMETERS = {
    "flwr.app.message.remove_content_from_message": "message",
    "flwr.common.serde.message_from_proto": "message_proto",
    "flwr.common.serde.message_to_proto": "message",
    "flwr.common.serde.run_from_proto": "run_proto",
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
    "flwr.supercore.inflatable.inflatable_utils.pull_objects": "object_ids pull_object_fn",
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


def imported_from_flower() -> list[str]:
    """Every name that the modules of a silo's process import from Flower, with its module."""
    names = []
    for path in Path(fedsq_flwr.silos.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("flwr."):
                names += [f"{node.module}.{alias.name}" for alias in node.names]
    return sorted(set(names))


def test_what_is_imported_is_there() -> None:
    names = imported_from_flower()
    assert names
    assert [name for name in names if found(name) is None] == []


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
    own = [
        name for name in imported_from_flower() if not name.startswith(("flwr.proto", "flwr.app.", "flwr.clientapp."))
    ]
    callables = {name for name in own if inspect.isroutine(found(name))}
    assert callables <= PARAMETERS.keys()
