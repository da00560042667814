"""The pictures of the documentation show what their pages have."""

from pathlib import Path

import numpy as np
from PIL import Image

from fedsq_flwr.report.comparison.series import COLOURS

FIGURES = Path(__file__).parents[2] / "docs" / "figures"
METHODS = 5  # in comparison.png
FEWEST = 100  # pixels of a line of a curve


def test_the_picture_of_a_comparison_has_as_many_colours_as_methods():
    """Reduced to a palette, two methods had one colour."""
    pixels = np.asarray(Image.open(FIGURES / "comparison.png").convert("RGB")).reshape(-1, 3)
    wanted = [tuple(bytes.fromhex(colour[1:])) for colour in COLOURS[:METHODS]]
    counts = [int((pixels == colour).all(axis=1).sum()) for colour in wanted]
    assert min(counts) >= FEWEST, counts
