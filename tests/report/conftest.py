"""Small run directories, as a run leaves them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from fedsq_flwr.files import check_as
from fedsq_flwr.records.history import Line, parse_line
from fedsq_flwr.records.summary import Summary
from fedsq_flwr.settings.run import RunSettings
from fedsq_flwr.settings.variants import drop_other_variants


class RunFiles:
    """The contents of a run's directory, to be changed before they are written."""

    def __init__(self, directory: Path, rounds: int, silos: int, classes: int) -> None:
        draw = np.random.default_rng(7)
        self.directory = directory
        self.settings = RunSettings.parse({"experiment": "digits", "rounds": rounds, "silos": silos}).plain()
        counts = draw.multinomial(1800 // classes, draw.dirichlet([0.5] * silos, classes)).T
        counts[range(silos), counts.argmax(axis=1)] += 10
        sizes = counts.sum(axis=1)
        held_out = np.where(sizes >= 60, sizes // 10, 0)
        self.partition: dict[str, Any] = {
            "name": "dirichlet",
            "alpha": 0.5,
            "seed": 0,
            "class_names": [str(number) for number in range(classes)],
            "counts": counts.tolist(),
            "held_out": held_out.tolist(),
            "validation": 144,
            "test": 360,
            "indices": [list(map(int, range(sizes[:silo].sum(), sizes[: silo + 1].sum()))) for silo in range(silos)],
        }
        levels = draw.uniform(-0.2, 0.05, silos)
        self.history = [
            self._round(number, silos, [silo for silo in range(silos) if held_out[silo]], levels)
            for number in range(1, rounds + 1)
        ]
        self.summary: dict[str, Any] | None = self._summary(rounds, silos, sizes, held_out)

    def _round(self, number: int, silos: int, evaluated: list[int], levels: Any) -> dict[str, Any]:
        reached = 0.95 - 0.6 * 0.6**number - 0.01 * (number % 3)
        accuracies = {str(silo): round(min(1.0, reached + levels[silo]), 4) for silo in evaluated}
        values = list(accuracies.values())
        return {
            "round": number,
            "train_loss": round(2.1 * 0.7**number, 4),
            "loss": round(0.2 + 1.9 * 0.65**number, 4),
            "accuracy": round(reached, 4),
            "test_loss": round(0.23 + 1.9 * 0.65**number, 4),
            "test_accuracy": round(reached - 0.012, 4),
            "seconds": round(2.0 + 1.5 / number, 2),
            "train_seconds": 1.7,
            "sampled": silos,
            "replies": silos,
            "dropped": [],
            "silo_accuracies": accuracies,
            "silo_accuracy_mean": round(float(np.mean(values)), 4) if values else None,
            "silo_accuracy_worst": min(values, default=None),
            "silo_accuracy_std": round(float(np.std(values)), 4) if values else None,
            "bytes_up": 1_090_000 * silos,
            "bytes_down": 1_090_000 * silos,
        }

    def _summary(self, rounds: int, silos: int, sizes: Any, held_out: Any) -> dict[str, Any]:
        best = max(self.history, key=lambda line: (line["accuracy"], -line["round"]))
        return {
            "schema": 1,
            "experiment": "digits",
            "method": "fedsq",
            "backbone": "resnet20",
            "data": "digits",
            "partition": "dirichlet",
            "alpha": 0.5,
            "silos": silos,
            "seed": 0,
            "rounds": rounds,
            "learning_rate": 0.1,
            "batch_norm": "batch",
            "best_accuracy": best["accuracy"],
            "rounds_to_best": best["round"],
            "accuracy_auc": 0.8312,
            "test_accuracy": best["test_accuracy"],
            "final_accuracy": self.history[-1]["test_accuracy"],
            "per_silo": [
                {
                    "silo": silo,
                    "train": int(sizes[silo] - held_out[silo]),
                    "held_out": int(held_out[silo]),
                    "accuracy": best["silo_accuracies"].get(str(silo)),
                }
                for silo in range(silos)
            ],
            "silo_accuracy_mean": best["silo_accuracy_mean"],
            "silo_accuracy_worst": best["silo_accuracy_worst"],
            "silo_accuracy_std": best["silo_accuracy_std"],
            "bytes_up": 1_090_000 * silos * rounds,
            "bytes_down": 1_090_000 * silos * rounds,
            "wall_seconds": 41.2,
            "train_seconds": 20.1,
            "fingerprint": "3f" * 32,
            "weights_sha256": "9c" * 32,
            "versions": {"fedsq_flwr": "0.1.0", "python": "3.11.7", "torch": "2.14.1", "flwr": "1.41.0"},
        }

    def diagnose(self, layers: list[str], *numbers: int) -> None:
        """Let the rounds named have diagnostics; flips grow from layer to layer and from round to round."""
        for number in numbers:
            self.history[number - 1]["diagnostics"] = {
                "images": 64,
                "flip_rate": 0.01 * number,
                "layers": [
                    {
                        "layer": layer,
                        "kind": "max_pool" if "pool" in layer else "relu",
                        "gates": 100,
                        "flip_rate": round(0.01 * number + 0.001 * place, 4),
                        "density": None if "pool" in layer else 0.5,
                        "own_density": None if "pool" in layer else 0.4,
                    }
                    for place, layer in enumerate(layers)
                ],
                "averaging": {"states": 10, "gap": 0.5, "spread": 8.0, "relative": 0.0625},
                "drift": {"mean": 1.5, "of_mean": 1.0, "start": 43.0},
            }

    def drop(self, number: int, silo: int, reason: str) -> None:
        """Let a silo's reply be refused in a round."""
        line = self.history[number - 1]
        line["dropped"].append({"silo": silo, "reason": reason})
        line["replies"] -= 1

    def stop_after(self, rounds: int) -> None:
        """Let the run die: no summary, fewer rounds."""
        self.history = self.history[:rounds]
        self.summary = None

    def set(self, **settings: Any) -> None:
        """Give settings other values; a double underscore stands for the dot in their names."""
        for dotted, value in settings.items():
            group, _, name = dotted.rpartition("__")
            (self.settings[group] if group else self.settings)[name] = value

    def lines(self) -> list[Line]:
        """The rounds as a run's own process has them."""
        return [parse_line(json.dumps(line), "a line") for line in self.history]

    def summed(self) -> Summary:
        """The summary as a run's own process has it."""
        return check_as(Summary, self.summary, "the summary")

    def write(self) -> Path:
        """Write the directory and say where it is."""
        self.directory.mkdir(parents=True, exist_ok=True)
        settings = RunSettings.parse(drop_other_variants(self.settings)).plain()
        (self.directory / "config.yaml").write_text(yaml.safe_dump(settings, sort_keys=False))
        lines = [json.dumps(line) + "\n" for line in self.history]
        (self.directory / "history.jsonl").write_text("".join(lines))
        (self.directory / "partition.json").write_text(json.dumps(self.partition))
        if self.summary is not None:
            (self.directory / "summary.json").write_text(json.dumps(self.summary))
        return self.directory


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., RunFiles]:
    """Make the contents of a run's directory: `rounds`, `silos` and `classes` may be given."""

    def make(rounds: int = 10, silos: int = 10, classes: int = 10) -> RunFiles:
        return RunFiles(tmp_path / "run", rounds, silos, classes)

    return make
