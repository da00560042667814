"""``trackers.json``: what each experiment tracker was told of a run, so that a resumed run goes on where it was."""

from pydantic import RootModel

from fedsq_flwr.files import Count, FileModel

TRACKERS = "trackers.json"


class Told(FileModel):
    """What names the run at a tracker, and the last round that the tracker was told."""

    run: str | None = None
    round: Count = 0


class Trackers(RootModel[dict[str, Told]]):
    """Each tracker by its name."""
