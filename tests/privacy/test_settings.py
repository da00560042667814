"""A silo's privacy settings: read, checked, handed to the app, and out of a run's reach."""

import json
import sys
from pathlib import Path

import pytest

from fedsq_flwr.apps.silo_service import privacy_of
from fedsq_flwr.commands import silo as silo_command
from fedsq_flwr.errors import ConfigurationError, PrivacyError
from fedsq_flwr.privacy.accounting import Mechanism
from fedsq_flwr.privacy.ledger import Ledger
from fedsq_flwr.settings.composition import compose_settings
from fedsq_flwr.settings.silo import PrivacySettings, Site, at_site, for_real_silos, read_site
from fedsq_flwr.settings.silo_file import read_silo_settings

GIVEN = {"unit": "record", "clip": 1.0, "noise_multiplier": 1.5, "delta": 1e-5, "max_epsilon": 8.0}
SITE = {"partition-id": 0, "num-partitions": 2, "data-path": "/data", "state-dir": "/state"}


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    lines = ["superlink: a:1", "silo: 0", "silos: 2", f"data_path: {tmp_path}", "state_dir: state"]
    lines.append(f"privacy: {json.dumps(GIVEN)}")
    (tmp_path / "silo.yaml").write_text("\n".join(lines))
    return [str(tmp_path / "silo.yaml")]


def test_they_travel_from_the_file_to_the_app(words: list[str]) -> None:
    site = read_site(read_silo_settings([*words, "privacy.max_epsilon=3.5", "privacy.min_samples=9"]).node_config())
    assert site.privacy == PrivacySettings(**{**GIVEN, "max_epsilon": 3.5}, min_samples=9)
    guard = privacy_of(site)
    assert guard is not None
    assert guard.terms.max_epsilon == 3.5
    assert guard.ledger.folder == Path(str(site.state_dir)) / "privacy"
    assert privacy_of(Site(data_path="/data", state_dir="/nowhere")) is None


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("privacy.unit=patient", "privacy.unit=patient: allowed are record, silo"),
        ("privacy.clip=0", "privacy.clip=0: must be at least 1e-06"),
        ("privacy.clip=1e30", "privacy.clip=1e+30: must be at least 1e-06 and at most 1e+06"),
        ("privacy.noise_multiplier=1e30", "privacy.noise_multiplier=1e+30: must be at least 0.1 and at most 1e+06"),
        ("privacy=null", "privacy: holds no settings; give them, or leave privacy out for none"),
        ("privacy=", "privacy: holds no settings"),
        ("privacy.clip=.inf", "privacy.clip=inf: must be a finite number"),
        ("privacy.noise_multiplier=0", "privacy.noise_multiplier=0: must be at least 0.1"),
        ("privacy.delta=1", "privacy.delta=1: must be above 0 and below 1"),
        ("privacy.max_epsilon=.nan", "privacy.max_epsilon=nan: must be a finite number"),
        ("privacy.min_samples=0", "privacy.min_samples=0: must be at least 1"),
        ("privacy.measures=exact", "privacy.measures=exact: allowed are none, rounded, noised"),
        ("privacy.epsilon=3", "privacy.epsilon: there is no such setting"),
        ("privacy=true", "privacy=true: must be"),
    ],
)
def test_a_bad_value_is_one_line(words: list[str], word: str, told: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        read_silo_settings([*words, word])
    assert str(caught.value).startswith(told)


def test_noised_measures_have_no_bound_for_a_whole_silo(words: list[str]) -> None:
    with pytest.raises(ConfigurationError, match=r"privacy\.measures=noised: must be none or rounded with unit=silo"):
        read_silo_settings([*words, "privacy.unit=silo", "privacy.measures=noised"])


@pytest.mark.parametrize(
    ("privacy", "told"),
    [("{", "privacy={: must be JSON"), ("[]", "privacy=[]: must be"), ("{}", "privacy.unit: must be given")],
)
def test_a_node_config_that_is_wrong_is_one_line(privacy: str, told: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        read_site({**SITE, "privacy": privacy})
    assert f"node config {told}" in str(caught.value)


def test_privacy_needs_a_place_for_its_ledger() -> None:
    with pytest.raises(ConfigurationError, match="state-dir"):
        read_site({"data-path": "/data", "privacy": json.dumps(GIVEN)})


def test_nothing_is_held_out_by_a_draw() -> None:
    """An image that is added would move others between the parts, which no clipping bounds."""
    run = for_real_silos(compose_settings(["executor=silos", "data=imagefolder", "backbone.weights=random"]))
    assert at_site(run, Site(data_path="/data", state_dir="/state")).data.held_out_fraction > 0
    site = read_site({**SITE, "privacy": json.dumps(GIVEN)})
    assert at_site(run, site).data.held_out_fraction == 0


def test_no_run_learns_whether_a_file_cannot_be_read() -> None:
    """By `fail` it would."""
    words = ["executor=silos", "data=imagefolder", "backbone.weights=random", "data.unreadable=fail"]
    run = for_real_silos(compose_settings(words))
    assert at_site(run, Site(data_path="/data", state_dir="/state")).data.unreadable == "fail"
    assert at_site(run, read_site({**SITE, "privacy": json.dumps(GIVEN)})).data.unreadable == "skip"


def test_the_ledger_of_a_private_silo_lies_where_its_operator_says(words: list[str], tmp_path: Path) -> None:
    """And not in a folder of caches."""
    file = tmp_path / "silo.yaml"
    file.write_text(file.read_text().replace("state_dir: state\n", ""))
    with pytest.raises(ConfigurationError, match=r"^state_dir=\S+: must be given with privacy"):
        read_silo_settings(words)


def test_a_silo_that_has_spent_does_not_go_on_without_privacy(words: list[str], tmp_path: Path) -> None:
    """What leaves then would not be counted, and its log would still tell of epsilon."""
    pytest.importorskip("dp_accounting", reason="the extra privacy is not installed")
    ledger = Ledger(tmp_path / "state" / "privacy")
    ledger.charge("record", Mechanism(3.0, 0.1), 5, delta=1e-5, limit=9.0)
    file = tmp_path / "silo.yaml"
    file.write_text(file.read_text().partition("privacy:")[0])
    with pytest.raises(PrivacyError, match=r"^privacy: must be set, because the ledger of this silo has counted"):
        silo_command.silo(words)
    with pytest.raises(PrivacyError, match=r"^privacy: must be set"):
        privacy_of(read_silo_settings(words).site())
    with pytest.raises(PrivacyError, match=r"^privacy: must be set"):  # another process's, as of a SuperNode
        privacy_of(read_site({**SITE, "state-dir": str(tmp_path / "state")}))


def test_a_silo_without_the_accountant_does_not_start(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "dp_accounting", None)
    monkeypatch.setitem(sys.modules, "dp_accounting.rdp", None)
    with pytest.raises(ConfigurationError, match=r"privacy: needs the package dp-accounting \(pip install"):
        silo_command.silo(words)
