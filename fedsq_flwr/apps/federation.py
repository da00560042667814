"""The federation of a run at the server: the model, the strategy, and the rounds."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from flwr.app import ArrayRecord, ConfigRecord
from torch import Tensor

from fedsq_flwr.apps.strategy import build_strategy
from fedsq_flwr.assembly.model import gate_cache, model_of, prepare_torch, structure_schedule
from fedsq_flwr.assembly.parts import Parts
from fedsq_flwr.data import FederatedData, ServerData
from fedsq_flwr.errors import ConfigurationError, WeightsError
from fedsq_flwr.federation import FedSQ
from fedsq_flwr.federation.audit_heads import ask_audit_heads
from fedsq_flwr.federation.diagnostics import Examiner
from fedsq_flwr.federation.local_models import LocalModels
from fedsq_flwr.federation.protocol import SETTINGS
from fedsq_flwr.federation.registry import NodeRegistry
from fedsq_flwr.federation.rounds import Round, Tell, run_rounds
from fedsq_flwr.federation.server_model import ServerModel
from fedsq_flwr.federation.statistics import ask_statistics
from fedsq_flwr.federation.wire import Wire
from fedsq_flwr.learning import Evaluation
from fedsq_flwr.learning.batch_norm_moments import values_of_one_image
from fedsq_flwr.learning.precision import choose_device
from fedsq_flwr.models.batch_norm import batch_norms
from fedsq_flwr.privacy.ledger import AuditHead
from fedsq_flwr.records.directory import Start
from fedsq_flwr.settings.run import RunSettings
from fedsq_flwr.settings.silo import for_real_silos

#: How the re-estimated statistics are called beside what the strategy remembers.
_STATISTICS = "statistics/"


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
    audits : dict
        What real silos told of their audit logs at the end, or why they told nothing, by partition id.
    """

    settings: RunSettings
    model: ServerModel
    strategy: FedSQ
    examiner: Examiner | None
    audits: dict[int, AuditHead | str] = field(default_factory=dict)
    _statistics: dict[str, Tensor] = field(default_factory=dict)  # of batch norm, where they were re-estimated

    @classmethod
    def build(
        cls, settings: RunSettings, parts: Parts, registry: NodeRegistry, *, shared: bool = False
    ) -> "Federation":
        """Build the federation as it is before the first round.

        Parameters
        ----------
        settings : RunSettings
            The settings, with the number of silos that there are.
        parts : Parts
            The data and the pretrained network; they stay as they are.
        registry : NodeRegistry
            Knows which node is which silo.
        shared : bool
            Whether messages may hold tensors of this process, see `Wire.takes_shared_arrays`.

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
        _check_selection(settings, parts.data)
        return cls(
            settings, model, build_strategy(settings, model, registry, len(parts.data.class_names), shared), examiner
        )

    def resume(self, start: Start) -> None:
        """Continue an interrupted run; do nothing if there was none.

        Raises
        ------
        WeightsError
            If the checkpoint is of another network.
        """
        if start.state is None:
            return
        server = start.server or {}
        statistics = {n.removeprefix(_STATISTICS): t for n, t in server.items() if n.startswith(_STATISTICS)}
        try:
            if self._reestimates:
                if not statistics:
                    raise ValueError("it lacks the statistics of batch norm")
                self._start_from(statistics)
            self.strategy.load_state({n: t for n, t in server.items() if not n.startswith(_STATISTICS)})
            self.model.resume(start.round - 1, start.state, start.structure)
        except ValueError as error:
            raise WeightsError(f"{self.settings.output}: the checkpoint is of another network: {error}") from error

    def state(self) -> dict[str, Tensor]:
        """Return what the server remembers beside the model, for a run that goes on; empty if nothing."""
        return {**self.strategy.state(), **{f"{_STATISTICS}{name}": t for name, t in self._statistics.items()}}

    def rounds(self, wire: Wire, first: int, tell: Tell) -> Iterator[Round]:
        """Run the rounds from ``first`` on; see `run_rounds`. What comes before round 1 counts as a part of it."""
        self.strategy.summary()
        settings = self.settings
        told = for_real_silos(settings) if settings.has_real_silos else settings
        config = ConfigRecord({SETTINGS: told.to_json()})
        seconds, up, down = time.perf_counter(), wire.bytes_up, wire.bytes_down
        if first == 1 and self._reestimates:
            self._reestimate(wire, config)
        seconds, up, down = time.perf_counter() - seconds, wire.bytes_up - up, wire.bytes_down - down
        rounds = run_rounds(
            self.strategy,
            wire,
            self.model.arrays(wire.takes_shared_arrays),
            first=first,
            last=settings.rounds,
            timeout=settings.executor.round_timeout,
            enter=self.model.enter,
            evaluate=self._evaluate,
            evaluate_every=settings.evaluate_every,
            config=config,
            keep_replies=self.examiner is not None,
            tell=tell,
        )
        for finished in rounds:
            if finished.number == 1:
                finished.seconds += seconds
                finished.bytes_up += up
                finished.bytes_down += down
            yield finished

    def ask_audits(self, wire: Wire) -> None:
        """Ask real silos for the ends of their audit logs, once all rounds are over."""
        if self.settings.has_real_silos:
            self.audits = ask_audit_heads(wire, self.strategy.registry, self.settings.silos)

    @property
    def _reestimates(self) -> bool:
        return self.settings.method.gate_statistics == "reestimated"

    def _reestimate(self, wire: Wire, config: ConfigRecord) -> None:
        """Ask the silos for the statistics of batch norm on their training images, and start from these."""
        settings, registry, network = self.settings, self.strategy.registry, self.model.quantitative
        nodes = registry.update(wire)
        registry.ask_examples(wire, nodes, config, settings.executor.round_timeout)
        size, device = settings.backbone.image_size, next(network.parameters()).device
        image = torch.zeros(1, settings.backbone.in_channels, size, size, device=device)
        statistics = ask_statistics(
            wire,
            nodes,
            self.model.arrays(wire.takes_shared_arrays),
            config,
            registry=registry,
            values=values_of_one_image(network, image),
            channels={name: len(norm.get_buffer("running_mean")) for name, norm in batch_norms(network).items()},
            min_replies=settings.min_replies,
            max_examples=settings.max_examples,
            timeout=settings.executor.round_timeout,
        )
        self._start_from(statistics)

    def _start_from(self, statistics: dict[str, Tensor]) -> None:
        self._statistics = statistics
        self.model.load_statistics(statistics)
        if self.examiner is not None:
            self.examiner.refer()

    def _evaluate(self, averaged: ArrayRecord) -> dict[str, Evaluation]:
        """Evaluate the average, or, where each silo has a model of its own, these."""
        if isinstance(self.strategy.inner, LocalModels):
            return self.model.evaluate_all(averaged, self.strategy.inner.models.values())
        return self.model.evaluate(averaged)


def _check_selection(settings: RunSettings, data: ServerData) -> None:
    """Raise an error if the measure that chooses the best round will be undefined in every round.

    Raises
    ------
    ConfigurationError
        With ``select_by`` and what is wanted.
    """
    if settings.select_by in ("accuracy", "loss"):
        return
    validation, told = data.validation, f"select_by={settings.select_by}"
    if len(validation) == 0 and settings.silo_measures == "basic":
        raise ConfigurationError(f"{told}: needs silo_measures=counts or confusion where the server has no data.path")
    present = set(validation.labels.tolist())
    lacking = [name for label, name in enumerate(data.class_names) if label not in present]
    if settings.select_by == "auroc" and len(validation) and lacking:
        raise ConfigurationError(f"{told}: is undefined, since the validation set lacks class {lacking[0]}")
