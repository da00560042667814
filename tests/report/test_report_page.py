"""The page: its numbers are the files' numbers, and it is harmless, whole and self-contained."""

import base64
import hashlib
import html
import io
import json
import math
import os
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fedsq_flwr.errors import DataError
from fedsq_flwr.report import captions, figures, heat_maps, numerals, read_run, report_run, write_report
from fedsq_flwr.report import page as page_module


class Visible(HTMLParser):
    """What a reader sees, and which elements and resources there are."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.resources: list[str] = []
        self.identifiers: list[str] = []
        self.attributes: set[str] = set()
        self._texts: list[str] = []
        self._hidden = False
        self.feed(page)
        self.text = " ".join(" ".join(self._texts).split())

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self._hidden = tag in {"style", "script"}
        for name, value in attributes:
            self.attributes.add(name)
            if name in {"src", "href", "xlink:href", "srcset", "data", "action"}:
                self.resources.append(value.strip())
            if name == "id":
                self.identifiers.append(value)

    def handle_endtag(self, tag):
        self._hidden = False

    def handle_data(self, data):
        if not self._hidden:
            self._texts.append(data)


@pytest.fixture
def no_figures(monkeypatch):
    """Leave the figures out where only the words and tables matter: they take most of the time."""
    monkeypatch.setattr(page_module, "_figures", lambda run: [])


def page_of(files):
    return write_report(files.write()).read_text(encoding="utf-8")


def rows(page, heading):
    """The cells of the table under a heading, a list a row."""
    table = re.search(rf"<summary>{heading}</summary>.*?<tbody>(.*?)</tbody>", page, re.DOTALL)[1]
    return [
        [
            html.unescape(re.sub("<[^>]*>", "", cell)).strip()
            for cell in re.findall(r"<t[hd].*?</t[hd]>", row, re.DOTALL)
        ]
        for row in re.findall(r"<tr.*?</tr>", table, re.DOTALL)
    ]


def test_the_numbers_are_the_files_numbers(make_run, no_figures):
    files = make_run(rounds=10, silos=10)
    files.summary.update(best_accuracy=0.9514, test_accuracy=0.9423, final_accuracy=0.9387)
    page = page_of(files)
    text = Visible(page).text
    assert "fedsq on digits, 10 silos" in text
    assert f"Best validation accuracy 0.951 round {files.summary['rounds_to_best']} of 10" in text
    assert "Test accuracy of the best 0.942" in text
    assert "Final test accuracy 0.939 after round 10" in text
    assert f"Worst silo {files.summary['silo_accuracy_worst']:.3f}" in text
    assert "109 MB up to the server, 109 MB down to the silos" in text
    assert "41 s the silos' training together 20 s" in text
    assert "3f" * 32 in text
    assert "flwr 1.41.0" in text
    assert f"fedsq report {files.directory}" in text
    assert "fraction_train: 1.0" in text  # the configuration

    for line, row in zip(files.history, rows(page, "Rounds"), strict=True):
        assert row[0].split()[0] == str(line["round"])
        names = ("train_loss", "loss", "accuracy", "test_loss", "test_accuracy", "silo_accuracy_mean")
        assert row[1:7] == [f"{line[name]:.3f}" for name in names]
        assert row[8:] == ["10/10", f"{line['seconds']:.1f}"]
    for silo, row in zip(files.summary["per_silo"], rows(page, "Silos"), strict=True):
        assert row == [
            str(silo["silo"]),
            str(silo["train"]),
            str(silo["held_out"]),
            f"{silo['accuracy']:.3f}",
        ]


def test_best_and_worst_are_marked_once(make_run, no_figures):
    files = make_run()
    page = page_of(files)
    best = [row[0] for row in rows(page, "Rounds") if "best" in row[0]]
    assert best == [f"{files.summary['rounds_to_best']} best"]
    assert page.count('<tr class="worst">') == 1
    assert "nothing was chosen on it" in page


def test_no_silo_is_called_worst_where_all_are_equal(make_run, no_figures):
    files = make_run(rounds=1)
    for silo in files.summary["per_silo"]:
        silo["accuracy"] = 1.0
    assert 'class="worst"' not in page_of(files)


def test_dropped_replies_show_with_their_reasons(make_run, no_figures):
    files = make_run()
    files.drop(3, 4, "weight nan")
    files.drop(7, 2, "timed out")
    files.drop(7, 5, "timed out")
    files.history[8]["dropped"].append({"silo": 1, "reason": "timed out", "while": "evaluating"})
    text = Visible(page_of(files)).text
    assert "1 reply not used: silo 4: weight nan" in text
    assert "2 replies not used: silos 2, 5: timed out" in text
    assert "1 reply not used: silo 1 while evaluating: timed out" in text
    assert "8/10" in text


def test_hostile_texts_stay_texts(make_run):
    files = make_run(rounds=2, silos=3, classes=3)
    evil = "</svg><script>alert('x')</script><img src=x onerror=alert(1)>"
    files.drop(1, 0, evil)
    files.partition["class_names"] = [evil, 'a" onload="x', '$x$ & style="font-family: ']
    files.summary["versions"] = {evil: evil}
    files.summary["fingerprint"] = evil
    files.set(method__name=evil, experiment=evil)
    page = page_of(files)
    seen = Visible(page)
    assert seen.tags.count("script") == 1  # the page's own
    assert "alert" not in re.search("<script>(.*?)</script>", page, re.DOTALL)[1]
    assert "img" not in seen.tags
    assert seen.tags.count("svg") == 4
    assert "onload" not in seen.attributes
    assert "onerror" not in seen.attributes
    assert f"silo 0: {evil}" in seen.text


def test_the_page_needs_nothing_else(make_run):
    files = make_run(rounds=3, silos=4, classes=4)
    page = page_of(files)
    assert "http:" not in page
    assert "https:" not in page
    assert "@import" not in page
    assert "url(http" not in page
    seen = Visible(page)
    beside = [link for link in seen.resources if not link.startswith(("data:image/png", "#"))]
    assert sorted(beside) == sorted(f"figures/{path.name}" for path in (files.directory / "figures").iterdir())
    assert len(seen.identifiers) == len(set(seen.identifiers))
    for link in (link for link in seen.resources if link.startswith("#")):
        assert link[1:] in seen.identifiers
    for reference in re.findall(r"url\(#([^)]*)\)", page):
        assert reference in seen.identifiers


def test_the_same_run_gives_the_same_page(make_run):
    files = make_run(rounds=1, silos=1, classes=2)
    assert page_of(files) == page_of(files)


def test_an_unfinished_run_says_so(make_run, no_figures):
    files = make_run(rounds=10)
    assert "did not finish" not in page_of(files)
    (files.directory / "summary.json").unlink()
    files.stop_after(4)
    (files.directory / "failure.json").write_text('{"error": "round 5: <b>no</b> replies"}')
    text = Visible(page_of(files)).text
    assert "This run did not finish. 4 of 10 rounds are recorded" in text
    assert "It ended with: round 5: <b>no</b> replies." in text
    best = max(files.history, key=lambda line: line["accuracy"])
    assert f"Best validation accuracy {best['accuracy']:.3f} round {best['round']} of 10" in text


@pytest.mark.parametrize(
    ("rounds", "silos", "classes", "pictures"),
    [(1, 1, 10, 4), (40, 50, 10, 4), (5, 100, 100, 3)],
)
def test_sizes(make_run, rounds, silos, classes, pictures):
    page = page_of(make_run(rounds, silos, classes))
    assert page.count("<figure>") == pictures
    assert len(rows(page, "Rounds")) == rounds
    assert len(rows(page, "Silos")) == silos
    assert len(page) < 400_000
    if silos == 1:
        assert "1 silo</h1>" in page


def test_without_held_out_samples(make_run):
    files = make_run(rounds=3, silos=4, classes=3)
    for line in files.history:
        line.update(silo_accuracies={}, silo_accuracy_mean=None, silo_accuracy_worst=None, silo_accuracy_std=None)
    files.summary.update(silo_accuracy_mean=None, silo_accuracy_worst=None, silo_accuracy_std=None)
    for silo in files.summary["per_silo"]:
        silo.update(held_out=0, accuracy=None)
    files.partition["held_out"] = [0] * 4
    page = page_of(files)
    text = Visible(page).text
    assert "no silo holds samples out" in text
    assert "worst to best" not in text
    assert page.count("<figure>") == 3
    assert rows(page, "Silos")[0][3] == numerals.NOTHING


def test_silos_that_hold_none_out_are_named(make_run):
    files = make_run(rounds=2, silos=20)
    for silo in files.summary["per_silo"][3:]:
        silo.update(held_out=0, accuracy=None)
    run = read_run(files.write())
    assert captions.of_silos(run.summary).endswith("silos 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14 and 5 more.")


def test_the_figures_show_the_files_numbers(make_run):
    files = make_run(rounds=3, silos=4, classes=5)
    run = read_run(files.write())
    picture = heat_maps.partition_picture(run.partition).inline
    shown = re.findall(r">(\d+)</text>", picture)
    for row in files.partition["counts"]:
        assert str(sum(row)) in shown
        assert all(str(count) in shown for count in row if count)
    assert "DejaVu" not in picture  # the page's font
    assert "var(--ink, #1d2329)" in picture  # and its colours
    bars = figures.accuracy_by_silo(run.summary).inline
    assert f"mean {files.summary['silo_accuracy_mean']:.3f}" in bars
    order = [silo.silo for silo in run.summary.evaluated_silos]
    assert re.findall(r">(\d+)</text>", bars)[: len(order)] == [str(silo) for silo in order]
    assert "best" in figures.accuracy_by_round(run.rounds, 2).inline
    assert "best" not in re.sub("silos, worst to best", "", figures.accuracy_by_round(run.rounds, None).inline)


def test_a_run_that_diverged_is_drawn(make_run):
    files = make_run(rounds=3, silos=2, classes=2)
    files.history[1].update(train_loss=math.nan, loss=math.inf)
    files.history[2].update(train_loss=math.nan, loss=123456.0, accuracy=None, test_accuracy=None)
    page = page_of(files)
    assert rows(page, "Rounds")[1][1:3] == ["nan", "inf"]
    assert rows(page, "Rounds")[2][1:4] == ["nan", "1.2e+05", numerals.NOTHING]
    assert "2 rounds without a finite loss left a gap" in page


def test_methods_without_fixed_gates(make_run, no_figures):
    files = make_run(rounds=1)
    files.set(method__name="fedavg", method__gates="none")
    files.summary.update(method="fedavg", fingerprint="")
    assert "none: this method has no fixed gates" in page_of(files)


def test_nothing_but_the_page_is_left_behind(make_run, no_figures, monkeypatch):
    directory = make_run(rounds=1).write()
    before = {path.name for path in directory.iterdir()}
    assert write_report(directory) == directory / "report.html"
    assert {path.name for path in directory.iterdir()} == before | {"report.html"}

    def full(self, *arguments, **options):
        raise OSError(28, "No space left on device")

    whole = (directory / "report.html").read_text()
    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(DataError, match=r"report\.html: cannot be written: No space left"):
        write_report(directory)
    assert (directory / "report.html").read_text() == whole
    assert {path.name for path in directory.iterdir()} == before | {"report.html"}


def test_a_run_does_not_fail_for_want_of_templates(make_run, no_figures, monkeypatch, tmp_path, caplog):
    """Flower's bundle of a checkout leaves HTML and CSS files out."""
    directory = make_run(rounds=1).write()
    with monkeypatch.context() as bundle:
        bundle.setattr(page_module, "TEMPLATES", tmp_path / "none")
        with pytest.raises(DataError, match=r"has no page\.html, as in Flower's bundle"):
            write_report(directory)
        report_run(directory)
    assert f"fedsq report {directory} makes it" in caplog.text
    assert not (directory / "report.html").exists()
    report_run(directory)
    page = directory / "report.html"
    made = page.stat().st_mtime_ns
    report_run(directory)
    assert page.stat().st_mtime_ns == made  # it was there
    os.utime(page, (0, 0))  # of the run before it was resumed
    report_run(directory)
    assert page.stat().st_mtime_ns > 0


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("two\nlines"), OSError(28, "No space left"), KeyError("x")]
)
def test_whatever_goes_wrong_with_a_page_is_one_line_of_warning(make_run, monkeypatch, error):
    def fail(_):
        raise error

    monkeypatch.setattr(page_module, "_figures", fail)
    directory, warnings = make_run(rounds=1).write(), []
    report_run(directory, warnings.append)
    (told,) = warnings
    assert told.startswith("there is no report: ")
    assert told.endswith(f"fedsq report {directory} makes it")
    assert "\n" not in told


LAYERS = ["relu", "maxpool", "layer1.0.relu", "layer1.0.relu#2"]


def test_the_plain_form_has_its_line(make_run, no_figures):
    files = make_run(rounds=2)
    assert "plain form" not in Visible(page_of(files)).text
    names = ("plain_best_accuracy", "plain_test_accuracy", "plain_final_validation_accuracy", "plain_final_accuracy")
    files.summary.update(zip(names, (0.91, 0.82, 0.73, 0.64), strict=True))
    told = "the best model reaches 0.910 on validation and 0.820 on test, the last one 0.730 and 0.640."
    assert f"(the plain form), {told}" in Visible(page_of(files)).text
    files.summary.update(dict.fromkeys(names))
    assert "plain form" not in Visible(page_of(files)).text


def test_diagnostics_are_drawn_and_their_numbers_are_the_files(make_run):
    files = make_run(rounds=4, silos=3, classes=3)
    files.diagnose(LAYERS, 1, 2, 4)  # round 3 was run without
    page = page_of(files)
    assert page.count("<figure>") == 6
    text = Visible(page).text
    assert "signs, and of max-pooling winners, that differ from the fixed gates, on 64 validation images" in text
    assert "4.0 % of all signs in round 4" in text
    assert "(0.500 over 8.000 in round 4)" in text
    run = read_run(files.directory)
    picture = heat_maps.flips_by_layer(
        [(line.round, line.diagnostics) for line in run.rounds if line.diagnostics]
    ).inline
    shown = re.findall(r">([^<>]+)</text>", picture)
    assert [name for name in shown if name in LAYERS] == LAYERS
    assert [shown.count(rate) for rate in ("1", "2", "3", "4")] == [4 + 2, 4 + 1, 1, 4 + 1]  # cells, and axes


def test_diagnostics_of_a_method_without_fixed_gates_name_the_start(make_run):
    files = make_run(rounds=1, silos=2, classes=2)
    files.set(method__name="fedavg", method__gates="none")
    files.diagnose(LAYERS[:1], 1)
    text = Visible(page_of(files)).text
    assert "own ReLU signs that differ from the gates of the start" in text
    assert "max-pooling" not in text


@pytest.mark.parametrize("layers", [1, 200])
def test_diagnostics_of_any_depth_are_drawn(make_run, layers):
    files = make_run(rounds=20, silos=1, classes=2)
    files.diagnose([f"a.very.long.name.of.a.layer.{number}.relu" for number in range(layers)], *range(1, 21))
    files.history[3]["diagnostics"]["layers"][0]["flip_rate"] = None
    files.history[4]["diagnostics"]["averaging"].update(gap=None, spread=None, relative=None)
    page = page_of(files)
    assert "Flipped gates by layer and round" in page
    assert len(page) < 600_000


def test_broken_diagnostics_are_named(make_run):
    files = make_run(rounds=2)
    files.diagnose(LAYERS, 2)
    del files.history[1]["diagnostics"]["averaging"]["gap"]
    with pytest.raises(DataError, match=r"line 2, 'diagnostics', 'averaging': the field 'gap' is missing"):
        page_of(files)


PROVENANCE = {
    "date": "2026-11-29T20:15:00+01:00",
    "command": "fedsq run method=fedsq",
    "commit": "ab" * 20,
    "clean": False,
    "processor": "A processor",
    "cores": 2,
    "data": "moles",
    "data_sha256": "cd" * 32,
}


def test_the_page_says_where_its_numbers_come_from_and_names_a_folder_of_images_by_its_folder(make_run, no_figures):
    files = make_run()
    files.set(data__name="imagefolder", data__path="/data/moles")
    files.summary.update(provenance=PROVENANCE, weights={"source": "imagenet", "sha256": "ef" * 32})
    text = Visible(page_of(files)).text
    assert "fedsq on moles, 10 silos" in text
    for told in (
        "Date 2026-11-29T20:15:00+01:00",
        "Command line fedsq run method=fedsq",
        f"Commit {'ab' * 20}, with changes that are not committed",
        "Processor A processor, 2 cores",
        f"Data moles, sha256 {'cd' * 32}",
        f"Weights at the start imagenet, sha256 {'ef' * 32}",
        "Seeds 0",
    ):
        assert told in text
    assert "digits" not in text.partition("Provenance")[2]


def test_a_run_of_an_older_version_says_that_its_origin_is_not_recorded(make_run, no_figures):
    text = Visible(page_of(make_run())).text
    assert "Date not recorded" in text
    assert "Commit not recorded" in text


def test_each_figure_lies_beside_the_page_and_is_linked_there(make_run):
    files = make_run(rounds=2, silos=3, classes=3)
    files.diagnose(LAYERS, 1, 2)
    page = page_of(files)
    names = ("accuracy", "averaging", "flips", "loss", "partition", "silos")
    beside = files.directory / "figures"
    assert {path.name for path in beside.iterdir()} == {f"{name}.{kind}" for name in names for kind in ("csv", "svg")}
    assert "PDF" not in page
    page = write_report(files.directory, pdf=True).read_text()
    for name in names:
        assert f'href="figures/{name}.pdf"' in page
        assert (beside / f"{name}.pdf").read_bytes().startswith(b"%PDF")
        assert "var(--" not in (beside / f"{name}.svg").read_text()  # it stands alone
    write_report(files.directory)
    assert not list(beside.glob("*.pdf"))  # what no page links to may be of other rounds


@pytest.mark.parametrize("kind", ["svg", "pdf"])
def test_the_same_run_gives_the_same_figures(make_run, kind):
    run = read_run(make_run(rounds=2, silos=2, classes=2).write())
    first, second = (figures.loss_by_round(run.rounds, 1).file(kind) for _ in range(2))
    assert first == second


def test_the_csv_of_a_figure_holds_what_is_drawn(make_run):
    files = make_run(rounds=2, silos=3, classes=3)
    files.history[1].update(accuracy=None)
    page_of(files)
    lines = (files.directory / "figures" / "accuracy.csv").read_text().splitlines()
    assert lines[0] == "round,validation,test,worst silo,best silo"
    accuracies = files.history[1]["silo_accuracies"].values()
    told = [2, "", files.history[1]["test_accuracy"], min(accuracies), max(accuracies)]
    assert lines[2] == ",".join(map(str, told))
    lines = (files.directory / "figures" / "partition.csv").read_text().splitlines()
    counts = files.partition["counts"][0]
    assert lines[1] == ",".join(map(str, [0, *counts, sum(counts)]))


def spots_of(drawing):
    told = html.unescape(re.search('data-spots="([^"]*)"', drawing.inline)[1])
    return {text: (x, y, group) for x, y, text, group in json.loads(told)}


def test_a_figure_tells_its_values_where_they_are_drawn(make_run):
    run = read_run(make_run(rounds=3, silos=4, classes=3).write())
    curves = figures.accuracy_by_round(run.rounds, 2)
    markers = [(float(x), float(y)) for x, y in re.findall(r'<use [^>]*x="([\d.]+)" y="([\d.]+)"', curves.inline)]
    for line in run.rounds:
        x, y, _ = spots_of(curves)[f"validation, round {line.round}: accuracy {line.accuracy:.4g}"]
        assert min(math.dist((x, y), marker) for marker in markers) < 0.1
    silo = run.summary.evaluated_silos[0]
    assert f"silo {silo.silo}: accuracy {silo.accuracy:.3f}" in spots_of(figures.accuracy_by_silo(run.summary))
    assert f"silo 1, class 2: {run.partition.counts[1][2]}" in spots_of(heat_maps.partition_picture(run.partition))


def test_the_pages_policy_allows_its_own_script_and_no_other(make_run, no_figures):
    page = page_of(make_run(rounds=1))
    script = re.search("<script>(.*?)</script>", page, re.DOTALL)[1]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'\"" in page


@pytest.mark.parametrize(("silos", "classes"), [(3, 2), (50, 10), (200, 100)])
def test_cells_are_sharp_where_a_program_smooths_images(make_run, silos, classes):
    """As CairoSVG and MuPDF do: only the outermost pixels of a cell may then mix with those of the next one."""
    run = read_run(make_run(rounds=1, silos=silos, classes=classes).write())
    document = heat_maps.partition_picture(run.partition).file("svg").decode()
    (embedded,) = re.findall(r'href="data:image/png;base64,\s*([^"]+)"', document)
    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(embedded))))
    high, wide = pixels.shape[0] / silos, pixels.shape[1] / classes
    assert min(high, wide) >= 5
    assert (high, wide) == (int(high), int(wide))
    cells = pixels.reshape(silos, int(high), classes, int(wide), -1)
    assert (cells == cells[:, :1, :, :1]).all()
    assert len(document) < 500_000
