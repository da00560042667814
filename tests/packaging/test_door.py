"""The door at work: nginx, where there is one, before Flower's own SuperLink."""

import re
import shutil
import ssl
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from flwr.proto.control_pb2 import ListNodesRequest, StartRunRequest
from flwr.proto.runtime_pb2 import AcquireTaskRequest

from fedsq_flwr.errors import RunFailedError
from fedsq_flwr.executors.run_log import RunLog
from fedsq_flwr.executors.superlink import LocalSuperLink, free_port
from fedsq_flwr.silos.certificates import issue_server_certificate, make_authority
from fedsq_flwr.silos.keys import make_node_key, read_node_key
from fedsq_flwr.silos.link import Link
from tests.packaging.deployment import EXAMPLES

_PATHS = ("/usr/sbin/nginx", "/usr/local/sbin/nginx", "nginx")
NGINX = next(filter(None, map(shutil.which, _PATHS)), None)

pytestmark = [pytest.mark.slow, pytest.mark.skipif(NGINX is None, reason="there is no nginx here")]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("door")
    make_authority(place)
    issue_server_certificate(place, ["localhost", "127.0.0.1"])
    make_node_key(place / "known")
    make_node_key(place / "unknown")
    return place


@pytest.fixture(scope="module")
def superlink(place: Path) -> Iterator[LocalSuperLink]:
    with RunLog(place / "superlink.log") as log, LocalSuperLink(log, {}, certificates=place) as superlink:
        superlink.register(place / "known.pub")
        yield superlink


@pytest.fixture(scope="module")
def door(place: Path, superlink: LocalSuperLink) -> Iterator[str]:
    port = free_port()
    text = re.sub("/etc/fedsq/|/tmp/", f"{place}/", (EXAMPLES / "nginx.conf").read_text())
    text = text.replace("127.0.0.1:9093", superlink.address).replace("listen 9092", f"listen 127.0.0.1:{port}")
    (place / "nginx.conf").write_text(text)
    command = [str(NGINX), "-e", "stderr", "-c", str(place / "nginx.conf"), "-g", "daemon off;"]
    with (place / "nginx.log").open("wb") as log, subprocess.Popen(command, stderr=log) as nginx:
        try:
            for _ in range(100):
                if "fedsq-nginx.pid" in {path.name for path in place.iterdir()} or nginx.poll() is not None:
                    break
                time.sleep(0.05)
            assert nginx.poll() is None, (place / "nginx.log").read_text()
            yield f"127.0.0.1:{port}"
        finally:
            nginx.terminate()
    assert nginx.returncode == 0, (place / "nginx.log").read_text()


def link(address: str, place: Path, name: str) -> Link:
    return Link(address, keys=read_node_key(place / name), root_certificates=str(place / "ca.crt"))


def test_a_silo_that_is_known_comes_through_and_signs_for_itself(door, place):
    with link(door, place, "known") as connected:
        assert connected.node_id > 0
        assert connected.receive() is None


def test_a_silo_that_is_not_known_is_told_so_through_the_door(door, place):
    with pytest.raises(RunFailedError, match="does not know this silo"), link(door, place, "unknown"):
        pass


@pytest.mark.parametrize(
    ("path", "request_"),
    [
        ("/v1/control/start-run", StartRunRequest()),
        ("/v1/control/list-nodes", ListNodesRequest()),
        ("/v1/runtime/acquire-task", AcquireTaskRequest()),
    ],
)
def test_what_runs_code_or_hands_out_messages_is_behind_the_door(door, superlink, place, path, request_):
    trusted = ssl.create_default_context(cafile=place / "ca.crt")
    kind = {"content-type": "application/protobuf"}
    with httpx.Client(verify=trusted, trust_env=False, headers=kind) as client:

        def ask(address: str, path: str) -> int:
            return client.post(f"https://{address}{path}", content=request_.SerializeToString()).status_code

        assert ask(superlink.address, path) not in (401, 403, 404)  # which is why there is a door
        assert ask(door, path) == 404
        for way_round in (
            f"/v1/fleet/..{path[3:]}",
            f"/v1/fleet/%2e%2e{path[3:]}",
            f"/v1/fleet/..%2f{path[4:]}",
            f"/{path}",
        ):
            assert ask(door, way_round) == 404


def test_only_posts_are_passed(door, place):
    trusted = ssl.create_default_context(cafile=place / "ca.crt")
    with httpx.Client(verify=trusted, trust_env=False) as client:
        assert client.get(f"https://{door}/v1/fleet/pull-messages").status_code == 403
        assert client.get(f"https://{door}/health").status_code == 404
