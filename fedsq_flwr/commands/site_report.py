"""``fedsq site-report``: make a silo's own page of a run again."""

from pathlib import Path

from fedsq_flwr.report.site import write_site_report


def site_report(state: Path, run: str | None = None) -> Path:
    """Write the page of a run into a silo's ``state_dir``, and return its path.

    Parameters
    ----------
    state : Path
        The silo's ``state_dir``.
    run : str, optional
        The run's number; by default that of the run that the silo was last at work in.

    Raises
    ------
    FedSQError
        If there is nothing to report, or the page cannot be written.
    """
    return write_site_report(state.expanduser(), run)
