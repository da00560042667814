"""FedSQ in a Flower app of one's own: bring a network and a silo's data, keep your Flower strategy.

Run it with `flwr run examples/own_app --stream --federation-config "num-supernodes=4 client-resources-num-cpus=1"`.
"""

from functools import lru_cache

import torch
from flwr.app import Array, ArrayRecord, Context, Message, MetricRecord
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAdam
from sklearn.datasets import load_digits
from torch import nn

from fedsq_flwr import DualCopy, FedSQ, FedSQClient, answer_evaluate, answer_query, answer_train, check_affine
from fedsq_flwr.learning import PretrainingSettings, TrainingSettings, evaluate, pretrain, torch_threads

SETTINGS = TrainingSettings(epochs=1, batch_size=16, learning_rate=0.05)


def digits(first: int, last: int) -> tuple[torch.Tensor, torch.Tensor]:
    data = load_digits()
    images = torch.tensor(data.images[first:last] / 16, dtype=torch.float32)
    return images.unsqueeze(1), torch.tensor(data.target[first:last])


@lru_cache(maxsize=1)  # a process serves many messages; the pretrained network is the same for all
def pretrained() -> nn.Module:
    """Stand in for your own network, any ReLU classifier, whose weights you would load from a file.

    Trained on one thread: the silos' weights must equal the server's to the bit, or the silos refuse.
    """
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(32 * 16, 10),
    )  # fmt: skip
    with torch_threads(1):
        pretrain(network, *digits(0, 300), PretrainingSettings(epochs=3, batch_size=32, learning_rate=0.05, seed=0))
    return network


client = ClientApp()


def silo(context: Context) -> FedSQClient:
    number, silos = int(context.node_config["partition-id"]), int(context.node_config["num-partitions"])
    size = 1000 // silos
    first = 300 + number * size
    return FedSQClient(
        DualCopy(pretrained()),
        train=digits(first, first + size - 20),
        held_out=digits(first + size - 20, first + size),
        settings=SETTINGS,
        silo=number,
        seed=0,
    )


@client.query()
def query(message: Message, context: Context) -> Message:
    return answer_query(message, context)


@client.train()
def train(message: Message, context: Context) -> Message:
    return answer_train(silo(context), message)


@client.evaluate()
def test(message: Message, context: Context) -> Message:
    return answer_evaluate(silo(context), message)


server = ServerApp()


@server.main()
def main(grid: Grid, context: Context) -> None:
    model = DualCopy(pretrained())
    check_affine(model, digits(0, 2)[0])  # raises an error unless fixed gates make this network affine
    start = ArrayRecord({name: Array(tensor.numpy()) for name, tensor in model.quantitative_state().items()})
    strategy = FedSQ(FedAdam(eta=0.01), fingerprint=model.fingerprint, min_replies=2, seed=0)

    def evaluate_global_model(_round: int, arrays: ArrayRecord) -> MetricRecord:
        model.load_quantitative_state({name: torch.from_numpy(a.numpy()) for name, a in arrays.items()})
        return MetricRecord({"accuracy": evaluate(model, *digits(1300, 1797)).accuracy})

    rounds = int(context.run_config["rounds"])
    result = strategy.start(grid, start, num_rounds=rounds, evaluate_fn=evaluate_global_model)
    for server_round, metrics in result.evaluate_metrics_serverapp.items():
        print(f"round {server_round}: accuracy {metrics['accuracy']:.3f}")
