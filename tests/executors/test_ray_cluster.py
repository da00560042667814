"""What a node of a Ray cluster may lack or have otherwise, each told in one line before the run."""

from collections.abc import Callable

import pytest

from fedsq_flwr.errors import RunFailedError
from fedsq_flwr.executors import ray_cluster
from fedsq_flwr.settings.composition import compose_settings
from fedsq_flwr.settings.executor import Simulation

HERE = {"python": "3.11.9", "torch": "2.9.0", "data digits": "a" * 64, "weights own.safetensors": "b" * 64}
NODE = {**HERE, "niceness": "0"}


@pytest.mark.parametrize(
    ("there", "said"),
    [
        ({}, []),
        ({"torch": "2.8.0"}, ["torch 2.8.0 is not 2.9.0"]),
        ({"data digits": "c" * 64}, ["the data digits is not the same as here"]),
        (
            {"python": "3.12.0", "weights own.safetensors": "c" * 64},
            [
                "python 3.12.0 is not 3.11.9",
                "the weights own.safetensors is not the same as here",
            ],
        ),
        ({"niceness": "15"}, []),
    ],
)
def test_a_node_is_told_what_it_has_otherwise(there: dict[str, str], said: list[str]) -> None:
    assert ray_cluster.differences(HERE, {**NODE, **there}) == said


def test_the_line_names_the_node() -> None:
    found = {"node 10.0.0.1 (aaaa)": NODE, "node 10.0.0.2 (bbbb)": {**NODE, "torch": "2.8.0"}}
    with pytest.raises(RunFailedError, match=r"^node 10\.0\.0\.2 \(bbbb\): torch 2\.8\.0 is not 2\.9\.0$"):
        list(ray_cluster._complaints(NODE, found))


def test_a_slow_node_is_named_and_does_no_harm() -> None:
    found = {"node 10.0.0.1 (aaaa)": {**NODE, "niceness": "15"}, "node 10.0.0.2 (bbbb)": {**NODE, "niceness": "-5"}}
    (line,) = ray_cluster._complaints(NODE, found)
    assert line == "node 10.0.0.1 (aaaa): works at niceness 15: start Ray there with RAY_worker_niceness=0"


@pytest.mark.parametrize(
    ("resources", "executor", "silos"),
    [
        ({"CPU": 5}, {"client_cpus": 2}, 2),
        ({"memory": 1}, {}, 0),  # a head that takes no work
        ({"CPU": 16, "GPU": 1}, {"client_gpus": 0.2}, 5),
        ({"CPU": 16}, {"client_gpus": 0.2}, 0),
    ],
)
def test_silos_of_a_node_are_as_many_as_cpus_and_gpus_allow(resources, executor, silos: int) -> None:
    assert ray_cluster.silos_at(resources, Simulation(**executor)) == silos


def free_after(*answers: dict[str, float]) -> Callable[[], dict[str, float]]:
    told = iter(answers)
    return lambda: next(told)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_cluster, "_FREE_SECONDS", 0.05)
    monkeypatch.setattr(ray_cluster.time, "sleep", lambda _: None)


def test_the_cpus_of_a_run_that_has_just_ended_are_waited_for() -> None:
    ray_cluster._check_free(Simulation(), 2, free_after({"CPU": 1}, {"CPU": 2}))


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(
    ("silos", "said"), [(2, "other work holds some of the 2 CPUs"), (0, "no node has executor.client_cpus=1")]
)
def test_a_cluster_without_room_is_refused(silos: int, said: str) -> None:
    with pytest.raises(RunFailedError, match=said):
        ray_cluster._check_free(Simulation(ray_address="10.0.0.1:6379"), silos, lambda: {"CPU": 1.0})


def test_a_cluster_that_is_not_there_is_named_at_once() -> None:
    with pytest.raises(RunFailedError, match=r"^executor\.ray_address=127\.0\.0\.1:1: no Ray cluster answers there"):
        ray_cluster._connect(Simulation(ray_address="127.0.0.1:1"))


def test_this_machine_has_what_a_small_run_needs() -> None:
    settings = compose_settings(["backbone.weights=random", "backbone.image_size=8", "silos=2"])
    facts = ray_cluster.examine(settings.to_json())
    assert {"python", "torch", "code of fedsq_flwr", "data digits", "weights random"} <= facts.keys()
    assert facts == ray_cluster.examine(settings.to_json())
    other = ray_cluster.examine(settings.changed(seed=1).to_json())
    assert other["weights random"] != facts["weights random"]
