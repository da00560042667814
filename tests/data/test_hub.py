"""Published data sets from the hub: a fake of it here, since tests reach nothing."""

from pathlib import Path

import datasets
import numpy as np
import pytest

from fedsq_flwr.data.published import load_published
from fedsq_flwr.data.published_facts import PUBLISHED
from fedsq_flwr.errors import DataError
from tests.data.published import NAMES, dataset, pictures

COMMIT = "0" * 40
PIXELS = pictures(3)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, str]]]:
    """A hub that has every data set of the table under one commit; holds what it was asked for."""
    calls: list[tuple[str, dict[str, str]]] = []

    def load(repository: str, **settings: str) -> datasets.DatasetDict:
        calls.append((repository, settings))
        facts = next(facts for facts in PUBLISHED.values() if facts.repository == repository)
        pixels = pictures(3, facts.size)
        splits = [names[0] for names in facts.parts.values()]
        return datasets.DatasetDict({split: dataset(pixels, [0, 1, 2], facts.image, facts.label) for split in splits})

    monkeypatch.setattr(datasets, "load_dataset", load)
    return calls


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_data_set_is_asked_for_at_its_commit_and_once(name: str, asked: list, tmp_path: Path) -> None:
    for _ in range(2):
        source = load_published(name, path=None, revision=COMMIT, cache=tmp_path)
    assert asked == [(PUBLISHED[name].repository, {"revision": COMMIT})]  # and never to run code of a repository
    assert source.class_names == NAMES
    assert source.pool.labels.tolist() == [0, 1, 2]
    assert (source.validation is not None) is (name == "cinic10")
    expected = pictures(3, PUBLISHED[name].size).transpose(0, 3, 1, 2)
    for part in (source.pool, source.test):
        assert np.array_equal(part.images[:].numpy(), expected)


def test_another_commit_is_another_data_set(asked: list, tmp_path: Path) -> None:
    for commit in (COMMIT, "1" * 40):
        load_published("cifar10", path=None, revision=commit, cache=tmp_path)
    assert len(asked) == 2


@pytest.mark.parametrize(
    "error", [ConnectionError("Couldn't reach\nthe Hub"), FileNotFoundError(), RuntimeError("x")]
)
def test_offline_one_line_says_how_to_use_local_files(monkeypatch, tmp_path: Path, error: Exception) -> None:
    def load(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(datasets, "load_dataset", load)
    with pytest.raises(
        DataError, match=r"^data\.path=null: uoft-cs/cifar10 .*; give data\.path=FOLDER .*parquet"
    ) as it:
        load_published("cifar10", path=None, revision=COMMIT, cache=tmp_path)
    assert "\n" not in str(it.value)
    assert list(tmp_path.iterdir()) == []


def test_a_repository_without_the_split_is_refused(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setattr(
        datasets, "load_dataset", lambda *_, **__: datasets.DatasetDict({"train": dataset(PIXELS, [0, 1, 2])})
    )
    with pytest.raises(DataError, match="has no split test, but train"):
        load_published("cifar10", path=None, revision=COMMIT, cache=tmp_path)
