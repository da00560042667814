"""What the tests of privacy share."""

from pathlib import Path

import pytest

from fedsq_flwr.privacy.ledger import Ledger


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "privacy")
