"""What of a folder gives no image reaches the person, not the log alone: the logger of the assembly does."""

from pathlib import Path

import pytest

from fedsq_flwr.assembly.data import load_folder
from fedsq_flwr.settings.composition import compose_settings
from tests.data.folders import make


def test_classes_and_files_that_give_no_image_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    make(tmp_path, {"a/1.png": 1, "b/2.png": 2})
    (tmp_path / "c").mkdir()
    (tmp_path / "c/1.dcm").touch()
    load_folder(compose_settings(["data=imagefolder", f"data.path={tmp_path}", "backbone.weights=random"]), tmp_path)
    told = [record.getMessage() for record in caplog.records if record.name.startswith("fedsq_flwr.assembly")]
    assert told == [
        f"{tmp_path}: of train, no image of the class c",
        f"{tmp_path}: of train, 1 file left out because of the suffix: 1 .dcm (c/1.dcm)",
    ]
