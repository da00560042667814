"""Flower's side of FedSQ: the strategy, the client, what is said between them, and the rounds."""

from fedsq_flwr.federation.answers import answer_evaluate, answer_query, answer_statistics, answer_train
from fedsq_flwr.federation.client import FedSQClient
from fedsq_flwr.federation.strategy import FedSQ

__all__ = ["FedSQ", "FedSQClient", "answer_evaluate", "answer_query", "answer_statistics", "answer_train"]
