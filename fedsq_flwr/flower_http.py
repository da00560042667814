"""The HTTP client of Flower's Fleet protocol, its retries, heartbeats and errors: a part of `flower_internals`.

Apart, since only the process of a real silo needs it: it imports FastAPI and requests, which take a quarter of a
second.
"""

from flwr.supercore.error import ApiErrorCode, FlowerError
from flwr.supercore.heartbeat import HeartbeatSender
from flwr.supercore.interceptors.http.runtime_version import RuntimeVersionHttpInterceptor
from flwr.supercore.retry import RetryInvoker, RetryState, exponential
from flwr.supernode.fleet_http_client import FleetHttpClient
from flwr.supernode.node_auth_http_interceptor import NodeAuthHttpInterceptor

__all__ = [
    "ApiErrorCode",
    "FleetHttpClient",
    "FlowerError",
    "HeartbeatSender",
    "NodeAuthHttpInterceptor",
    "RetryInvoker",
    "RetryState",
    "RuntimeVersionHttpInterceptor",
    "exponential",
]
