"""What holds for every test."""

import gc


def pytest_collection_finish() -> None:
    """Keep the million objects of what was collected out of garbage collections, which took a tenth of the time."""
    gc.collect()
    gc.freeze()
