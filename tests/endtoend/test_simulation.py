"""The real thing: `flwr run` and Ray, in processes of their own."""

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from fedsq_flwr.executors import processes
from fedsq_flwr.executors.environment import isolated_environment
from fedsq_flwr.executors.home import Home
from fedsq_flwr.executors.run_log import RunLog
from fedsq_flwr.executors.superlink import LocalSuperLink, free_port
from tests.endtoend.conftest import SMALL, read_history, read_summary

pytestmark = pytest.mark.slow
CHECKOUT = Path(__file__).parents[2]
FEDSQ = [str(Path(sys.executable).parent / "fedsq"), "run", *SMALL[1:]]


def fedsq(*overrides, cwd, **environment):
    return subprocess.run(
        [*FEDSQ, *overrides],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )


@pytest.fixture
def two_nodes():
    """Start a Ray cluster of two nodes of one CPU each on this machine; return its address."""
    port, client_port = free_port(), free_port()
    with Home("ray-") as home:  # ends both nodes if this process is killed
        head = f"--head --port {port} --ray-client-server-port {client_port} --temp-dir {home.path}"
        try:
            for options in (f"{head} --include-dashboard false", f"--address 127.0.0.1:{port}"):
                command = [str(Path(sys.executable).parent / "ray"), "start", "--num-cpus", "1", *options.split()]
                subprocess.run(command, env=isolated_environment(home.path, {}), capture_output=True, check=True)
            yield f"127.0.0.1:{port}"
        finally:
            known = processes.marked("FLWR_HOME", str(home.path))
            processes.end(lambda: processes.descendants(known))


def below_us():
    return {p.pid for p in psutil.Process().children(recursive=True)}


def test_ray_with_a_primary_file_of_ones_own_and_one_process_end_with_the_same_bits(tmp_path, run_all_digits):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "my.yaml").write_text("defaults: [config, _self_]\nmomentum: 0.5\nlocal_epochs: 2\n")
    before = below_us()
    statistics = "method.gate_statistics=reestimated"  # a query of its own, and a structure that silos are sent
    own = ("--config-dir", "mine", "--config-name", "my")
    finished = fedsq(*own, statistics, "output=with ray", cwd=tmp_path)
    assert finished.returncode == 0, finished.stderr
    assert below_us() <= before
    ray, inprocess = (
        tmp_path / "with ray",
        run_all_digits(statistics, "momentum=0.5", "local_epochs=2", name="inprocess"),
    )
    assert read_summary(ray)["weights_sha256"] == read_summary(inprocess)["weights_sha256"]
    accuracies = ("loss", "accuracy", "test_accuracy", "silo_accuracies", "bytes_up", "bytes_down")
    for there, here in zip(read_history(ray), read_history(inprocess), strict=True):
        assert {key: there[key] for key in accuracies} == {key: here[key] for key in accuracies}
    assert (ray / "report.html").is_file()
    assert "2/2" in finished.stdout


def test_what_a_silo_keeps_between_rounds_is_the_same_on_a_cluster_of_two_nodes(tmp_path, run_all_digits, two_nodes):
    """Three silos share Ray's actors, one on each node, so that each finds another silo's model there.

    A lost structure would end the run with an error; a lost batch norm would only change numbers.
    """
    policies = ("batch_norm=local", "linear_probing_rounds=1", "method.release_after=2", "fraction_train=0.7")
    cluster = f"executor.ray_address={two_nodes}"
    finished = fedsq("rounds=3", *policies, cluster, "output=ray", cwd=tmp_path)
    assert finished.returncode == 0, finished.stderr
    ray, inprocess = tmp_path / "ray", run_all_digits("rounds=3", *policies, name="inprocess")
    assert read_summary(ray)["weights_sha256"] == read_summary(inprocess)["weights_sha256"]
    for there, here in zip(read_history(ray), read_history(inprocess), strict=True):
        same = ("loss", "test_accuracy", "silo_accuracies", "fingerprint", "bytes_up", "bytes_down", "dropped")
        assert {key: there[key] for key in same} == {key: here[key] for key in same}


def test_plain_flwr_run_in_a_checkout_does_the_same_job(tmp_path, run_all_digits):
    output = tmp_path / "plain"
    by_keys = ("executor", "silos", "rounds", "learning_rate")
    overrides = " ".join([*(o for o in SMALL if not o.startswith(by_keys)), "method=fedavg", f"output={output}"])
    with RunLog(tmp_path / "log") as log, LocalSuperLink(log, {}) as link:
        flwr = link.run(
            CHECKOUT,
            (
                "--federation-config",
                "num-supernodes=3 client-resources-num-cpus=1",
                "--run-config",
                f'experiment="digits" num-server-rounds=2 learning-rate=0.02 overrides="{overrides}"',
            ),
        )
        flwr.wait(timeout=200)
        assert link.run_status() == "finished:completed", (tmp_path / "log").read_text()[-3000:]
        told = (tmp_path / "log").read_text()
    assert all(f"fedsq: {what}" in told for what in ("round 1/2: ", "round 2/2: ", f"results are in {output}; "))
    summary = read_summary(output)
    assert (summary["method"], summary["silos"]) == ("fedavg", 3)
    assert summary["weights_sha256"] == read_summary(run_all_digits("method=fedavg", name="here"))["weights_sha256"]
