"""What a sweep's overrides tell before any job runs."""

import pytest

from fedsq_flwr.errors import ConfigurationError
from fedsq_flwr.settings.composition import Sources
from fedsq_flwr.sweeps.plan import plan_sweep


@pytest.mark.parametrize(
    ("overrides", "total"),
    [
        (["seed=0,1,2", "method=fedsq,fedavg"], 6),
        (["seed=range(0,5)"], 5),
        (["seed=choice(1,2)", "learning_rate=0.1"], 2),
        (["method=glob([fedsq,fedavg,fedprox],exclude=*prox)"], 2),
        (["seed=1"], 1),
    ],
)
def test_the_number_of_jobs(overrides, total):
    assert plan_sweep(overrides).total == total


def test_a_job_is_labelled_by_what_varies():
    plan = plan_sweep(["seed=0,1", "method=fedsq,fedavg", "rounds=3", "executor=inprocess"])
    assert plan.label(["seed=0", "method=fedsq", "rounds=3", "executor=inprocess"]) == "method=fedsq seed=0"
    assert plan.fixed == ("rounds=3",)


def test_the_directory_is_as_told_and_absolute(tmp_path, monkeypatch):
    monkeypatch.setenv("SCRATCH", str(tmp_path))
    assert plan_sweep(["seed=0,1", "output=${oc.env:SCRATCH}/x"]).output == tmp_path / "x"


def test_an_option_of_the_executor_leads_to_the_same_directory():
    assert plan_sweep(["seed=0,1"]).output == plan_sweep(["executor=inprocess", "seed=0,1"]).output
    assert plan_sweep(["seed=0,1"]).output != plan_sweep(["seed=0,2"]).output


@pytest.mark.parametrize("override", ["executor.workers=1,2", "output=a,b", "executor=inprocess,simulation"])
def test_what_tells_no_jobs_apart_cannot_vary(override):
    with pytest.raises(ConfigurationError, match="changes no number"):
        plan_sweep([override])


def test_a_file_of_ones_own_may_say_what_varies(tmp_path):
    (tmp_path / "study").mkdir()
    text = "# @package _global_\nhydra:\n  sweeper:\n    params:\n      partition.alpha: 0.1,0.5,1\n      seed: 0,1\n"
    (tmp_path / "study" / "mine.yaml").write_text(text)
    plan = plan_sweep(["+study=mine"], Sources(config_dir=str(tmp_path)))
    assert plan.total == 6
    assert plan.label(["+study=mine", "partition.alpha=0.1", "seed=0"]) == "partition.alpha=0.1 seed=0"


@pytest.mark.parametrize("override", ["hydra/launcher=nope", "hydra/sweeper=nope"])
def test_a_plugin_that_is_not_installed_is_told(override):
    with pytest.raises(ConfigurationError, match=r"=nope: allowed are .*basic.*plugins \(docs/how-to/hydra\.md\)"):
        plan_sweep(["seed=0,1", override])


def test_hydras_own_name_of_a_sweeps_directory_is_understood(tmp_path):
    plan = plan_sweep(["seed=0,1", f"hydra.sweep.dir={tmp_path}/elsewhere"])
    assert plan.output == tmp_path / "elsewhere"
    assert f"output='{tmp_path}/elsewhere'" in plan.overrides


def test_a_sweep_does_not_lie_among_its_images(tmp_path):
    with pytest.raises(ConfigurationError, match="must not lie in the folder of images"):
        plan_sweep(["data=imagefolder", f"data.path={tmp_path}", "seed=0,1", f"output={tmp_path}/runs"])
    assert not (tmp_path / "runs").exists()
