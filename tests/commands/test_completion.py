"""Tab completion: what the last word of a line may become, and bash's own way of asking."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from fedsq_flwr.cli import main


@pytest.fixture
def complete(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for file, text in {
        "mine/experiment/hospital.yaml": "# @package _global_\nrounds: 3\n",
        "mine/clinic/north.yaml": "rounds: 3\n",
        "mine/study.yaml": "defaults: [config, _self_]\n",
    }.items():
        Path(file).parent.mkdir(parents=True, exist_ok=True)
        Path(file).write_text(text)

    def ask(line: str) -> list[str]:
        assert main(["completion", "bash", line]) == 0
        return capsys.readouterr().out.splitlines()

    return ask


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("fedsq re", ["rehearse ", "report "]),
        ("fedsq --v", ["--version "]),
        ("fedsq nope ", []),
        ("fedsq report --b", ["--baseline "]),
        ("fedsq report runs/", []),
        ("fedsq predict x --form ", ["dual ", "plain "]),
        ("fedsq run --cfg j", ["job "]),
        ("fedsq run --config-d", ["--config-dir "]),
        ("fedsq calibrate --o", ["--output "]),
        ("fedsq rehearse 2 learning_rate", ["learning_rate=", "learning_rate_schedule="]),
        ("fedsq run -m local_e", ["local_epochs="]),
        ("fedsq run part", ["partition.", "partition="]),
        ("fedsq run partition.cl", ["partition.classes_per_silo="]),
        ("fedsq run method.agg", ["method.aggregation="]),
        ("fedsq run partition=i", ["partition=iid "]),
        ("fedsq run -m method=fedsq,fedp", ["method=fedsq,fedprox "]),
        ("fedsq run executor=s", ["executor=silos ", "executor=simulation "]),
        ("fedsq run method.gates=", ["method.gates=none ", "method.gates=pretrained ", "method.gates=random "]),
        ("fedsq run wire_dtype=b", ["wire_dtype=bfloat16 "]),
        ("fedsq run diagnostics=", ["diagnostics=false ", "diagnostics=true "]),
        ("fedsq run rounds=", []),
        ("fedsq run nope=", []),
        ("fedsq run output='a ", []),
        ("fedsq run experiment=h", []),
        ("fedsq run --config-dir nowhere experiment=h", []),
        ("fedsq run --config-dir mine experiment=h", ["experiment=hospital "]),
        ("fedsq calibrate --output x.yaml --config-dir mine experiment=h", ["experiment=hospital "]),
        ("fedsq run hydra.searchpath=[file://mine] experiment=h", ["experiment=hospital "]),
        ("fedsq run --config-dir mine +", ["+clinic="]),
        ("fedsq run --config-dir mine +clinic=", ["+clinic=north "]),
        ("fedsq run --config-dir mine --config-name ", ["study "]),
        ("fedsq silo silo", ["silo=", "silos="]),
        ("fedsq doctor insecure=t", ["insecure=true "]),
    ],
)  # fmt: skip
def test_what_the_last_word_may_become(complete, line, found):
    assert complete(line) == found


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
@pytest.mark.parametrize(("breaks", "found"), [(" \t\n\"'><=;|&(:", "iid "), (" \t\n", "partition=iid ")])
def test_bash_takes_over_what_it_asked_for(tmp_path, breaks, found):
    (tmp_path / "fedsq").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m fedsq_flwr.cli "$@"\n')
    (tmp_path / "fedsq").chmod(0o755)
    program = """
eval "$(fedsq completion bash)"
complete -p fedsq
COMP_WORDBREAKS=$1 COMP_LINE="fedsq run partition=i rounds=3" COMP_POINT=21
_fedsq fedsq
printf '[%s]' "${COMPREPLY[@]}"
"""
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "PYTHONPATH": os.pathsep.join(sys.path)}
    told = subprocess.run(
        ["bash", "-c", program, "bash", breaks], env=environment, capture_output=True, text=True, check=False
    )
    assert (told.stdout, told.stderr) == (f"complete -o default -o nospace -F _fedsq fedsq\n[{found}]", "")


def test_hydras_own_completion_names_this_one(complete, capsys):
    assert main(["run", "--shell-completion", "install=bash"]) == 1
    assert "fedsq completion bash" in capsys.readouterr().err
