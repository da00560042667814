"""A silo's privacy settings: read, checked, handed to the app, and out of a run's reach."""

import json
import sys
from pathlib import Path

import pytest

from fedsq_flwr.apps.silo_service import privacy_of
from fedsq_flwr.commands import silo as silo_command
from fedsq_flwr.errors import ConfigurationError
from fedsq_flwr.settings.composition import compose_settings
from fedsq_flwr.settings.silo import PrivacySettings, Site, at_site, for_real_silos, read_site
from fedsq_flwr.settings.silo_file import read_silo_settings

GIVEN = {"unit": "record", "clip": 1.0, "noise_multiplier": 1.5, "delta": 1e-5, "max_epsilon": 8.0}
SITE = {"partition-id": 0, "num-partitions": 2, "data-path": "/data", "state-dir": "/state"}


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    lines = ["superlink: a:1", "silo: 0", "silos: 2", f"data_path: {tmp_path}", f"privacy: {json.dumps(GIVEN)}"]
    (tmp_path / "silo.yaml").write_text("\n".join(lines))
    return [str(tmp_path / "silo.yaml")]


def test_they_travel_from_the_file_to_the_app(words: list[str]) -> None:
    site = read_site(read_silo_settings([*words, "privacy.max_epsilon=3.5", "privacy.min_samples=9"]).node_config())
    assert site.privacy == PrivacySettings(**{**GIVEN, "max_epsilon": 3.5}, min_samples=9)
    guard = privacy_of(site)
    assert guard is not None
    assert guard.terms.max_epsilon == 3.5
    assert guard.ledger.folder == Path(str(site.state_dir)) / "privacy"
    assert privacy_of(Site(data_path="/data")) is None


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("privacy.unit=patient", "privacy.unit=patient: allowed are record, silo"),
        ("privacy.clip=0", "privacy.clip=0: must be above 0"),
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


def test_a_silo_without_the_accountant_does_not_start(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "dp_accounting", None)
    monkeypatch.setitem(sys.modules, "dp_accounting.rdp", None)
    with pytest.raises(ConfigurationError, match=r"privacy: needs the package dp-accounting \(pip install"):
        silo_command.silo(words)
