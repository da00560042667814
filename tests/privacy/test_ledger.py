"""The ledger: nothing is taken back, nothing above the limit, and no damage passes for an empty ledger."""

import json
from pathlib import Path

import pytest

from fedsq_flwr.errors import DataError, PrivacyError
from fedsq_flwr.privacy.accounting import Mechanism, epsilon_of
from fedsq_flwr.privacy.ledger import AUDIT_NAME, NAME, Epsilon, Ledger

pytest.importorskip("dp_accounting", reason="the extra privacy is not installed")

STEP = Mechanism(2.0, 0.5)


def charge(ledger: Ledger, count: int = 1, limit: float = 100.0, mechanism: Mechanism = STEP) -> Epsilon:
    return ledger.charge("record", mechanism, count, delta=1e-5, limit=limit)


@pytest.mark.parametrize("kept", [True, False], ids=["on disk", "in memory"])
def test_what_is_spent_adds_up(ledger: Ledger, kept: bool) -> None:
    ledger = ledger if kept else Ledger()
    charge(ledger, 3)
    charge(ledger, 1, mechanism=Mechanism(1.0))
    again = Ledger(ledger.folder) if kept else ledger
    spent = charge(again, 3)
    assert spent.epsilon == epsilon_of({STEP: 6, Mechanism(1.0): 1}, 1e-5)
    assert again.read().spent == spent


def test_at_the_limit_the_silo_refuses_by_name_and_notes_nothing(ledger: Ledger) -> None:
    spent = charge(ledger, 3)
    with pytest.raises(PrivacyError, match=r"privacy\.max_epsilon=\d.*: would be exceeded"):
        charge(ledger, limit=spent.epsilon)
    assert ledger.read().spent == spent
    assert charge(ledger, 1, limit=100).epsilon == epsilon_of({STEP: 4}, 1e-5)


def test_one_ledger_counts_one_unit(ledger: Ledger) -> None:
    charge(ledger)
    with pytest.raises(PrivacyError, match=r"privacy\.unit=silo: the ledger of this silo counts unit=record"):
        ledger.charge("silo", STEP, 1, delta=1e-5, limit=100.0)


def test_a_noised_number_is_drawn_once(ledger: Ledger) -> None:
    drawn = iter([17, 23, 42])
    assert ledger.noised("train", 20, lambda: next(drawn)) == 17
    assert Ledger(ledger.folder).noised("train", 20, lambda: next(drawn)) == 17
    assert ledger.noised("held out", 20, lambda: next(drawn)) == 23
    assert ledger.noised("train", 21, lambda: next(drawn)) == 17  # a change of the number stays unseen


def _without(field: str) -> str:
    content = {
        "version": 1,
        "unit": "record",
        "charges": [{"multiplier": 1.0, "sampling": 0.5, "count": 3}],
        "noised": [],
        "spent": None,
        "audit": {},
    }
    del content[field]
    return json.dumps(content)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{}",
        "[]",
        "{",
        '{"version": 2, "unit": null, "charges": [], "noised": [], "spent": null, "audit": {}}',
        '{"version": 1, "unit": "x", "charges": [], "noised": [], "spent": null, "audit": {}}',
        *map(_without, ("version", "unit", "charges", "noised", "spent", "audit")),
        _without("noised").replace('"count": 3', '"count": -3'),
    ],
)
def test_a_damaged_ledger_is_not_an_empty_one(ledger: Ledger, content: str) -> None:
    charge(ledger)
    path = Path(str(ledger.folder)) / NAME
    path.write_text(content)
    with pytest.raises(DataError, match=NAME):
        charge(ledger)
    assert path.read_text() == content


def test_a_ledger_that_is_gone_beside_its_log_is_missed(ledger: Ledger) -> None:
    charge(ledger)
    folder = Path(str(ledger.folder))
    (folder / AUDIT_NAME).touch()
    (folder / NAME).unlink()
    with pytest.raises(PrivacyError, match="is gone"):
        charge(ledger)
