import json
import sys
from pathlib import Path

from fedsq_flwr.cli import main
from fedsq_flwr.executors.inprocess import run_inprocess
from fedsq_flwr.settings.run import RunSettings
from tests.endtoend.conftest import SMALL, few_digits, read_history, read_summary

PROMISED_LINE = {"round", "train_loss", "loss", "accuracy", "test_accuracy", "seconds", "replies"}
PROMISED_SUMMARY = {
    *("schema", "method", "backbone", "data", "partition", "silos", "seed", "rounds", "learning_rate", "batch_norm"),
    *("best_accuracy", "rounds_to_best", "accuracy_auc", "test_accuracy", "final_accuracy", "per_silo", "bytes_up"),
    *("bytes_down", "wall_seconds", "train_seconds", "fingerprint", "versions"),
}


def timeless(lines):
    return [{k: v for k, v in line.items() if "seconds" not in k} for line in lines]


def test_a_run_leaves_what_is_promised(run, pages, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["/a/place/fedsq", "run", *SMALL])
    directory = run()
    assert {"config.yaml", "history.jsonl", "summary.json", "report.html", "checkpoints"} <= {
        path.name for path in directory.iterdir()
    }
    assert (directory / "checkpoints/last/quantitative.safetensors").is_file()
    assert (directory / "checkpoints/best/quantitative.safetensors").is_file()
    lines, summary = read_history(directory), read_summary(directory)
    assert [line["round"] for line in lines] == [1, 2]
    assert all(line.keys() >= PROMISED_LINE for line in lines)
    assert summary.keys() >= PROMISED_SUMMARY
    assert [silo["silo"] for silo in summary["per_silo"]] == [0, 1, 2]
    logged = (directory / "run.log").read_text()
    assert all(f"INFO flwr: fedsq: round {number}/2: train loss " in logged for number in (1, 2))
    assert "INFO flwr: fedsq: best validation accuracy " in logged
    command, versions, settings = logged.splitlines()[:3]
    assert "command: fedsq run executor=inprocess silos=3 " in command
    assert all(f"{name} {version}" in versions for name, version in summary["versions"].items())
    assert {"python", "fedsq_flwr", "flwr", "torch", "hydra"} <= summary["versions"].keys()
    assert RunSettings.from_json(settings.partition("settings: ")[2]).silos == 3


def test_the_methods_differ(run):
    digests = {
        method: read_summary(run(f"method={method}", "rounds=1", name=method))["weights_sha256"]
        for method in ("fedsq", "fedavg", "fedprox", "fedsq_prox")
    }
    assert len(set(digests.values())) == 4


def test_the_same_seed_gives_the_same_bits_and_another_does_not(run):
    first, second = run(name="a"), run(name="b")
    assert timeless(read_history(first)) == timeless(read_history(second))
    assert read_summary(first)["weights_sha256"] == read_summary(second)["weights_sha256"]
    assert read_summary(run("seed=1", name="c"))["weights_sha256"] != read_summary(first)["weights_sha256"]


def test_a_reused_partition_gives_the_same_bits_and_stays_as_it_is_over_seeds(run, pages, monkeypatch):
    first = run(name="a")
    reuse = ("partition=file", "partition.file=a/partition.json", "validation_fraction=0.5")
    again, other = run(*reuse, name="b"), run(*reuse, "seed=1", name="c")
    assert timeless(read_history(again)) == timeless(read_history(first))
    assert read_summary(again)["weights_sha256"] == read_summary(first)["weights_sha256"]
    assert read_summary(other)["weights_sha256"] != read_summary(first)["weights_sha256"]
    saved, *others = (json.loads((where / "partition.json").read_text()) for where in (first, again, other))
    assert others == 2 * [{**saved, "file": str(first / "partition.json")}]
    assert (read_summary(other)["partition"], read_summary(other)["alpha"]) == ("dirichlet", 5.0)
    assert "Dirichlet, alpha 5, seed 0; of another run, reused" in (other / "report.html").read_text()


def test_a_partition_that_does_not_fit_ends_the_run_with_a_line(run, capsys):
    run("rounds=1", name="a")
    run("partition=file", "partition.file=a", "silos=4", name="b", status=1)
    told = capsys.readouterr().err.strip().splitlines()
    assert told[-1].startswith("fedsq: silos=4: partition.file=")
    assert told[-1].endswith("a is of 3 silos")


def test_silos_trained_side_by_side_give_the_same_bits(run):
    alone, together = run("executor.workers=1", name="a"), run("executor.workers=3", name="b")
    assert timeless(read_history(alone)) == timeless(read_history(together))
    assert read_summary(alone)["weights_sha256"] == read_summary(together)["weights_sha256"]


def test_kept_gates_change_no_bit_in_memory_or_on_disk(run, tmp_path):
    without = run("executor.gate_cache_bytes=0", name="without")
    kept = run(name="kept")
    on_disk = run(f"executor.gate_cache_dir={tmp_path / 'gates'}", name="on_disk")
    assert len(list((tmp_path / "gates").iterdir())) > 3  # three silos' samples, the server's two sets
    for other in (kept, on_disk):
        assert timeless(read_history(other)) == timeless(read_history(without))
        assert read_summary(other)["weights_sha256"] == read_summary(without)["weights_sha256"]


def test_kernels_that_cannot_be_compiled_are_told_in_one_line(run, monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("PATH", str(tmp_path))
    run("executor.kernels=native", name="run", status=1)
    assert "executor.kernels=native: the native kernels need ninja" in capsys.readouterr().err.strip()


def test_a_resumed_run_ends_as_an_uninterrupted_one(run):
    whole = run("rounds=4", "fraction_train=0.7", name="whole")
    broken = run("rounds=2", "fraction_train=0.7", name="broken")
    with (broken / "history.jsonl").open("a") as file:
        file.write('{"round": 3, "train_lo')  # it died while it wrote
    resumed = run("rounds=4", "fraction_train=0.7", "resume=true", name="broken")
    assert timeless(read_history(resumed)) == timeless(read_history(whole))
    same = ("weights_sha256", "best_accuracy", "rounds_to_best", "bytes_up", "bytes_down", "per_silo")
    assert all(read_summary(resumed)[key] == read_summary(whole)[key] for key in same)


def test_a_finished_run_is_not_written_over(run, capsys):
    nothing = "resume=true: there is no run in output="  # a wrong name would begin a run where one was to go on
    directory = run("rounds=1", "resume=true")
    assert nothing in capsys.readouterr().out
    before = (directory / "history.jsonl").read_bytes()
    run("rounds=1", status=1)
    assert (directory / "history.jsonl").read_bytes() == before
    assert "holds a run already" in capsys.readouterr().err
    run("rounds=2", "resume=true", "learning_rate=0.5", status=1)
    assert "learning_rate: differs from the run" in capsys.readouterr().err
    run("rounds=2", "resume=true")
    assert nothing not in capsys.readouterr().out
    before = {path: path.read_bytes() for path in directory.iterdir() if path.is_file()}
    run("rounds=1", "resume=true", status=1)
    assert "rounds=1: the run in output=" in capsys.readouterr().err
    before.pop(directory / "run.log", None)
    assert before.items() <= {path: path.read_bytes() for path in directory.iterdir() if path.is_file()}.items()


def test_a_run_that_could_measure_nothing_ends_well(run, monkeypatch, capsys):
    def unmeasured(*given):
        run_inprocess(*given)
        settings = given[0]
        path = Path(settings.output) / "summary.json"
        figures = json.loads(path.read_text())
        path.write_text(json.dumps({**figures, "best_accuracy": None, "accuracy_auc": None}))

    monkeypatch.setattr("fedsq_flwr.job.run_inprocess", unmeasured)
    run("rounds=1")  # as silos without held-out samples and a server without data do
    assert "Traceback" not in capsys.readouterr().err


def test_the_best_checkpoint_is_the_best_rounds(run):
    from fedsq_flwr.records.checkpoints import Checkpoints

    directory = run("rounds=3")
    _, line = Checkpoints(directory / "checkpoints").load("best")
    assert line.round == read_summary(directory)["rounds_to_best"]


def test_a_sweep_runs_every_job_in_a_directory_of_its_own(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    few_digits(monkeypatch)
    small = [*SMALL, "validation_fraction=0.2", "rounds=1", f"output={tmp_path / 'sweep'}"]
    assert main(["run", "-m", *small, "method=fedsq,fedavg", "seed=0,1"]) == 0
    jobs = sorted((tmp_path / "sweep").glob("*/summary.json"))
    found = {(read_summary(job.parent)["method"], read_summary(job.parent)["seed"]) for job in jobs}
    assert found == {(method, seed) for method in ("fedsq", "fedavg") for seed in (0, 1)}


def test_a_sweep_goes_on_after_a_job_that_fails_and_ends_with_its_error(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    few_digits(monkeypatch)
    small = [*SMALL, "validation_fraction=0.2", "rounds=1", f"output={tmp_path / 'sweep'}"]
    assert main(["run", "-m", *small, "partition.alpha=-1,1"]) == 1
    assert "partition.alpha=-1: must be above 0" in capsys.readouterr().err
    assert len(list((tmp_path / "sweep").glob("*/summary.json"))) == 1


def test_the_report_is_made_from_the_directory(run, capsys):
    directory = run("rounds=1")
    assert main(["report", str(directory)]) == 0
    assert (directory / "report.html").is_file()
    assert main(["report", str(directory / "nothing")]) == 1


def test_participation_is_of_the_silos(run):
    lines = read_history(run("silos=4", "fraction_train=0.5"))
    assert [(line["sampled"], line["replies"]) for line in lines] == [(2, 2), (2, 2)]


def test_a_run_stops_without_an_improvement_and_resumed_it_has_the_same_measures(run):
    """The silos' counts are asked for; the last run is broken off and goes on, and stops where the first one did."""
    asked = ("rounds=6", "stop_after=1", "stop_min_delta=0.5", "select_by=balanced_accuracy", "silo_measures=counts")
    whole = run(*asked, name="whole")
    lines, summary = read_history(whole), read_summary(whole)
    assert summary["stopped"] == len(lines) < 6
    assert "the run ended after round" in (whole / "run.log").read_text()
    assert all(line["held_out_measures"]["auroc_sets"] is not None for line in lines)
    assert {*summary["test_measures"]["intervals"]} >= {"accuracy", "balanced_accuracy", "macro_f1"}
    assert summary["per_silo"][0]["measures"] == lines[summary["rounds_to_best"] - 1]["silo_measures"]["0"]
    first = run(*asked, "rounds=1", name="again")
    assert len(read_history(first)) == 1
    again = run(*asked, "resume=true", name="again")
    assert timeless(read_history(again)) == timeless(lines)
    for name in ("test_measures", "final_measures", "stopped", "measures"):
        assert read_summary(again)[name] == summary[name]
    told = read_summary(run(*asked, "resume=true", name="again"))  # nothing is left to run
    assert (told["test_measures"], told["stopped"]) == (summary["test_measures"], summary["stopped"])
