"""What trackers are told, and above all what not."""

from fedsq_flwr.privacy.ledger import Epsilon
from fedsq_flwr.settings.base import flat
from fedsq_flwr.settings.composition import compose_settings
from fedsq_flwr.settings.fields import Fact, catalogue
from fedsq_flwr.settings.run import RunSettings
from fedsq_flwr.trackers.content import metrics_of, settings_of, summary_of
from tests.records.made import line, summary

HIDDEN = "/home/dr-who"


def test_all_settings_are_told_but_those_that_name_places() -> None:
    settings = compose_settings(["data.min_held_out=7"])
    known = catalogue(RunSettings)
    places = {name for name in flat(settings.plain()) if {Fact.PATH, Fact.PLACE} & known[name].facts}
    assert settings_of(settings).keys() == flat(settings.plain()).keys() - places
    assert {"output", "cache_dir", "executor.gate_cache_dir"} <= places
    assert settings_of(settings)["data.min_held_out"] == 7
    assert settings_of(settings)["data.classes"] == "null"


def test_no_path_or_address_is_told(tmp_path) -> None:
    file = tmp_path / "dr-who.safetensors"
    file.touch()
    places = [f"output={HIDDEN}", f"cache_dir={HIDDEN}", f"executor.gate_cache_dir={HIDDEN}"]
    silos = [f"executor.root_certificates={HIDDEN}", "executor.superlink=dr-who:9092", f"data.path={HIDDEN}"]
    settings = compose_settings(["executor=silos", "data=imagefolder", *places, *silos, f"backbone.weights={file}"])
    assert "dr-who" not in str(settings_of(settings))
    groups = f"partition.groups={HIDDEN}/groups.csv"
    folder = compose_settings(["data=imagefolder", f"data.path={tmp_path}", "partition=natural", groups])
    assert "dr-who" not in str(settings_of(folder))
    reused = compose_settings(["partition=file", f"partition.file={file}"])
    assert "dr-who" not in str(settings_of(reused))
    assert settings_of(settings)["backbone.weights"] == "a file"
    assert settings_of(compose_settings(["backbone.weights=random"]))["backbone.weights"] == "random"


def test_a_rounds_figures_are_told_without_those_of_single_silos() -> None:
    told = line(
        3,
        test_accuracy=None,
        dropped=[{"silo": 1, "reason": HIDDEN, "while": "training"}],
        silo_accuracies={0: 0.1},
        silo_names={0: "dr-who"},
        silo_accuracy_worst=0.1,
        fingerprint="abc",
        diagnostics={
            "images": 8,
            "flip_rate": 0.25,
            "layers": [{"layer": "a", "kind": "relu", "flip_rate": 0.25, "density": 0.5, "own_density": 0.5}],
            "averaging": {"gap": None, "spread": 1.0, "relative": None},
            "drift": {"mean": 2.0, "of_mean": 1.0},
        },
    )
    assert metrics_of(told) == {
        **{"train_loss": 1.0, "loss": 1.0, "accuracy": 0.5, "seconds": 2.0, "replies": 2},
        "silo_accuracy_worst": 0.1,
        "diagnostics.images": 8,
        "diagnostics.flip_rate": 0.25,
        "diagnostics.averaging.spread": 1.0,
        "diagnostics.drift.mean": 2.0,
        "diagnostics.drift.of_mean": 1.0,
    }


def test_the_summarys_results_are_told_apart_from_a_rounds() -> None:
    spent = Epsilon(unit="silo", epsilon=3.0, delta=1e-5)
    told = summary_of(summary(alpha=0.5, test_accuracy=0.9, final_accuracy=None, privacy=spent))
    assert (told["summary/test_accuracy"], told["summary/privacy.epsilon"]) == (0.9, 3.0)
    assert told.keys() == {
        f"summary/{name}"
        for name in (
            *("best_accuracy", "rounds_to_best", "accuracy_auc", "test_accuracy"),
            *("bytes_up", "bytes_down", "wall_seconds", "train_seconds"),
            *("privacy.epsilon", "privacy.delta"),
        )
    }


def test_measures_are_told_by_the_names_of_their_sets_without_those_of_classes_and_silos() -> None:
    measures = {"balanced_accuracy": 0.5, "macro_f1": 0.25, "auroc": None, "expected_calibration_error": 0.125}
    told = {**measures, "recalls": [1.0, 0.0]}
    figures = metrics_of(line(3, test_measures=told, held_out_measures=told, silo_measures={0: told}))
    names = ("balanced_accuracy", "macro_f1", "expected_calibration_error")
    assert {name for name in figures if "." in name} == {
        f"{of}.{name}" for of in ("test_measures", "held_out_measures") for name in names
    }
    ends = {"intervals": {"macro_f1": [0.1, 0.4]}, "recall_intervals": [[0.0, 1.0], None], "confusion": [[1]]}
    results = summary_of(summary(test_measures={**told, **ends}))
    assert results["summary/test_measures.macro_f1"] == 0.25
    assert not [name for name in results if "recall" in name or "confusion" in name]
