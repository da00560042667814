"""A federation of toys: each silo adds its own number to a vector, so every average is known by hand."""

from collections.abc import Callable

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from fedsq_flwr.federation import answer_query
from fedsq_flwr.federation.arrays import to_tensor
from fedsq_flwr.federation.protocol import ARRAYS, CONFIG, METRICS

Change = Callable[[int, RecordDict], None]
FINGERPRINT = "f" * 64


def echo(message: Message) -> ConfigRecord:
    """What a silo says back: round and fingerprint."""
    config = message.content[CONFIG]
    return ConfigRecord({key: config[key] for key in ("server-round", "fingerprint") if key in config})


def toy_app(spoil: Change = lambda silo, content: None, seen: list[Message] | None = None) -> ClientApp:
    """Silo k answers ``weights + k`` with weight ``k + 1``; ``spoil`` may change the answer."""
    app = ClientApp()

    @app.query()
    def query(message: Message, context: Context) -> Message:
        return answer_query(message, context)

    @app.train()
    def train(message: Message, context: Context) -> Message:
        if seen is not None:
            seen.append(message)
        silo = int(context.node_config["partition-id"])
        # Not `Array.numpy`, whose parser must not run beside that of the server's thread (CPython issue 106905).
        values = {name: to_tensor(array).numpy() for name, array in message.content[ARRAYS].items()}
        arrays = {name: Array(array + np.float32(silo)) for name, array in values.items()}
        metrics = MetricRecord({"num-examples": silo + 1, "train_loss": float(silo), "train_seconds": 0.5})
        content = RecordDict({ARRAYS: ArrayRecord(arrays), METRICS: metrics, CONFIG: echo(message)})
        spoil(silo, content)
        return Message(content, reply_to=message)

    @app.evaluate()
    def evaluate(message: Message, context: Context) -> Message:
        silo = int(context.node_config["partition-id"])
        metrics = MetricRecord({"num-examples": silo, "loss": 1.0, "accuracy": silo / 10})
        content = RecordDict({METRICS: metrics, CONFIG: echo(message)})
        spoil(silo, content)
        return Message(content, reply_to=message)

    return app


def sampling(silos: int = 4, fraction: float = 1.0) -> dict[str, float | int]:
    """What a strategy of Flower's is told to sample all silos, or a fraction, of so many."""
    minimums = {"min_train_nodes": 1, "min_evaluate_nodes": 1, "min_available_nodes": silos}
    return {"fraction_train": fraction, **minimums}


def mean_of(*silos: int) -> float:
    """What these silos add to every array on average, weighted by their samples."""
    return sum(silo * (silo + 1) for silo in silos) / sum(silo + 1 for silo in silos)
