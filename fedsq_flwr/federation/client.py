"""A silo: trains and evaluates the quantitative copy on its own samples."""

import torch
from flwr.client import NumPyClient
from flwr.common import NDArrays, Scalar
from torch import Tensor

from fedsq_flwr.federation.messages import FINGERPRINT, ROUND
from fedsq_flwr.gating import QuantitativeCopy
from fedsq_flwr.learning import TrainingSettings, derive_seed, evaluate, train_locally

Samples = tuple[Tensor, Tensor]


class FedSQClient(NumPyClient):
    """Flower client of one silo.

    Parameters
    ----------
    model : QuantitativeCopy
        A `DualCopy` for FedSQ, a plain `QuantitativeCopy` for FedAvg and FedProx. All of its travelling
        state is overwritten by what the server sends.
    train : (Tensor, Tensor)
        Images ``(N, C, H, W)`` and labels ``(N,)`` to learn from, on the model's device.
    held_out : (Tensor, Tensor)
        Images and labels that are never learnt from; may be empty.
    settings : TrainingSettings
        How to train.
    silo : int
        Partition id: with ``seed`` and the round it seeds the order of the samples.
    seed : int
        The run's seed.
    """

    def __init__(
        self,
        model: QuantitativeCopy,
        *,
        train: Samples,
        held_out: Samples,
        settings: TrainingSettings,
        silo: int,
        seed: int,
    ) -> None:
        self.model = model
        self.train = train
        self.held_out = held_out
        self.settings = settings
        self.silo = silo
        self.seed = seed

    def check_names(self, names: list[str]) -> None:
        """Raise ValueError unless ``names`` are what the quantitative copy consists of, in its order."""
        own = list(self.model.quantitative_state())
        if names != own:
            raise ValueError(
                "the server's arrays are another network's "
                f"(missing {sorted(set(own) - set(names))}, unknown {sorted(set(names) - set(own))})"
            )

    def fit(self, parameters: NDArrays, config: dict[str, Scalar]) -> tuple[NDArrays, int, dict[str, Scalar]]:
        """Train on the silo's samples, starting from ``parameters``.

        Parameters
        ----------
        parameters : list of ndarray
            The quantitative state, in the order of `QuantitativeCopy.quantitative_state`.
        config : dict
            ``server-round``; ``fingerprint`` of the server's structure; ``proximal-mu`` if the inner
            strategy is FedProx.

        Returns
        -------
        (list of ndarray, int, dict)
            The trained state, the number of training samples, and ``train_loss`` and ``train_seconds``.

        Raises
        ------
        ValueError
            If the server's structure is not this silo's, or the arrays do not fit.
        """
        self._load(parameters, config)
        images, labels = self.train
        seed = derive_seed(self.seed, "train", int(config[ROUND]), self.silo)
        mu = float(config.get("proximal-mu", 0.0))
        result = train_locally(self.model, images, labels, self.settings, seed=seed, mu=mu)
        state = [tensor.cpu().numpy() for tensor in self.model.quantitative_state().values()]
        return state, result.examples, {"train_loss": result.loss, "train_seconds": result.seconds}

    def evaluate(self, parameters: NDArrays, config: dict[str, Scalar]) -> tuple[float, int, dict[str, Scalar]]:
        """Evaluate ``parameters`` on the held-out samples: loss, their number, and ``accuracy``.

        A silo that holds nothing out answers with 0 samples and does not count.

        Raises
        ------
        ValueError
            As `fit`.
        """
        self._load(parameters, config)
        images, labels = self.held_out
        if len(labels) == 0:
            return 0.0, 0, {"accuracy": 0.0}
        result = evaluate(self.model, images, labels, precision=self.settings.precision)
        return result.loss, result.examples, {"accuracy": result.accuracy}

    def _load(self, parameters: NDArrays, config: dict[str, Scalar]) -> None:
        theirs, own = str(config.get(FINGERPRINT, "")), self.model.fingerprint
        if theirs != own:
            raise ValueError(
                f"refuses: the server's structural fingerprint is {_short(theirs)}, "
                f"this silo's is {_short(own)}; both must use the same pretrained weights and gating options"
            )
        names = self.model.quantitative_state()
        state = {name: torch.from_numpy(array) for name, array in zip(names, parameters, strict=True)}
        self.model.load_quantitative_state(state)


def _short(fingerprint: str) -> str:
    return f"{fingerprint[:12]}..." if fingerprint else "none (no fixed gates)"
