"""The names that modules imported from here before they were in `protocol` and `answers`."""

from fedsq_flwr.federation.answers import answer_evaluate, answer_query, answer_train
from fedsq_flwr.federation.protocol import ARRAYS, CONFIG, ROUND, UNREADABLE, WEIGHT, count_bytes, round_of

__all__ = [
    "ARRAYS",
    "CONFIG",
    "ROUND",
    "UNREADABLE",
    "WEIGHT",
    "answer_evaluate",
    "answer_query",
    "answer_train",
    "count_bytes",
    "round_of",
]
