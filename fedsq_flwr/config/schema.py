"""The one schema of every setting: types and meanings here, values in ``fedsq_flwr/conf``.

Each field is ``MISSING`` on purpose: a default stands in one place only, the YAML files, and a YAML
file that forgets one is an error. Hydra checks the types; ``validation.py`` checks the values.
"""

from dataclasses import dataclass, field

from omegaconf import MISSING


@dataclass
class DataConfig:
    """Which images, and what each silo keeps back to judge the model on its own data."""

    name: str = MISSING  # in fedsq_flwr/data/sources.py or published.py | imagefolder
    path: str | None = MISSING  # imagefolder: the folder, the server's of real silos; published: files, null: the hub
    revision: str | None = MISSING  # published: commit of the hub, where no path is given
    classes: list[str] | None = MISSING  # names of those that count, in the order of the labels; null: all there are
    limit: int | None = MISSING  # at most so many samples outside the test set, classes in proportion; null: all
    test_limit: int | None = MISSING  # likewise of the test set, and of a validation set that the data come with
    unreadable: str = MISSING  # imagefolder, a file that cannot be read: fail | skip (and count)
    test_fraction: float = MISSING  # imagefolder: of the samples, for the test set, where there is no test folder
    augmentation: str = MISSING  # none | flip | flip_crop: of training images, in every method
    held_out_fraction: float = MISSING  # of a silo's samples, never trained on
    min_held_out: int = MISSING  # fewest held-out samples; a silo under twice this holds none out


@dataclass
class PretrainingConfig:
    """How ``backbone.weights=mnist`` is made; ignored for weights from a file."""

    epochs: int = MISSING
    batch_size: int = MISSING
    learning_rate: float = MISSING  # peak of a one-cycle schedule
    seed: int = MISSING


@dataclass
class BackboneConfig:
    """The pretrained network that both copies start from."""

    name: str = MISSING  # a network in fedsq_flwr/models/backbones.py
    weights: str = MISSING  # mnist (trained here) | random | torchvision's name | a file | a run | hf:owner/name
    in_channels: int = MISSING
    image_size: int = MISSING  # pixels a side; images are resized to it
    mean: list[float] | None = MISSING  # of the pixels, by channel or one for all; null: as the weights state
    deviation: list[float] | None = MISSING
    head: str = MISSING  # zeros | normal | keep: the quantitative copy's last layer at the start
    pretraining: PretrainingConfig = field(default_factory=PretrainingConfig)


@dataclass
class PartitionConfig:
    """How the training samples are shared out among the silos."""

    name: str = MISSING  # iid | dirichlet | pathological | shards | quantity | natural | file
    alpha: float = MISSING  # Dirichlet concentration, of the classes or of the sizes: small means silos that differ
    classes_per_silo: int = MISSING  # pathological
    shards_per_silo: int = MISSING  # shards, each of mostly one class
    groups: str = MISSING  # natural: CSV file in the folder of images that says which group each is of
    merge_groups: bool = MISSING  # natural: several groups may be one silo
    min_size: int = MISSING  # fewest samples of a silo
    seed: int | None = MISSING  # of all splits of the data; null: the run's
    file: str | None = MISSING  # file: a run's partition.json, or the run's directory


@dataclass
class MethodConfig:
    """A method is a pair: where the gates come from, and how replies are averaged."""

    name: str = MISSING
    gates: str = MISSING  # pretrained | random (a control) | none: the network's own ReLUs
    pool_gates: bool = MISSING  # whether winners of max-pooling are gates too; true where there are no gates
    gated_from: float = MISSING  # where among the gates, from the input on, the fixed ones begin, as a share of them
    gated_to: float = MISSING  # where they end
    aggregation: str = MISSING  # fedavg | fedprox | fedavgm | fedadam | fedmedian | none: each silo's own model
    weighting: str = MISSING  # examples | uniform: what a reply counts in the average
    pooled: bool = MISSING  # all training samples are in one place: the run has one silo
    mu: float = MISSING  # weight of FedProx's proximal term, 0 without it
    server_learning_rate: float = MISSING  # of FedAvgM and FedAdam, 1 without them
    server_momentum: float = MISSING  # of FedAvgM; of FedAdam beta 1; 0 without them
    beta2: float = MISSING  # of FedAdam, 0 without it
    tau: float = MISSING  # of FedAdam, 0 without it
    freeze_after: int = MISSING  # own ReLUs in so many rounds; then the global model gives the gates. 0: at once
    refresh_every: int = MISSING  # rounds after which the global model gives the gates; 0: never
    release_after: int = MISSING  # rounds under fixed gates; then own ReLUs. 0: never


@dataclass
class ExecutorConfig:
    """Where the silos run, and what each is given."""

    name: str = MISSING  # simulation (Ray, through `flwr run`) | inprocess | silos (a SuperLink that is there)
    superlink: str | None = MISSING  # silos: host:port of the SuperLink
    root_certificates: str | None = MISSING  # silos: file of the authority that it is verified by; null: the system's
    insecure: bool = MISSING  # silos: plain HTTP instead, for trials on one machine
    structure: str = MISSING  # own: of each silo's weights | sent: by the server, once. Changes no number
    join_timeout: float = MISSING  # seconds to wait for silos to connect
    client_cpus: int = MISSING  # CPUs that Ray reserves for a silo at work
    client_gpus: float = MISSING  # share of a GPU, likewise
    threads: int = MISSING  # torch threads of a silo at work; part of what fixes the numbers
    workers: int = MISSING  # silos trained side by side (in-process only); 0: as the cores allow. Changes no number
    device: str = MISSING  # auto | cpu | cuda | cuda:N | mps
    precision: str = MISSING  # float32 | bfloat16 (autocast)
    kernels: str = MISSING  # torch | native (C++, compiled on first use) to apply gates. Changes no number
    gate_cache_bytes: int = MISSING  # budget of a process for gates that it keeps; 0 keeps none. Changes no number
    gate_cache_dir: str | None = MISSING  # keep them in files here, for other processes too; null: in memory
    round_timeout: float = MISSING  # seconds to wait for the replies of a round


@dataclass
class Config:
    """Everything that a run depends on."""

    experiment: str = MISSING
    calibration: str | None = MISSING  # file of `fedsq calibrate`, whose values are put in before anything else
    seed: int = MISSING
    rounds: int = MISSING
    silos: int = MISSING
    participation: float = MISSING  # fraction of the silos that train in a round
    min_silos: int | None = MISSING  # fewest silos that must be connected for a round to begin; null: all
    min_replies: int = MISSING  # a round with fewer usable replies ends the run
    evaluate_every: int = MISSING  # rounds after which the silos evaluate; they do after the last in any case
    wire: str = MISSING  # float32 | float16 | bfloat16: of arrays that travel
    local_epochs: int = MISSING
    batch_size: int = MISSING
    learning_rate: float = MISSING
    learning_rate_schedule: str = MISSING  # constant | cosine, over the rounds, the same for every method
    momentum: float = MISSING
    weight_decay: float = MISSING
    batch_norm: str = MISSING  # batch | frozen | local, the same for every method
    head_first_rounds: int = MISSING  # in so many first rounds only the head learns, in every method
    validation_fraction: float = MISSING  # of the samples that are not the test set
    diagnostics: bool = MISSING  # gate flips, averaging gap and drift, into each line of the history
    diagnostics_size: int = MISSING  # images of the validation set, the first ones, that they look at
    output: str = MISSING  # the run's directory
    resume: bool = MISSING  # go on from output/checkpoints/last
    trackers: list[str] = MISSING  # tensorboard | mlflow | wandb, any of them. Changes no number
    cache_dir: str = MISSING  # weights that were pretrained here
    data: DataConfig = field(default_factory=DataConfig)
    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    partition: PartitionConfig = field(default_factory=PartitionConfig)
    method: MethodConfig = field(default_factory=MethodConfig)
    executor: ExecutorConfig = field(default_factory=ExecutorConfig)
