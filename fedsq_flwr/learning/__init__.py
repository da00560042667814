"""Local training, evaluation and metrics: plain PyTorch, the same loop for every method."""

from fedsq_flwr.learning.augmentation import AUGMENTATIONS
from fedsq_flwr.learning.evaluation import Evaluation, evaluate
from fedsq_flwr.learning.measures import Measures, Predictions
from fedsq_flwr.learning.pretraining import PretrainingSettings, pretrain
from fedsq_flwr.learning.seeding import derive_seed
from fedsq_flwr.learning.threads import torch_threads
from fedsq_flwr.learning.training import TrainingResult, TrainingSettings, train_locally

__all__ = [
    "AUGMENTATIONS",
    "Evaluation",
    "Measures",
    "Predictions",
    "PretrainingSettings",
    "TrainingResult",
    "TrainingSettings",
    "derive_seed",
    "evaluate",
    "pretrain",
    "torch_threads",
    "train_locally",
]
