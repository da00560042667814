import importlib.util
import re
from pathlib import Path

from flwr.app import Context, RecordDict

from fedsq_flwr.executors.grid import InProcessGrid

FILE = Path(__file__).parents[2] / "examples" / "own_app" / "own_app.py"


def test_the_example_learns(capsys):
    spec = importlib.util.spec_from_file_location("own_app", FILE)
    own_app = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(own_app)
    with InProcessGrid(own_app.client, silos=4) as grid:
        own_app.server(grid, Context(1, 1, {}, RecordDict(), {"rounds": 3}))
    accuracies = [float(a) for a in re.findall(r"accuracy (0\.\d+|1\.0+)", capsys.readouterr().out)]
    assert len(accuracies) == 4
    assert accuracies[-1] > accuracies[0] + 0.03
