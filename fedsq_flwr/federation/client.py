"""A silo: trains and evaluates the quantitative copy on its own samples."""

import torch
from flwr.client import NumPyClient
from flwr.common import NDArrays, Scalar
from torch import Tensor

from fedsq_flwr.federation.memory import SiloMemory
from fedsq_flwr.federation.messages import FINGERPRINT, HEAD_ONLY, OWN_RELUS, ROUND
from fedsq_flwr.gating import DualCopy, GateCache, Images, QuantitativeCopy, bind
from fedsq_flwr.learning import AUGMENTATIONS, TrainingSettings, derive_seed, evaluate, train_locally

Samples = tuple[Images, Tensor]


class FedSQClient(NumPyClient):
    """Flower client of one silo.

    Parameters
    ----------
    model : QuantitativeCopy
        A `DualCopy` for FedSQ, a plain `QuantitativeCopy` for FedAvg and FedProx. All of its travelling
        state is overwritten by what the server sends.
    train : (Tensor, Tensor)
        Images ``(N, C, H, W)``, prepared, and labels ``(N,)`` to learn from, on the model's device; images
        too large to be held prepared may be `LazyImages`.
    held_out : (Tensor, Tensor)
        Images and labels that are never learnt from; may be empty.
    settings : TrainingSettings
        How to train; the learning rate of a round is as its schedule says.
    silo : int
        Partition id: with ``seed`` and the round it seeds the order of the samples and their views.
    seed : int
        The run's seed.
    memory : SiloMemory, optional
        What the silo keeps between rounds; needed where batch norm is local, or where the structure
        changes during the run.
    gates : GateCache, optional
        Keeps the gates of the silo's images, so that each is computed once. It changes no number.

    Raises
    ------
    ValueError
        If batch norm is local and there is no memory for it.
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
        memory: SiloMemory | None = None,
        gates: GateCache | None = None,
    ) -> None:
        if memory is None and model.local_state():
            raise ValueError("batch_norm='local' needs memory=SiloMemory(context, start): a silo keeps its own")
        self.model = model
        self.train = train
        self.held_out = held_out
        self.settings = settings
        self.silo = silo
        self.seed = seed
        self.memory = memory
        self.gates = gates

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
            ``server-round``; ``fingerprint`` of the server's structure, or ``own-relus`` in a round
            without one; ``head-only`` where only the head learns; ``proximal-mu`` if the inner strategy is
            FedProx.

        Returns
        -------
        (list of ndarray, int, dict)
            The trained state, the number of training samples, and ``train_loss`` and ``train_seconds``.

        Raises
        ------
        ValueError
            If the server's structure is not this silo's, or the arrays do not fit, or a local batch norm
            is not finite after training.
        """
        self._load(parameters, config)
        self.model.learn_head_only(bool(config.get(HEAD_ONLY, False)))
        images, labels = self.train
        server_round = int(config[ROUND])
        settings = self.settings.of_round(server_round)
        seed = derive_seed(self.seed, "train", server_round, self.silo)
        mu = float(config.get("proximal-mu", 0.0))
        augmentation = AUGMENTATIONS[settings.augmentation]
        gates = bind(self.gates, self.model, images, view=augmentation.view, views=augmentation.views)
        result = train_locally(self.model, images, labels, settings, seed=seed, mu=mu, gates=gates)
        if self.memory is not None:
            self.memory.keep_local(self.model)
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
        gates = bind(self.gates, self.model, images)
        result = evaluate(self.model, images, labels, precision=self.settings.precision, gates=gates)
        return result.loss, result.examples, {"accuracy": result.accuracy}

    def _load(self, parameters: NDArrays, config: dict[str, Scalar]) -> None:
        self._enter_structure(str(config.get(FINGERPRINT, "")), own_relus=bool(config.get(OWN_RELUS, False)))
        names = self.model.quantitative_state()
        state = {name: torch.from_numpy(array) for name, array in zip(names, parameters, strict=True)}
        self.model.load_quantitative_state(state)
        if self.memory is not None:
            self.memory.load_local(self.model)

    def _enter_structure(self, theirs: str, *, own_relus: bool) -> None:
        """Put the server's structure in force: own ReLUs, the one in the model, or one from memory."""
        if isinstance(self.model, DualCopy):
            self.model.gated = not own_relus
            if self.memory is not None and self.model.fingerprint != theirs:
                self.memory.load_structure(self.model, theirs)
        own = self.model.fingerprint
        if theirs != own:
            raise ValueError(
                f"refuses: the server's structural fingerprint is {_short(theirs)}, "
                f"this silo's is {_short(own)}; both must use the same pretrained weights and gating options"
            )


def _short(fingerprint: str) -> str:
    return f"{fingerprint[:12]}..." if fingerprint else "none (no fixed gates)"
