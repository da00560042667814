"""A short part of `scripts.soak.files`: damages of a finished run's files."""

from collections import Counter

from scripts.soak import files


def test_damaged_files_are_one_line_or_change_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr("fedsq_flwr.report.page._figures", lambda _: [])
    whole = files.make_runs(tmp_path)
    told = Counter()
    assert files.soak(whole, tmp_path, count=5, seed=20, told=told) == []
    assert sum(told.values()) == 5 * len(files.USES)
