"""A store of one value: that of the most recent key."""

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

Key = TypeVar("Key")
Value = TypeVar("Value")


class Latest(Generic[Key, Value]):
    """Keeps the value of the last key; threads that ask for the same key share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: tuple[Key, Value] | None = None

    def get(self, key: Key, build: Callable[[], Value]) -> Value:
        """Return the value of ``key``, which ``build`` makes if another key's value is kept.

        The other value goes first: two of them may not fit into memory.
        """
        with self._lock:
            if self._kept is None or self._kept[0] != key:
                self._kept = None
                self._kept = key, build()
            return self._kept[1]

    def put(self, key: Key, value: Value) -> None:
        """Keep ``value`` as that of ``key``."""
        with self._lock:
            self._kept = key, value
