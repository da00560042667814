"""`fedsq export`: a file that torch alone can run, and that says how to feed it."""

import json

import pytest
import torch

from fedsq_flwr.cli import main
from fedsq_flwr.data.sources import load_digits
from fedsq_flwr.records.restoring import restore
from tests.assembly.fitted import fit_images


@pytest.mark.parametrize(("run", "form"), [("fedsq", "dual"), ("fedavg", "plain")])
def test_the_file_gives_the_runs_logits_from_images_made_as_its_notes_say(runs, tmp_path, capsys, run, form):
    target = tmp_path / "model.pt2"
    assert main(["export", str(runs / run), "--output", str(target)]) == 0
    assert capsys.readouterr().out == f"{target}\n"
    notes = {"fedsq.json": ""}
    program = torch.export.load(target, extra_files=notes).module()
    told = json.loads(notes["fedsq.json"])
    restored = restore(runs / run)
    assert (told["form"], told["round"], told["classes"]) == (form, restored.round, list(restored.class_names))
    raw = load_digits().test.subset(range(12))
    assert raw.images.shape[1:] == (told["in_channels"], told["image_size"], told["image_size"])
    mean, std = (torch.tensor(told[name]).view(-1, 1, 1) for name in ("mean", "std"))
    images = (raw.images - mean) / std
    assert torch.equal(images, fit_images(restored.settings, raw).images)
    with torch.no_grad():
        network = restored.network(form)
        assert torch.allclose(program(images), network(images), atol=1e-5)
        assert torch.equal(program(images), network.to(memory_format=torch.contiguous_format)(images))


def test_a_wrong_name_or_form_is_told_before_anything_is_written(runs, tmp_path, capsys):
    assert main(["export", str(runs / "fedsq"), "--output", str(tmp_path / "model.pt")]) == 1
    assert "must end in .pt2" in capsys.readouterr().err
    assert main(["export", str(runs / "fedavg"), "--form", "dual", "--output", str(tmp_path / "m.pt2")]) == 1
    assert "allowed is plain" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
