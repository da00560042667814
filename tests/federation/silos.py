"""A federation of real clients on a tiny network: one model serves all silos, as in a process of Ray."""

from collections.abc import Callable

import torch
from flwr.app import Context, Message
from flwr.clientapp import ClientApp
from torch import Tensor, nn

from fedsq_flwr import FedSQClient, QuantitativeCopy
from fedsq_flwr.federation import answer_evaluate, answer_query, answer_train
from fedsq_flwr.federation.memory import SiloMemory
from fedsq_flwr.learning import TrainingSettings

SETTINGS = TrainingSettings(epochs=1, batch_size=4, learning_rate=0.1)


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3)).eval()


def samples(silo: int) -> tuple[Tensor, Tensor]:
    """A silo's own: 8 samples and more, their mean and scale depend on the silo."""
    count, generator = 8 + 4 * silo, torch.Generator().manual_seed(silo)
    return silo + (1 + silo) * torch.randn(count, 1, 2, 2, generator=generator), torch.arange(count) % 3


def client_of(model: QuantitativeCopy, silo: int, memory: SiloMemory | None = None) -> FedSQClient:
    return FedSQClient(
        model, train=samples(silo), held_out=samples(silo), settings=SETTINGS, silo=silo, seed=0, memory=memory
    )


def silo_app(build: Callable[[], QuantitativeCopy], scale: float = 1.0) -> ClientApp:
    """All silos train the one model that ``build`` makes; what each keeps is in its context. Images are scaled."""
    app, model, start = ClientApp(), build(), build()

    def client(context: Context) -> FedSQClient:
        client = client_of(model, int(context.node_config["partition-id"]), SiloMemory(context, start))
        images, labels = client.core.samples
        client.core.samples = client.core.held_out = images * scale, labels
        return client

    @app.query()
    def query(message: Message, context: Context) -> Message:
        return answer_query(message, context)

    @app.train()
    def train(message: Message, context: Context) -> Message:
        return answer_train(client(context), message)

    @app.evaluate()
    def evaluate(message: Message, context: Context) -> Message:
        return answer_evaluate(client(context), message)

    return app
