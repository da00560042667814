"""What a round costs beside a bare loop that trains the same silos in the same order, in one process.

The bare loop has one resident model and no framework: for each silo it copies the global model in, trains, and adds
the result to a sum. Both loops take turns, and the bare loop runs twice, so that its ratio to itself shows the noise.
Seconds are those of the process, so that other processes do not count.
"""

import logging
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812
import torchvision
from flwr.app import ArrayRecord, ConfigRecord, Context, Message
from flwr.clientapp import ClientApp
from flwr.serverapp.strategy import FedAvg
from torch import Tensor, nn

from fedsq_flwr.executors.grid import InProcessGrid
from fedsq_flwr.federation import FedSQ, FedSQClient, answer_query, answer_train
from fedsq_flwr.federation.arrays import to_shared_arrays
from fedsq_flwr.federation.registry import NodeRegistry
from fedsq_flwr.federation.rounds import run_rounds
from fedsq_flwr.gating import QuantitativeCopy
from fedsq_flwr.learning import TrainingSettings
from fedsq_flwr.models.cifar_resnet import CifarResNet
from scripts.benchmarks.tables import interval

SETTINGS = TrainingSettings(epochs=1, batch_size=32, learning_rate=0.01)


@dataclass(frozen=True)
class Case:
    """A federation: a network, so many silos of so many images, and those of them that train in a round."""

    network: Callable[[], nn.Module]
    channels: int
    size: int
    silos: int
    images: int
    cohort: int
    format: torch.memory_format = torch.contiguous_format  # of our loop; the bare loop's is contiguous


def cnn() -> nn.Module:
    """Return the convolutional network of McMahan et al. (2017) for 28 pixels: 1.66 million parameters."""
    return nn.Sequential(
        *(nn.Conv2d(1, 32, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(32, 64, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(3136, 512), nn.ReLU(), nn.Linear(512, 10)),
    )


CASES = {
    "ResNet-18, 10 silos of 100": Case(lambda: torchvision.models.resnet18(num_classes=10), 3, 32, 10, 100, 10),
    "CIFAR ResNet-20 at 32 px, channels last, 10 silos of 100": Case(
        lambda: CifarResNet(3), 3, 32, 10, 100, 10, torch.channels_last
    ),
    "CNN, 50 of 1,000 silos of 50": Case(cnn, 1, 28, 1000, 50, 50),
}


def run(_networks: Sequence[str], repeats: int, _native: bool) -> None:
    """Time rounds of both loops and print a line for each federation."""
    logging.getLogger("flwr").setLevel(logging.ERROR)
    print("| federation | bare loop | over itself | ours over bare | beyond, a silo |\n|---|---|---|---|---|")
    for name, case in CASES.items():
        seconds = rounds_of(case, repeats)
        bare, again, ours = (seconds[arm] for arm in ("bare", "again", "ours"))
        beyond = statistics.median(mine - loop for mine, loop in zip(ours, bare, strict=True)) / case.cohort
        both = [interval([mine / loop for mine, loop in zip(arm, bare, strict=True)]) for arm in (again, ours)]
        columns = [name, f"{statistics.median(bare):.2f} s", *both, f"{1000 * beyond:.1f} ms"]
        print(f"| {' | '.join(columns)} |", flush=True)


def rounds_of(case: Case, repeats: int) -> Mapping[str, list[float]]:
    """Return the seconds of ``repeats`` rounds of each loop, which take turns."""
    torch.manual_seed(0)
    images = torch.randn(case.silos, case.images, case.channels, case.size, case.size)
    labels = torch.randint(10, (case.silos, case.images))
    network = case.network()
    arms = {"bare": bare(case, network, images, labels), "again": bare(case, network, images, labels)}
    arms["ours"] = ours(case, network, images, labels)
    for arm in arms.values():
        arm()  # what is done once
    seconds: dict[str, list[float]] = {name: [] for name in arms}
    for repeat in range(repeats):
        first = repeat % len(arms)
        names = list(arms)
        for name in names[first:] + names[:first]:
            started = time.process_time()
            arms[name]()
            seconds[name].append(time.process_time() - started)
    return seconds


def bare(case: Case, network: nn.Module, images: Tensor, labels: Tensor) -> Callable[[], None]:
    """Return a round of the bare loop."""
    model = QuantitativeCopy(network)
    state = model.quantitative_state()
    glob = {name: tensor.clone() for name, tensor in state.items()}
    total = {name: torch.zeros_like(tensor) for name, tensor in glob.items()}

    def one_round() -> None:
        for tensor in total.values():
            tensor.zero_()
        for silo in range(case.cohort):
            with torch.no_grad():
                for name, tensor in state.items():
                    tensor.copy_(glob[name])
            model.train()
            optimizer = torch.optim.SGD(model.parameters(), 0.01, momentum=0.9)
            for batch in torch.randperm(case.images).split(SETTINGS.batch_size):
                loss = F.cross_entropy(model(images[silo, batch]), labels[silo, batch])
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
            for name, tensor in state.items():
                total[name].add_(tensor, alpha=case.images)
        for name, tensor in total.items():
            glob[name].copy_(tensor).div_(case.images * case.cohort)

    return one_round


def ours(case: Case, network: nn.Module, images: Tensor, labels: Tensor) -> Callable[[], None]:
    """Return a round of `run_rounds` within this process."""
    model = QuantitativeCopy(network).to(memory_format=case.format)  # type: ignore[call-overload]
    app = ClientApp()

    @app.query()
    def query(message: Message, context: Context) -> Message:
        return answer_query(message, context)

    @app.train()
    def train(message: Message, context: Context) -> Message:
        silo = int(context.node_config["partition-id"])
        samples = images[silo], labels[silo]
        client = FedSQClient(model, train=samples, held_out=samples, settings=SETTINGS, silo=silo, seed=0)
        return answer_train(client, message)

    grid = InProcessGrid(app, silos=case.silos)
    registry = NodeRegistry(60.0)
    fraction = case.cohort / case.silos
    strategy = FedSQ(FedAvg(fraction_train=fraction, fraction_evaluate=0.0, min_evaluate_nodes=0), registry=registry)
    arrays = to_shared_arrays({name: tensor.clone() for name, tensor in model.quantitative_state().items()})
    config = ConfigRecord()

    def one_round(arrays: ArrayRecord = arrays) -> None:
        for _ in run_rounds(
            strategy,
            grid,
            arrays,
            first=1,
            last=1,
            timeout=60.0,
            enter=lambda _: None,
            evaluate=lambda _: {},
            config=config,
        ):
            pass

    return one_round
