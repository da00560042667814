"""`fedsq doctor` on a silo with privacy settings: whether it would train in a run, and what that spends."""

from pathlib import Path
from typing import Any

import pytest

from fedsq_flwr.privacy.ledger import AUDIT_NAME
from fedsq_flwr.settings.silo import PrivacySettings
from fedsq_flwr.silos.checks.finding import Finding, Mark
from fedsq_flwr.silos.checks.privacy import check_privacy
from fedsq_flwr.silos.checks.settings import check_run
from tests.silos.conftest import listing
from tests.silos.joining import silo_of

TERMS = {
    "unit": "record",
    "clip": 1.0,
    "noise_multiplier": 1.0,
    "delta": 1e-5,
    "max_epsilon": 8.0,
    "min_samples": 100,
}


def checked(folder: Path, *overrides: str, images: int = 600, **terms: Any) -> Finding:
    silo = silo_of(folder, privacy=PrivacySettings.parse({**TERMS, **terms}))
    _, run = check_run(silo, ["backbone.weights=random", "batch_norm=frozen", "local_steps=60", *overrides])
    assert run is not None
    finding = check_privacy(silo, run, images)
    assert finding is not None
    return finding


def test_what_a_run_spends_is_told_and_not_charged(tmp_path: Path) -> None:
    before = listing(tmp_path)
    finding = checked(tmp_path, "rounds=4")
    assert finding.mark == Mark.OK
    assert "epsilon 0 of 8 is spent; training makes it 3.577 after one round" in finding.found
    assert checked(tmp_path, "rounds=4") == finding
    assert listing(tmp_path) == before


def test_no_privacy_nothing_to_check(tmp_path: Path) -> None:
    silo = silo_of(tmp_path)
    _, run = check_run(silo, ["backbone.weights=random"])
    assert run is not None
    assert check_privacy(silo, run, 600) is None


@pytest.mark.parametrize(
    ("overrides", "terms", "mark", "told"),
    [
        (["batch_norm=batch"], {}, Mark.FAIL, "batch_norm=batch: must be frozen at this silo"),
        (["executor.precision=bfloat16"], {}, Mark.FAIL, "executor.precision=bfloat16: must be float32"),
        (["silo_measures=counts"], {}, Mark.FAIL, "silo_measures=counts: must be basic"),
        ([], {"min_samples": 601}, Mark.FAIL, "privacy.min_samples=601: this silo has fewer"),
        ([], {"max_epsilon": 3.0}, Mark.FAIL, "3.577 after one round"),
        (["rounds=1000"], {}, Mark.WARN, "after 1,000 rounds"),
        ([], {"unit": "silo", "max_epsilon": 1.0}, Mark.FAIL, "unit silo: epsilon 0 of 1 is spent"),
    ],
)
def test_what_the_silo_would_refuse_is_found_before_it_joins(
    tmp_path: Path, overrides: list[str], terms: dict[str, Any], mark: Mark, told: str
) -> None:
    finding = checked(tmp_path, *overrides, **terms)
    assert finding.mark == mark
    assert told in finding.found


def test_a_ledger_that_is_gone_fails(tmp_path: Path) -> None:
    folder = tmp_path / "state" / "privacy"
    folder.mkdir(parents=True)
    (folder / AUDIT_NAME).touch()
    finding = checked(tmp_path)
    assert finding.mark == Mark.FAIL
    assert "put the ledger back" in finding.found
