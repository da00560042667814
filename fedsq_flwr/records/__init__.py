"""The files of a run: what each holds, how it is written, and how it is read whatever has become of it.

What the files hold and how far a run came is known without torch; only `RunDirectory`, checkpoints and restoring load
it.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fedsq_flwr.records.directory import RunDirectory

__all__ = ["RunDirectory"]


def __getattr__(name: str) -> Any:
    """Import `RunDirectory` when it is first asked for: sweeps and reports look at files without torch."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from fedsq_flwr.records.directory import RunDirectory

    return RunDirectory
