"""Whether the silo can train: one step, on the device and with the network of a run, on images that are noise."""

import torch

from fedsq_flwr.assembly.model import model_of, prepare_torch, training_settings
from fedsq_flwr.assembly.network import random_network
from fedsq_flwr.errors import FedSQError
from fedsq_flwr.learning.precision import choose_device
from fedsq_flwr.learning.threads import torch_threads
from fedsq_flwr.learning.training import train_locally
from fedsq_flwr.report.numerals import count, duration
from fedsq_flwr.settings.run import RunSettings
from fedsq_flwr.silos.checks.finding import Finding, fail, ok

_NAME = "step"


def check_step(run: RunSettings, classes: int) -> Finding:
    """Train one step of the run's batch size, from random weights: neither the silo's data nor its weights count.

    Parameters
    ----------
    run : RunSettings
        As they hold at the silo.
    classes : int
        Of the network.
    """
    shape = (run.batch_size, run.backbone.in_channels, run.backbone.image_size, run.backbone.image_size)
    try:
        device = choose_device(run.executor.device)
    except ValueError as error:
        return fail(_NAME, f"device={error}")
    told = f"one of {count(run.batch_size, 'image')} of {shape[-1]} px on {device}"
    generator = torch.Generator().manual_seed(0)
    try:
        with torch_threads(run.executor.threads):
            prepare_torch(run)
            model = model_of(run, classes, random_network(run, classes, "a trial")).to(device)
            images = torch.randn(shape, generator=generator).to(device)
            labels = torch.randint(classes, (run.batch_size,), generator=generator).to(device)
            one = training_settings(run.changed(local_epochs=None, local_steps=1))
            result = train_locally(model, images, labels, one, seed=0)
    except FedSQError as error:
        return fail(_NAME, error)
    except (RuntimeError, MemoryError) as error:  # of torch, such as for want of memory, or of an operation
        reason = (str(error) or type(error).__name__).splitlines()[0]
        return fail(_NAME, f"{told} fails: {reason}", "give the run's settings after --run, or device=cpu")
    return ok(_NAME, f"{told} took {duration(result.seconds)}")
