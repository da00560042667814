"""The federation of a run at the server: the model, the strategy, and the rounds."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from flwr.app import ArrayRecord, ConfigRecord
from flwr.serverapp import Grid

from fedsq_flwr.assembly.model import gate_cache, model_of, prepare_torch, structure_schedule
from fedsq_flwr.assembly.parts import Parts
from fedsq_flwr.data import FederatedData
from fedsq_flwr.errors import ConfigurationError, WeightsError
from fedsq_flwr.federation import FedSQ
from fedsq_flwr.federation.aggregation import Surroundings, build_aggregation
from fedsq_flwr.federation.diagnostics import Examiner
from fedsq_flwr.federation.local_models import LocalModels
from fedsq_flwr.federation.protocol import SETTINGS, UNREADABLE
from fedsq_flwr.federation.registry import NodeRegistry
from fedsq_flwr.federation.rounds import MEASURED, Round, run_rounds
from fedsq_flwr.federation.server_model import ServerModel
from fedsq_flwr.federation.waiting import Patience
from fedsq_flwr.federation.wire import Wire, is_within_process
from fedsq_flwr.learning import Evaluation
from fedsq_flwr.learning.precision import choose_device
from fedsq_flwr.records.directory import Start
from fedsq_flwr.settings.executor import RealSilos
from fedsq_flwr.settings.run import RunSettings
from fedsq_flwr.settings.silo import for_real_silos

#: The most seconds between two looks for the replies of real silos; a look costs the SuperLink milliseconds.
POLL_SECONDS = 0.5


@dataclass
class Federation:
    """The server's model, strategy and diagnostics.

    Attributes
    ----------
    settings : RunSettings
        The settings, with the number of silos that there are.
    model : ServerModel
        The server's copy of the model.
    strategy : FedSQ
        Chooses silos and averages.
    examiner : Examiner or None
        Diagnoses rounds, where the settings ask for diagnostics.
    """

    settings: RunSettings
    model: ServerModel
    strategy: FedSQ
    examiner: Examiner | None

    @classmethod
    def build(cls, settings: RunSettings, parts: Parts, registry: NodeRegistry) -> "Federation":
        """Build the federation as it is before the first round.

        Parameters
        ----------
        settings : RunSettings
            The settings, with the number of silos that there are.
        parts : Parts
            The data and the pretrained network; they stay as they are.
        registry : NodeRegistry
            Knows which node is which silo.

        Raises
        ------
        ConfigurationError
            If something of the settings cannot be had here: the device, the kernels, images for the diagnostics.
        """
        if isinstance(parts.data, FederatedData) and not settings.has_real_silos:
            registry.name_examples(parts.data.examples())
        prepare_torch(settings)
        device = choose_device(settings.executor.device)
        network = model_of(settings, len(parts.data.class_names), parts.start.network)
        model = ServerModel(
            network,
            parts.data,
            device,
            settings.executor.precision,
            schedule=structure_schedule(settings),
            gates=gate_cache(settings),
            distributes_start=settings.executor.structure == "sent" and settings.method.gates == "pretrained",
        )
        examiner = None
        if settings.diagnostics:
            if len(parts.data.validation) == 0:
                raise ConfigurationError("diagnostics=true: needs a validation set of the server's, in data.path")
            images = parts.data.validation.images[: settings.diagnostics_size].to(device)
            examiner = Examiner(network, images)
        return cls(settings, model, _strategy(settings, model, registry), examiner)

    def resume(self, start: Start) -> None:
        """Continue an interrupted run; do nothing if there was none.

        Raises
        ------
        WeightsError
            If the checkpoint is of another network.
        """
        if start.state is None:
            return
        try:
            self.strategy.load_state(start.server or {})
            self.model.resume(start.round - 1, start.state, start.structure)
        except ValueError as error:
            raise WeightsError(f"{self.settings.output}: the checkpoint is of another network: {error}") from error

    def rounds(self, wire: Wire, first: int) -> Iterator[Round]:
        """Run the rounds from ``first`` on; see `run_rounds`."""
        self.strategy.summary()
        settings = self.settings
        told = for_real_silos(settings) if settings.has_real_silos else settings
        return run_rounds(
            self.strategy,
            wire,
            self.model.arrays(wire.takes_shared_arrays),
            first=first,
            last=settings.rounds,
            timeout=settings.executor.round_timeout,
            enter=self.model.enter,
            evaluate=self._evaluate,
            evaluate_every=settings.evaluate_every,
            config=ConfigRecord({SETTINGS: told.to_json()}),
            keep_replies=self.examiner is not None,
        )

    def _evaluate(self, averaged: ArrayRecord) -> dict[str, Evaluation]:
        """Evaluate the average, or, where each silo has a model of its own, these."""
        if isinstance(self.strategy.inner, LocalModels):
            return self.model.evaluate_all(averaged, self.strategy.inner.models.values())
        return self.model.evaluate(averaged)


def connect(wire: Wire, settings: RunSettings) -> tuple[NodeRegistry, RunSettings]:
    """Wait for the silos; return the node registry, and the settings with the number of silos.

    Flower decides how many silos a simulation has; ``settings.silos`` is then what it says.

    Raises
    ------
    RunFailedError
        If they do not connect in time, or do not say who they are.
    """
    real = settings.has_real_silos
    registry = NodeRegistry(settings.executor.join_timeout)
    if wire.collector is not None:
        wire.collector.name = registry.name
    nodes = registry.wait_for(wire, settings.silos if real else None, settings.min_available_silos)
    if not real:
        settings = settings.changed(silos=registry.num_partitions or len(nodes))
    return registry, settings


def wire_of(grid: Grid, settings: RunSettings) -> Wire:
    """Return the wire of a run: packed where messages cross a network, or are to be rounded."""
    packed = settings.has_real_silos or settings.wire_dtype != "float32"
    dtype = settings.wire_dtype if packed else None
    if not isinstance(settings.executor, RealSilos):
        return Wire(grid, dtype=dtype, poll=None if is_within_process(grid) else POLL_SECONDS)
    patience = Patience(settings.executor.reply_fraction, settings.executor.reply_grace, settings.min_replies)
    return Wire(grid, dtype=dtype, poll=POLL_SECONDS, patience=patience)


def _strategy(settings: RunSettings, model: ServerModel, registry: NodeRegistry) -> FedSQ:
    measured = dict(MEASURED)
    if settings.has_real_silos:
        measured["train"] = (*measured["train"], UNREADABLE)
    run = Surroundings(model.arrays(), registry, _sampling(settings))
    return FedSQ(
        build_aggregation(settings.method.averaging, run),
        fingerprint="" if settings.method.gates == "none" else lambda _: model.fingerprint,
        structure=lambda _: model.structure_arrays(),
        ask_for_structure=settings.executor.structure == "sent",
        linear_probing_rounds=settings.linear_probing_rounds,
        head=model.head_names(),
        metrics=measured,
        uniform=settings.method.weighting == "uniform",
        min_replies=settings.min_replies,
        max_examples=settings.max_examples,
        max_update_ratio=settings.max_update_ratio,
        seed=settings.seed,
        timeout=settings.executor.round_timeout,
        registry=registry,
    )


def _sampling(settings: RunSettings) -> dict[str, Any]:
    """Return the fractions and minimums of silos, as keyword arguments of Flower's strategies."""
    return {
        "fraction_train": settings.fraction_train,
        "fraction_evaluate": settings.fraction_evaluate,
        "min_train_nodes": 1,
        "min_evaluate_nodes": 1 if settings.fraction_evaluate else 0,
        "min_available_nodes": settings.min_available_silos or _needed(settings),
    }


def _needed(settings: RunSettings) -> int:
    """Return how many silos must be connected where the settings do not say: all, which `connect` has waited for.

    Real silos may leave. A later round begins with as many as would be waited for.
    """
    executor = settings.executor
    return math.ceil(settings.silos * executor.reply_fraction) if isinstance(executor, RealSilos) else settings.silos
