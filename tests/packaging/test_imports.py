"""Each process imports what it needs and no more: heavy packages take from a tenth of a second to seconds each."""

import subprocess
import sys

import pytest

from fedsq_flwr.settings.composition import compose_settings

#: What a process that trains or serves has no use for.
_UNUSED = (
    *("datasets", "flwr_datasets", "hydra", "matplotlib", "pandas", "PIL", "ray", "scipy", "seaborn", "sklearn"),
    *("sympy", "torch._dynamo", "torchvision"),
)
_HTTP = ("fastapi", "requests")  # of Flower, for real silos
_EVERYTHING = ("torch", "flwr", "numpy", *_HTTP, *_UNUSED)

_HELP = """
from contextlib import suppress
from fedsq_flwr.cli import main
with suppress(SystemExit):
    main(["--help"])
"""

# What a Ray actor, a worker in process and a silo do with a message; the data come from the server, or from a folder.
_SILO = """
import sys, torch
from fedsq_flwr import client_app
from fedsq_flwr.assembly.model import build_silo_model, gate_cache, prepare_torch, training_settings
from fedsq_flwr.assembly.network import network_bytes
from fedsq_flwr.federation import FedSQClient
from fedsq_flwr.settings.run import RunSettings
settings = RunSettings.from_json(sys.argv[1])
prepare_torch(settings)
network_bytes(settings.backbone, 10)  # bounds the first message
samples = torch.zeros(16, 1, 8, 8), torch.arange(16) % 10
model = build_silo_model(settings, 10)
options = {"settings": training_settings(settings), "silo": 0, "seed": 0, "gates": gate_cache(settings)}
silo = FedSQClient(model, train=samples, held_out=samples, **options)
parameters = [tensor.numpy() for tensor in model.quantitative_state().values()]
config = {"server-round": 1, "fingerprint": model.fingerprint}
silo.fit(parameters, config)
silo.evaluate(parameters, config)
"""


@pytest.mark.parametrize(
    ("program", "unused"),
    [
        pytest.param("import fedsq_flwr", (*_EVERYTHING, "pydantic", "rich"), id="the package"),
        pytest.param(_HELP, (*_EVERYTHING, "pydantic"), id="fedsq --help"),
        pytest.param(
            "from fedsq_flwr.settings.composition import compose_settings; compose_settings([])",
            [name for name in _EVERYTHING if name != "hydra"],
            id="settings",
        ),
        pytest.param(
            "import fedsq_flwr.job, fedsq_flwr.server_app", (*_UNUSED, *_HTTP), id="a server, and its command"
        ),
        pytest.param(_SILO, (*_UNUSED, *_HTTP), id="a silo's work"),
        pytest.param("import fedsq_flwr.silos.link", ("torch", *_UNUSED), id="the connection of a real silo"),
    ],
)
def test_a_process_imports_only_what_it_needs(program: str, unused: tuple[str, ...]) -> None:
    tell = f"import sys; sys.exit(', '.join(sorted({{*{unused!r}}} & set(sys.modules))) or None)"
    told = compose_settings(["backbone.weights=random", "backbone.image_size=8"]).to_json()
    command = [sys.executable, "-c", f"{program}\n{tell}", told]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert (done.stderr, done.returncode) == ("", 0)
