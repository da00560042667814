"""A ResNet-20 that others trained on CIFAR-10 classifies its test images here as it should."""

import io
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from fedsq_flwr.data.pipelines import InputPipeline
from fedsq_flwr.models import build_backbone, load_weights

FOLDER = Path(os.environ.get("FEDSQ_DATA", "/no/such/folder"))
WEIGHTS, IMAGES = FOLDER / "resnet20-cifar10" / "model.safetensors", FOLDER / "cifar10" / "test.parquet"


@pytest.mark.skipif(not (WEIGHTS.is_file() and IMAGES.is_file()), reason="FEDSQ_DATA holds no CIFAR-10")
def test_published_weights_classify_cifar10() -> None:
    from PIL import Image
    from pyarrow import parquet

    network = build_backbone("resnet20", in_channels=3, classes=10, seed=0).eval()
    report = load_weights(network, WEIGHTS, head="fc")
    assert report.renamed == (("linear.weight", "fc.weight"), ("linear.bias", "fc.bias"))
    assert (report.head, report.classes, report.counters) == ("loaded", 10, 19)

    table = parquet.read_table(IMAGES).slice(0, 2000)
    pixels = np.stack([np.asarray(Image.open(io.BytesIO(image["bytes"]))) for image in table["img"].to_pylist()])
    pipeline = InputPipeline(32, 3, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    images = pipeline(torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255)
    labels = torch.tensor(table["label"].to_pylist())
    with torch.no_grad():
        logits = torch.cat([network(batch) for batch in images.split(250)])
    accuracy = (logits.argmax(1) == labels).float().mean().item()
    assert accuracy == pytest.approx(0.82, abs=0.005)  # of all 10,000: 0.810
