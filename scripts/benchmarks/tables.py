"""Alternating repeats, paired ratios, and the tables that are printed."""

import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

Seconds = dict[str, list[float]]


def alternate(arms: Mapping[str, Callable[[], object]], repeats: int, warm_up: int = 2) -> Seconds:
    """Time every arm ``repeats`` times, one after the other, each time from another one on."""
    for _ in range(warm_up):
        for arm in arms.values():
            arm()
    names = list(arms)
    seconds: Seconds = {name: [] for name in names}
    for repeat in range(repeats):
        first = repeat % len(names)
        for name in names[first:] + names[:first]:
            started = time.perf_counter()
            arms[name]()
            seconds[name].append(time.perf_counter() - started)
    return seconds


def ratios(seconds: Seconds, name: str) -> list[float]:
    """Return the ratios of ``name`` to the plain network, pair by pair."""
    return [ours / plain for ours, plain in zip(seconds[name], seconds["plain"], strict=True)]


def interval(values: Sequence[float]) -> str:
    """Return the median and its 95 % bootstrap interval."""
    draws = np.random.default_rng(0).choice(values, (2000, len(values)))
    low, high = np.percentile(np.median(draws, axis=1), [2.5, 97.5])
    return f"{statistics.median(values):.2f} [{low:.2f}, {high:.2f}]"


def geometric_mean(networks: Sequence[Sequence[float]]) -> str:
    """Return the geometric mean over networks of their median ratios, and its 95 % bootstrap interval."""
    generator = np.random.default_rng(0)
    draws = [np.median(generator.choice(values, (2000, len(values))), axis=1) for values in networks]
    low, high = np.percentile(np.exp(np.mean(np.log(draws), axis=0)), [2.5, 97.5])
    mean = statistics.geometric_mean(statistics.median(values) for values in networks)
    return f"{mean:.2f} [{low:.2f}, {high:.2f}]"


def print_ratios(
    title: str, columns: Sequence[str], found: Mapping[str, tuple[float, dict[str, list[float]]]]
) -> None:
    """Print a Markdown table: a line a network, paired ratios to the plain network, and their geometric mean."""
    print(f"| {title} | plain | {' | '.join(columns)} |\n|---|---|{'---|' * len(columns)}")
    for network, (plain, by_arm) in found.items():
        print(f"| {network} | {1000 * plain:.0f} ms | {' | '.join(interval(by_arm[c]) for c in columns)} |")
    if len(found) > 1:
        means = [geometric_mean([by_arm[c] for _, by_arm in found.values()]) for c in columns]
        print(f"| geometric mean | | {' | '.join(means)} |", flush=True)


def machine(threads: int, repeats: int) -> str:
    """Name what this runs on."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    model = next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine()
    )
    load = os.getloadavg()[0]
    return (
        f"{model}, {os.cpu_count()} cores, {threads} threads, torch {torch.__version__}, batch 32, float32; "
        f"load at the start {load:.1f}\n"
        f"Medians of {repeats} alternating repeats, in brackets a 95 % bootstrap interval."
    )
