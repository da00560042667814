"""The page of a federation of real silos: what it cannot know it does not show, and says so."""

import re

import pytest
from rich.console import Console

from fedsq_flwr.report import print_summary, read_run, write_report


@pytest.fixture
def silos_run(make_run):
    """Files of a run with real silos, the server with data or without."""

    def make(path: str | None):
        files = make_run(rounds=3, silos=2)
        files.set(executor__name="silos", data__name="imagefolder", data__path=path)
        files.partition = {"name": "silos", "class_names": ["cat", "dog"], "validation": 0, "test": 0}
        if path is None:
            for line in files.history:
                line["test_loss"] = line["test_accuracy"] = None
            files.history[0]["loss"] = files.history[0]["accuracy"] = None
            files.summary |= {"test_accuracy": None, "final_accuracy": None}
        return files

    return make


def text_of(files) -> str:
    page = write_report(files.write()).read_text(encoding="utf-8")
    return " ".join(re.sub(r"<[^>]+>", " ", page.partition("<body>")[2]).split())


def test_a_server_with_data_has_all_figures_but_the_partition(silos_run):
    text = text_of(silos_run("/srv/data"))
    assert "real silos" in text
    assert "Dirichlet" not in text
    assert "The silos keep to themselves how many samples of each class they have." in text
    assert "Final test accuracy" in text
    assert "The averaged model on the validation and the test split" in text


def test_a_server_without_data_says_whose_samples_stand_for_a_validation_set(silos_run):
    text = text_of(silos_run(None))
    assert "The server has no data: the validation figures are over all samples that the silos hold out" in text
    assert "The averaged model on all samples that the silos hold out" in text
    assert "1 round that the silos did not evaluate in left a gap" in text
    assert "test accuracy" not in text.lower()
    assert "was only read" not in text


def test_what_was_not_measured_is_not_in_the_closing_lines(silos_run):
    files = silos_run(None)
    console = Console(record=True, width=80)
    print_summary(files.summed(), files.write(), console)
    said = console.export_text()
    assert "best validation accuracy" in said
    assert "test accuracy" not in said


def test_a_run_of_which_the_partition_is_unknown_is_read(silos_run):
    run = read_run(silos_run(None).write())
    assert (run.partition, run.settings.has_real_silos, run.silos_validate) == (None, True, True)
