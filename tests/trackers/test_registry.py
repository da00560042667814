"""A package that is not installed is told by the extra that brings it."""

import sys

import pytest

from fedsq_flwr.errors import ConfigurationError
from fedsq_flwr.trackers import open_trackers
from fedsq_flwr.trackers.registry import TRACKERS


@pytest.mark.parametrize("name", TRACKERS)
def test_a_package_that_is_missing_is_named_with_its_extra(name: str, monkeypatch, tmp_path) -> None:
    monkeypatch.delitem(sys.modules, f"fedsq_flwr.trackers.{name}", raising=False)
    package = "torch.utils.tensorboard" if name == "tensorboard" else name
    for module in [module for module in sys.modules if f"{module}.".startswith(f"{package}.")] or [package]:
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ConfigurationError) as caught:
        open_trackers([name], tmp_path)
    assert str(caught.value).startswith(f"trackers={name}: cannot be imported (")
    assert str(caught.value).endswith(f"install it by pip install 'fedsq-flwr[{name}]'")
    assert list(tmp_path.iterdir()) == []


def test_no_tracker_imports_nothing(tmp_path) -> None:
    assert open_trackers([], tmp_path) == {}
