"""The learning rate over rounds, the same for every method: constant, or half a cosine.

The source is silent; FedAvg's analyses ask for a rate that falls, and half a cosine (Loshchilov and Hutter,
2017, arXiv 1608.03983, without restarts) has no setting of its own. By rounds and not by steps: every silo of
a round then has the same rate, however many samples it has (our choice).
"""

import math

SCHEDULES = ("constant", "cosine")


def rate_factor(schedule: str, server_round: int, rounds: int) -> float:
    """Return the factor of the learning rate in round ``server_round``.

    Parameters
    ----------
    schedule : {"constant", "cosine"}
        Constant: 1. Cosine: ``(1 + cos(pi (r - 1) / R)) / 2``, from 1 in round 1 towards 0 after round R.
    server_round : int
        r, from 1.
    rounds : int
        R, of the whole run; without effect on a constant rate.

    Raises
    ------
    ValueError
        If the schedule is unknown, or the round is not one of the run's.
    """
    if schedule not in SCHEDULES:
        raise ValueError(f"schedule={schedule!r}: allowed are {', '.join(SCHEDULES)}")
    if schedule == "constant":
        return 1.0
    if not 1 <= server_round <= rounds:
        raise ValueError(f"round {server_round} is not one of {rounds} rounds, which the learning rate falls over")
    return 0.5 * (1 + math.cos(math.pi * (server_round - 1) / rounds))
