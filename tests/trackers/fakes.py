"""A tracker that remembers what it was told, and one that fails when it is told."""

from collections.abc import Mapping


class Recorder:
    """Remembers its calls in order."""

    def __init__(self, failing: tuple[str, ...] = ()) -> None:
        self.calls: list[tuple] = []
        self.failing = failing

    def _note(self, *call: object) -> None:
        self.calls.append(call)
        if call[0] in self.failing:
            raise OSError(f"no space left\nat {call[0]}")

    def start(self, name: str, settings: Mapping[str, object], run: str | None) -> str:
        self._note("start", name, settings["method.name"], run)
        return run or "run-1"

    def round(self, number: int, metrics: Mapping[str, float]) -> None:
        self._note("round", number, metrics["accuracy"])

    def finish(self, summary: Mapping[str, float]) -> None:
        self._note("finish", summary["summary/best_accuracy"])

    def fail(self, reason: str) -> None:
        self._note("fail", reason)
