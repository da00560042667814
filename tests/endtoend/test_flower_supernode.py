"""Flower's own SuperNode serves as a silo, too: a new process for every message, with all that it keeps on disk."""

import subprocess
from pathlib import Path

import pytest

from fedsq_flwr.cli import main
from fedsq_flwr.commands.shares import lay_out_data
from fedsq_flwr.executors.environment import command_path, isolated_environment
from fedsq_flwr.executors.run_log import RunLog
from fedsq_flwr.executors.superlink import LocalSuperLink, free_port
from fedsq_flwr.settings.composition import compose_settings
from fedsq_flwr.silos.certificates import issue_server_certificate, make_authority
from fedsq_flwr.silos.keys import make_node_key
from tests.endtoend.conftest import read_history, read_summary

#: One silo and one round.
TINY = (
    *("backbone.weights=random", "backbone.image_size=8", "learning_rate=0.02", "validation_fraction=0.5"),
    *("rounds=1", "silos=1"),
)
#: Each message takes some ten seconds.
NO_MORE_MESSAGES = "executor.send_model=none"


@pytest.mark.slow
def test_a_supernode_of_flowers_gives_the_simulations_weights_and_keeps_its_gates(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    keys, state = tmp_path / "keys", tmp_path / "state"
    (folder,), laid_out = lay_out_data(compose_settings(TINY), tmp_path / "shares")
    classes = ",".join(f"'{name}'" for name in laid_out.data.classes)
    data = ["data=imagefolder", f"data.path={laid_out.data.path}", f"data.classes=[{classes}]"]
    make_authority(keys)
    issue_server_certificate(keys, ["localhost", "127.0.0.1"])
    public = make_node_key(keys / "node")
    node_config = f'partition-id=0 num-partitions=1 data-path="{folder}" state-dir="{state}" device="cpu"'
    node_config += " keep-reports=0"
    threads = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    with RunLog(tmp_path / "log") as log, LocalSuperLink(log, threads, certificates=keys) as link:
        link.register(public)
        node = start_supernode(link, keys, public.with_suffix(""), node_config, threads)
        try:
            chosen = [
                *TINY,
                *data,
                NO_MORE_MESSAGES,
                "output=silos",
                "executor=silos",
                f"executor.superlink={link.address}",
            ]
            assert main(["run", *chosen, f"executor.root_certificates={keys / 'ca.crt'}"]) == 0
        finally:
            node.terminate()
            assert node.wait(30) == 0
    assert main(["run", *TINY, "output=simulation", "executor=inprocess"]) == 0
    silos, simulation = read_summary(tmp_path / "silos"), read_summary(tmp_path / "simulation")
    assert silos["weights_sha256"] == simulation["weights_sha256"]
    assert read_history(tmp_path / "silos")[0]["loss"] == read_history(tmp_path / "simulation")[0]["loss"]
    gates = sorted((state / "gates").glob("*.gates"))
    assert len(gates) == 2  # of the training and of the held-out part, each from a process of its own
    assert all(file.name.startswith(silos["fingerprint"][:16]) for file in gates)


def start_supernode(
    link: LocalSuperLink, keys: Path, private: Path, node_config: str, variables: dict[str, str]
) -> subprocess.Popen:
    command = [command_path("flower-supernode"), "--superlink", link.address, "--port", str(free_port())]
    command += ["--root-certificates", str(keys / "ca.crt"), "--auth-supernode-private-key", str(private)]
    return subprocess.Popen(
        [*command, "--node-config", node_config],
        env=isolated_environment(link.home, variables),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
