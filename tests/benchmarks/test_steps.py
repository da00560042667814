from scripts.benchmarks.steps import too_slow


def test_only_a_median_of_ours_above_the_limit_is_named() -> None:
    found = {
        "small": {"plain again": [9.0, 9.0, 9.0], "naive": [9.0, 9.0, 9.0], "ours": [1.2, 9.0, 1.1]},
        "large": {"plain again": [1.0, 1.0, 1.0], "naive": [1.3, 1.3, 1.3], "ours": [1.6, 1.7, 1.0]},
    }
    assert too_slow(found, 1.5) == ["ours of large takes 1.60, the limit is 1.5"]
    assert too_slow(found, 1.7) == []
