"""Where the numbers of a run come from: a reviewer can tell data, commit and command; nothing is guessed."""

import json
import shlex
import subprocess

import pytest
import torch

from fedsq_flwr import invocation
from fedsq_flwr.data import FederatedData, LabelledImages, ServerData
from fedsq_flwr.data.pipelines import InputPipeline, PreparedImages
from fedsq_flwr.files import parse_as
from fedsq_flwr.records.provenance import commit_of, data_digest, provenance_of
from fedsq_flwr.records.summary import Summary
from fedsq_flwr.settings.run import RunSettings
from tests.records.made import DIGITS, summary

IMAGES = torch.arange(24, dtype=torch.uint8).reshape(6, 1, 2, 2)
LABELS = torch.tensor([0, 1, 0, 1, 0, 1])
ALL = LabelledImages(IMAGES, LABELS)


def task(order, cut):
    """The same six samples, in another order and partition."""
    train = [ALL.subset(order[:cut]), ALL.subset(order[cut:4])]
    held_out = [LabelledImages.none()] * 2
    return FederatedData(ALL.subset(order[4:5]), ALL.subset(order[5:]), ("a", "b"), train, held_out, [[], []], {})


def test_the_digest_of_the_data_is_that_of_its_samples_and_not_of_their_partition():
    assert data_digest(task([0, 1, 2, 3, 4, 5], 2)) == data_digest(task([5, 3, 0, 4, 2, 1], 1))


@pytest.mark.parametrize("changed", ["pixel", "label", "fewer"])
def test_other_data_have_another_digest(changed):
    images, labels = IMAGES.clone(), LABELS.clone()
    if changed == "pixel":
        images[3, 0, 1, 1] += 1
    if changed == "label":
        labels[3] = 0
    other = LabelledImages(images, labels)
    other = other.subset(range(5)) if changed == "fewer" else other
    assert data_digest(ServerData(other, ALL, ("a", "b"))) != data_digest(ServerData(ALL, ALL, ("a", "b")))


def test_images_that_are_prepared_later_are_not_prepared_for_their_digest(monkeypatch):
    prepared = PreparedImages(IMAGES, InputPipeline(32, 1, (0.5,), (0.5,)))
    monkeypatch.setattr(InputPipeline, "__call__", lambda *_: pytest.fail("an epoch's work"))
    none = LabelledImages.none()
    lazy = ServerData(LabelledImages(prepared, LABELS), none, ("a", "b"))
    assert data_digest(lazy) == data_digest(ServerData(ALL, none, ("a", "b")))


def test_a_server_without_data_has_no_digest():
    assert data_digest(ServerData(LabelledImages.none(), LabelledImages.none(), ("a", "b"))) is None


@pytest.mark.parametrize(
    ("data", "title"),
    [
        ({"name": "digits"}, "digits"),
        ({"name": "imagefolder", "path": "/somewhere/moles 2026/"}, "moles 2026"),
    ],
)
def test_a_folder_of_images_is_named_by_its_folder(data, title):
    settings = RunSettings.parse({"experiment": "digits", "data": data})
    assert provenance_of(settings, ServerData(ALL, ALL, ("a", "b"))).data == settings.data.title == title


@pytest.fixture
def checkout(tmp_path):
    """A checkout with a package, and a function that calls git in it."""

    def git(*words):
        who = ["-c", "user.name=A", "-c", "user.email=a@example.org"]
        told = subprocess.run(["git", "-C", str(tmp_path), *who, *words], check=True, capture_output=True, text=True)
        return told.stdout.strip()

    package = tmp_path / "package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    git("init", "-q")
    git("add", ".")
    git("commit", "-qm", "first")
    return package, git


def test_a_checkout_tells_its_commit_and_whether_it_is_as_committed(checkout):
    package, git = checkout
    assert commit_of(package) == (git("rev-parse", "HEAD"), True)
    (package.parent / "output.txt").write_text("of a run")
    assert commit_of(package)[1]  # it is no part of the program
    (package / "added.py").write_text("")
    assert commit_of(package) == (git("rev-parse", "HEAD"), False)


def test_a_package_that_is_installed_within_another_checkout_has_no_commit(checkout, tmp_path_factory):
    package, _ = checkout
    installed = package.parent / "venv" / "package"
    installed.mkdir(parents=True)
    (installed / "__init__.py").write_text("")
    assert commit_of(installed) == commit_of(tmp_path_factory.mktemp("nowhere")) == (None, None)


@pytest.mark.parametrize(
    ("argv", "told", "expected"),
    [
        (["/bin/fedsq", "run", "output=a b"], None, "fedsq run 'output=a b'"),
        (["/bin/flwr-serverapp", "--token", "secret"], None, None),
        (["/bin/flwr-serverapp", "--token", "secret"], "fedsq run", "fedsq run"),
    ],
)
def test_the_command_line_is_the_users_and_not_that_of_a_process_of_flower(monkeypatch, argv, told, expected):
    monkeypatch.setattr("sys.argv", argv)
    monkeypatch.delenv(invocation.COMMAND, raising=False)
    if told:
        monkeypatch.setenv(invocation.COMMAND, told)
    assert invocation.command_line() == expected


def test_an_older_summary_has_no_provenance_and_a_newer_one_keeps_it():
    assert summary().provenance is None
    told = provenance_of(DIGITS, ServerData(ALL, ALL, ("a", "b")))
    text = json.dumps({**summary().model_dump(by_alias=True), "provenance": told.model_dump()})
    assert parse_as(Summary, text, "a summary").provenance == told


@pytest.mark.parametrize("words", [["run", "output='a b/c=1'"], ["run", 'x="y"', "it's $HOME"], ["run", "seed=0,1"]])
def test_the_command_line_can_be_pasted_into_a_shell(monkeypatch, words):
    monkeypatch.delenv(invocation.COMMAND, raising=False)
    monkeypatch.setattr(invocation.sys, "argv", ["/bin/fedsq", *words])
    assert shlex.split(invocation.command_line()) == ["fedsq", *words]
    assert "'\"'\"'" not in invocation.command_line() or "$" in words[-1]  # no quotes that nobody can read
