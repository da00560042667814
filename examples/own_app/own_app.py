"""FedSQ in a Flower app of your own: your network, your silos' data, your Flower strategy.

Run it from the repository's root; Flower runs a copy of the app elsewhere, so the output is an absolute path:

    flwr run examples/own_app --stream --federation-config "num-supernodes=4 client-resources-num-cpus=1" \
        --run-config "output='$PWD/runs/own_app'"

The server writes three files: the best model, the figures of each round, and a report.
"""

import csv
from functools import lru_cache
from pathlib import Path

import torch
from flwr.app import Array, ArrayRecord, Context, Message, MetricRecord
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAdam
from sklearn.datasets import load_digits
from torch import nn

from fedsq_flwr import DualCopy, FedSQ, FedSQClient, answer_evaluate, answer_query, answer_train, check_affine
from fedsq_flwr.learning import PretrainingSettings, TrainingSettings, evaluate, pretrain, torch_threads
from fedsq_flwr.models.weights import read_weights, save_weights

SETTINGS = TrainingSettings(epochs=1, batch_size=16, learning_rate=0.05)


# What you replace: data and network.


def digits(first: int, last: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return images ``(N, 1, 8, 8)`` with pixels between 0 and 1, and labels."""
    data = load_digits()
    images = torch.tensor(data.images[first:last] / 16, dtype=torch.float32)
    return images.unsqueeze(1), torch.tensor(data.target[first:last])


def validation() -> tuple[torch.Tensor, torch.Tensor]:
    return digits(1300, 1550)


def held_back() -> tuple[torch.Tensor, torch.Tensor]:
    return digits(1550, 1797)


@lru_cache(maxsize=1)  # a process answers many messages; the pretrained network is the same for all
def pretrained() -> nn.Module:
    """Return the network to adapt. Load the weights of your own network from a file here.

    This one is trained on one thread: the silos' weights must equal the server's to the bit, or the silos refuse.
    """
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(32 * 16, 10),
    )  # fmt: skip
    with torch_threads(1):
        pretrain(network, *digits(0, 300), PretrainingSettings(epochs=3, batch_size=32, learning_rate=0.05, seed=0))
    return network


# The silos.

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


# The server.

server = ServerApp()


@server.main()
def main(grid: Grid, context: Context) -> None:
    output = Path(str(context.run_config["output"])).absolute()
    output.mkdir(parents=True, exist_ok=True)
    model = DualCopy(pretrained())
    check_affine(model, digits(0, 2)[0])  # raises an error unless fixed gates make this network affine
    start = ArrayRecord({name: Array(tensor.numpy()) for name, tensor in model.quantitative_state().items()})
    strategy = FedSQ(FedAdam(eta=0.01), fingerprint=model.fingerprint, min_replies=2, seed=0)
    rows: list[tuple[int, float, float]] = []

    def evaluate_global_model(server_round: int, arrays: ArrayRecord) -> MetricRecord:
        model.load_quantitative_state({name: torch.from_numpy(a.numpy()) for name, a in arrays.items()})
        found = evaluate(model, *validation())
        if found.accuracy > max((accuracy for _, _, accuracy in rows), default=-1.0):
            about = {"fingerprint": model.fingerprint, "round": str(server_round)}
            save_weights(output / "best.safetensors", model.quantitative_state(), about)
        rows.append((server_round, found.loss, found.accuracy))
        print(f"round {server_round}: loss {found.loss:.3f}, accuracy {found.accuracy:.3f}")
        return MetricRecord({"loss": found.loss, "accuracy": found.accuracy})

    rounds = int(context.run_config["rounds"])
    strategy.start(grid, start, num_rounds=rounds, evaluate_fn=evaluate_global_model)
    write_report(output, rows)
    print(f"results are in {output}")


def best_model(output: Path) -> DualCopy:
    """Rebuild the best model from the checkpoint and the pretrained network."""
    state, about = read_weights(output / "best.safetensors")
    model = DualCopy(pretrained())
    if model.fingerprint != about["fingerprint"]:
        raise ValueError("the pretrained network is not the one that this model was trained with")
    model.load_quantitative_state(state)
    return model.eval()


def write_report(output: Path, rows: list[tuple[int, float, float]]) -> None:
    """Write the figures of each round, and the best model's accuracy on images that chose nothing."""
    with (output / "history.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("round", "loss", "accuracy"), *rows])
    best = best_model(output)
    lines = ["| round | loss | accuracy |", "|---|---|---|"]
    lines += [f"| {number} | {loss:.3f} | {accuracy:.3f} |" for number, loss, accuracy in rows]
    forms = {"under fixed gates": best, "with its own ReLUs": best.to_plain()}
    lines += [""] + [f"* Best model {name}: {evaluate(m, *held_back()).accuracy:.3f}" for name, m in forms.items()]
    (output / "report.md").write_text("# A federation of digits\n\n" + "\n".join(lines) + "\n")
