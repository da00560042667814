"""All settings of a run, and what they require of each other."""

import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from fedsq_flwr.errors import ConfigurationError
from fedsq_flwr.settings.backbone import AnyBackbone, CifarBackbone
from fedsq_flwr.settings.base import Settings, Several, Text
from fedsq_flwr.settings.data import AnyData, Digits, ImageFolderData
from fedsq_flwr.settings.executor import AnyExecutor, InProcess, RealSilos, Simulation
from fedsq_flwr.settings.fields import Fact
from fedsq_flwr.settings.method import ClippedUpdates, FixedGates, LocalModels, MethodSettings, PretrainedGates
from fedsq_flwr.settings.partition import AnyPartition, Dirichlet

Fraction = Annotated[float, Field(gt=0, le=1)]
Count = Annotated[int, Field(ge=1)]
Tracker = Literal["tensorboard", "mlflow", "wandb"]
#: What can choose the best round; of the loss the lowest, of the others the highest.
Selection = Literal["accuracy", "loss", "balanced_accuracy", "macro_f1", "auroc"]
#: Settings that version 0.1 called otherwise.
RENAMED: Mapping[str, str] = MappingProxyType(
    {
        "participation": "fraction_train",
        "min_silos": "min_available_silos",
        "wire": "wire_dtype",
        "head_first_rounds": "linear_probing_rounds",
        "backbone.deviation": "backbone.std",
        "method.beta2": "method.beta_2",
    }
)
#: Ten times the training samples of ImageNet.
MAX_EXAMPLES = 10_000_000
#: Honest silos of very different sizes stay below.
MAX_UPDATE_RATIO = 10.0
#: The most characters of a run's settings as JSON; real ones have about 2,000.
MAX_JSON = 2**18
#: More epochs and steps than a round ever has.
MOST_EPOCHS, MOST_STEPS = 10**6, 10**9


class RunSettings(Settings):
    """Everything that a run depends on.

    The fields from `data` on are groups, each a choice among classes of its own. All others are settings of every
    run.
    """

    #: What is said of settings of version 0.1 that are gone.
    renamed: ClassVar[Mapping[str, str]] = MappingProxyType(
        {old: f"is called {new} since version 0.2" for old, new in RENAMED.items()}
        | {"method.release_over": "was removed in version 0.2"}
    )

    experiment: Annotated[Text, Fact.NOT_COMPARED]
    """Name of the preset, a file in ``conf/experiment``."""
    calibration: Annotated[Text | None, Fact.NO_NUMBER, Fact.PATH] = None
    """File of ``fedsq calibrate`` whose values are used."""
    seed: Annotated[int, Field(ge=0), Fact.NOT_COMPARED] = 0
    """Seed of every random stream of the run."""
    rounds: Annotated[int, Field(ge=1), Fact.CONDITION, Fact.RESUMABLE] = 10
    """Rounds of training and averaging."""
    silos: Annotated[int, Field(ge=1), Fact.CONDITION, Fact.SHARING] = 10
    """Silos of the federation."""
    fraction_train: Annotated[Fraction, Fact.CONDITION, Fact.SHARING] = 1.0
    """Fraction of the silos that train in a round."""
    fraction_evaluate: Annotated[float, Field(ge=0, le=1), Fact.CONDITION, Fact.SHARING] = 1.0
    """Fraction of the silos that evaluate the averaged model on their own data in a round, the last one too."""
    evaluate_every: Annotated[Count, Fact.CONDITION] = 1
    """Rounds after which silos evaluate; ``fraction_evaluate`` of them do after the last round in any case."""
    silo_measures: Annotated[Literal["basic", "counts", "confusion"], Fact.NOT_COMPARED, Fact.RESUMABLE] = "basic"
    """What silos report of their held-out samples: loss and accuracy; also counts by class, calibration and AUROC; or
    also the confusion matrix."""
    select_by: Annotated[Selection, Fact.CONDITION] = "accuracy"
    """Validation measure that chooses the best round, stops a run early, calibrates and compares."""
    stop_after: Annotated[int, Field(ge=0), Fact.CONDITION, Fact.RESUMABLE] = 0
    """Rounds without an improvement by ``select_by`` after which the run ends early; 0: never."""
    stop_min_delta: Annotated[float, Field(ge=0), Fact.CONDITION, Fact.RESUMABLE] = 0.0
    """Smallest difference of ``select_by`` that is an improvement for ``stop_after``."""
    min_available_silos: Annotated[Count | None, Fact.CONDITION, Fact.SHARING, Fact.RESUMABLE] = None
    """Fewest silos that must be connected before a round begins; null: all before the first round, and later, of real
    silos, ``executor.reply_fraction`` of them."""
    min_replies: Annotated[Count, Fact.CONDITION, Fact.SHARING] = 1
    """Fewest usable replies of a round of training; with fewer the run ends."""
    max_examples: Annotated[int, Field(ge=1, le=2**53), Fact.CONDITION, Fact.SHARING, Fact.RESUMABLE] = MAX_EXAMPLES
    """Most training or held-out samples of a silo; a reply that is of more is not used."""
    max_update_ratio: Annotated[float, Field(ge=0), Fact.CONDITION, Fact.SHARING, Fact.RESUMABLE] = MAX_UPDATE_RATIO
    """Largest norm of a reply's update, in multiples of the largest median of an earlier round; 0: no bound."""
    wire_dtype: Literal["float32", "float16", "bfloat16"] = "float32"
    """What floating-point arrays are rounded to when they travel."""
    local_epochs: Annotated[Annotated[float, Field(gt=0, le=MOST_EPOCHS)] | None, Fact.CONDITION] = None
    """Epochs of local training in a round, also a fraction: the first steps of the epoch, rounded up; null: 1, or as
    ``local_steps`` says."""
    local_steps: Annotated[int, Field(ge=0, le=MOST_STEPS), Fact.CONDITION] = 0
    """Steps of local training in a round, in place of ``local_epochs``; 0: by epochs."""
    batch_size: Annotated[int, Field(ge=2)] = 32
    """Samples of a batch in local training."""
    learning_rate: Annotated[float, Field(gt=0)] = 0.1
    """Learning rate of local training in the first round."""
    learning_rate_schedule: Literal["constant", "cosine"] = "constant"
    """How the learning rate changes from round to round."""
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """Momentum of local training; momentum does not last from round to round."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    """Weight decay of local training."""
    batch_norm: Literal["batch", "frozen", "local"] = "batch"
    """Batch-norm policy of every method: batch statistics, frozen statistics, or batch norm local to each silo."""
    linear_probing_rounds: Annotated[int, Field(ge=0)] = 0
    """First rounds in which only the head learns, in every method."""
    validation_fraction: Annotated[float, Field(gt=0, lt=1), Fact.CONDITION] = 0.1
    """Fraction of the samples outside the test set that the server keeps for validation."""
    diagnostics: Annotated[bool, Fact.NOT_COMPARED, Fact.RESUMABLE] = False
    """Whether each round measures gate flips, averaging gap and weight drift."""
    diagnostics_size: Annotated[int, Field(ge=8), Fact.NOT_COMPARED] = 64
    """Images of the validation set that the diagnostics look at, the first ones."""
    output: Annotated[Text, Fact.PATH, Fact.NO_NUMBER] = "runs/run"
    """Directory of the run."""
    resume: Annotated[bool, Fact.NO_NUMBER] = False
    """Whether to continue the run in ``output`` after its last finished round."""
    trackers: Annotated[Several[Tracker], Fact.NO_NUMBER] = ()
    """Experiment trackers: tensorboard, mlflow, wandb."""
    cache_dir: Annotated[Text, Fact.PATH, Fact.NO_NUMBER] = "~/.cache/fedsq_flwr"
    """Folder for weights that were pretrained here, decoded images and compiled kernels."""
    data: AnyData = Digits()
    backbone: AnyBackbone = CifarBackbone()
    partition: AnyPartition = Dirichlet()
    method: MethodSettings = MethodSettings()
    executor: AnyExecutor = Simulation()

    @property
    def has_real_silos(self) -> bool:
        """Whether the silos are processes of their own, with data of their own."""
        return isinstance(self.executor, RealSilos)

    @property
    def model_for_silos(self) -> Literal["none", "best", "final"]:
        """Which model real silos are sent for their own use."""
        of_its_own = self.batch_norm == "local" or self.method.aggregation == "none"
        return "none" if of_its_own or not isinstance(self.executor, RealSilos) else self.executor.send_model

    @property
    def silos_validate(self) -> bool:
        """Whether the server has no data, so that the silos' held-out samples are the validation set."""
        return self.has_real_silos and isinstance(self.data, ImageFolderData) and self.data.path is None

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read settings that travelled as JSON.

        Raises
        ------
        ConfigurationError
            If the text is no JSON object, is too long, or holds a value that is not allowed.
        """
        if len(text) > MAX_JSON:
            raise ConfigurationError(f"settings: {len(text):,} characters; allowed are {MAX_JSON:,}")
        try:
            data = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ConfigurationError(f"settings: no JSON: {error}") from error
        if not isinstance(data, dict):
            raise ConfigurationError(f"settings: {type(data).__name__} where a JSON object is expected")
        return cls.parse(data)

    def to_json(self) -> str:
        """Return the settings as one line of JSON, from which `from_json` makes equal settings."""
        return json.dumps(self.plain())

    @model_validator(mode="before")
    @classmethod
    def _by_epochs(cls, data: Any) -> Any:
        """Settle on one epoch where neither epochs nor steps are given."""
        if isinstance(data, Mapping) and data.get("local_epochs") is None and data.get("local_steps", 0) == 0:
            return {**data, "local_epochs": 1.0}
        return data

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        self._check_numbers()
        self._check_selection()
        self._check_method()
        self._check_data()
        self._check_executor()
        return self

    def _check_numbers(self) -> None:
        self.require(self.output.strip() != "", "output", "must name a directory")
        if self.local_epochs is not None:
            one = f"must be 0 with local_epochs={self.local_epochs:g}: give one of them, or local_epochs=null"
            self.require(self.local_steps == 0, "local_steps", one)
        sampled = max(1, int(self.silos * self.fraction_train))
        self.require(self.min_replies <= sampled, "min_replies", f"at most the {sampled} silos of a round")
        enough = self.min_available_silos is None or self.min_available_silos <= self.silos
        allowed = f"must be null or 1 to {self.silos}, the number of silos"
        self.require(enough, "min_available_silos", allowed)
        self.require(len(set(self.trackers)) == len(self.trackers), "trackers", "each at most once")
        kept = "not with batch_norm=local: the silos keep their batch norm for the length of a run only"
        self.require(not (self.resume and self.batch_norm == "local"), "resume", kept)

    def _check_selection(self) -> None:
        plain = self.select_by in ("accuracy", "loss")
        alone = "must be accuracy or loss where method.aggregation is none: there is no global model"
        self.require(plain or self.method.aggregation != "none", "select_by", alone)

    def _check_method(self) -> None:
        method, gating = self.method, self.method.gating
        alone = not method.pooled or self.silos == 1
        self.require(alone, "silos", "must be 1 where method.pooled: one silo has all samples")
        if isinstance(gating, FixedGates):
            from_average = {"refresh_every": gating.refresh_every}
            if isinstance(gating, PretrainedGates):
                from_average["freeze_after"] = gating.freeze_after
            for name, rounds in from_average.items():
                local = "must be 0 with batch_norm=local: no batch norm is averaged"
                self.require(rounds == 0 or self.batch_norm != "local", f"method.{name}", local)
                own = "must be 0 where method.aggregation is none: there is no global model"
                self.require(rounds == 0 or method.aggregation != "none", f"method.{name}", own)
        if method.gate_statistics == "reestimated":
            travel = f"must be pretrained with batch_norm={self.batch_norm}, under which no statistics travel"
            self.require(self.batch_norm == "batch", "method.gate_statistics", travel)
            control = "must be pretrained where method.gates is random: the random network has statistics of its own"
            self.require(method.gates != "random", "method.gate_statistics", control)
            none = f"must be pretrained for {self.backbone.name}, which has no batch norm"
            self.require(self.backbone.network.batch_norm, "method.gate_statistics", none)
        if isinstance(method.averaging, LocalModels):
            self.require(not self.diagnostics, "diagnostics", "must be false where method.aggregation is none")
        if isinstance(method.central_privacy, ClippedUpdates):
            self._check_central_privacy(method, f"with method.privacy={method.central_privacy.privacy}")

    def _check_central_privacy(self, method: MethodSettings, here: str) -> None:
        mean = f"must be fedavg or fedprox {here}, whose noise is that of a mean of clipped updates"
        self.require(method.aggregation in ("fedavg", "fedprox"), "method.aggregation", mean)
        alike = f"must be uniform {here}: no silo may count more than another"
        self.require(method.weighting == "uniform", "method.weighting", alike)
        negative = f"must be frozen {here}: noise would make running variances negative"
        self.require(self.batch_norm == "frozen", "batch_norm", negative)
        others = f"must be 0 {here}: whom it leaves out depends on other silos' updates, and every update is clipped"
        self.require(self.max_update_ratio == 0, "max_update_ratio", others)

    def _check_data(self) -> None:
        data = self.data
        if isinstance(data, ImageFolderData):
            self.require(data.path is not None or self.has_real_silos, "data.path", "must name a folder of images")
            for name in ("limit", "test_limit"):
                whole = getattr(data, name) is None or not self.has_real_silos
                learn = "must be null for real silos, which learn from all that they have"
                self.require(whole, f"data.{name}", learn)

    def _check_executor(self) -> None:
        executor = self.executor
        own = f"must be own with batch_norm={self.batch_norm}, whose statistics are those of the silo's own weights"
        self.require(executor.structure != "sent" or self.batch_norm == "batch", "executor.structure", own)
        if isinstance(executor, InProcess):
            alone = executor.workers <= 1 or not self.backbone.network.dropout
            shared = (
                f"must be 0 or 1 in-process for {self.backbone.name}: threads would share its dropout's generator"
            )
            self.require(alone, "executor.workers", shared)
