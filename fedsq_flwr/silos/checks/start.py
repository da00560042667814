"""What a silo starts a run from: its pretrained weights, and the gates that they give."""

import shlex
from pathlib import Path

from fedsq_flwr.assembly.model import build_silo_model
from fedsq_flwr.assembly.network import load_start
from fedsq_flwr.assembly.pretraining import find_pretrained
from fedsq_flwr.errors import ConfigurationError, WeightsError
from fedsq_flwr.gating import DualCopy
from fedsq_flwr.models.torch_files import file_sha256
from fedsq_flwr.settings.run import RunSettings
from fedsq_flwr.silos.checks.finding import Finding, Mark, fail, ok, warn

_WEIGHTS, _GATES = "weights", "gates"


def check_weights(run: RunSettings, classes: int) -> Finding:
    """Load the weights that the run starts from at this silo; none are pretrained for it."""
    if run.executor.structure == "sent":
        return ok(_WEIGHTS, "come from the server (executor.structure=sent)")
    if _to_be_made(run):
        return ok(_WEIGHTS, "backbone.weights=mnist: pretrained here when a run begins, once, in half a minute")
    try:
        if (path := Path(run.backbone.weights)).is_absolute() and not path.exists():
            raise WeightsError(f"weights={path}: there is no such file")
        start = load_start(run, classes)
    except (WeightsError, ConfigurationError) as error:
        another = "give weights=FILE, the one that the server's operator names"
        return fail(_WEIGHTS, error, another if isinstance(error, WeightsError) else "")
    if start.file is None:
        return ok(_WEIGHTS, "random, drawn from the run's seed")
    sha256 = file_sha256(start.file.path)
    told = f"{start.file.path}\nsha256 of the file:\n{sha256}"
    delete = f"rm {shlex.quote(str(start.file.path))}"
    if not sha256.startswith(start.file.sha256_begins):
        return warn(
            _WEIGHTS, f"{told}\nis not what was published", "delete it, so that it is downloaded again:", delete
        )
    return ok(_WEIGHTS, told)


def check_gates(run: RunSettings, classes: int) -> Finding:
    """Tell the fingerprint of the gates that this silo would work under, which must be the server's."""
    if run.method.gates == "none":
        return ok(_GATES, f"none: {run.method.name} has the network's own ReLUs")
    if run.executor.structure == "sent" and run.method.gates == "pretrained":
        return ok(_GATES, "sent by the server, once")
    if _to_be_made(run):
        return Finding(_GATES, Mark.SKIP, "not checked: there are no weights yet")
    # On the processor: the fingerprint is that of any device, and the one that is named may not be there.
    model = build_silo_model(run.changed(executor={"device": "cpu"}), classes)
    if not isinstance(model, DualCopy):
        raise TypeError(f"expected a DualCopy, got {type(model)}")
    return ok(_GATES, f"their fingerprint, which must be that of the server's runs:\n{model.fingerprint}")


def _to_be_made(run: RunSettings) -> bool:
    needed = run.executor.structure == "own" and run.backbone.weights == "mnist"
    return needed and find_pretrained(run) is None
