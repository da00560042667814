"""Weights on the Hugging Face hub, kept in the hub's own cache (``HF_HOME``)."""

import re
from pathlib import Path

from fedsq_flwr.errors import WeightsError
from fedsq_flwr.models.hub_layout import CONFIGURATION, FILES, read_configuration
from fedsq_flwr.models.weights import WeightsFile, stated

_NAME = re.compile(r"hf:(?P<repository>[\w.-]+/[\w.-]+)(?:/(?P<file>[^@]+))?(?:@(?P<revision>[^@]+))?")


def hub_weights(name: str) -> WeightsFile:
    """Return the weights ``hf:owner/name[/file][@revision]``, from the hub's cache or downloaded to it.

    A file that does not state how its images were normalised gets mean, std, input size and licence from
    ``pretrained_cfg`` in the repository's ``config.json`` (timm's convention). The source names the commit,
    also where ``name`` has a branch or a tag.

    Raises
    ------
    WeightsError
        If the name is malformed, or the file is not there or cannot be downloaded.
    """
    parts = _NAME.fullmatch(name)
    if parts is None:
        raise WeightsError(
            f"backbone.weights={name}: write hf:owner/name, hf:owner/name/file or either with @revision"
        )
    repository, wanted, revision = parts["repository"], parts["file"], parts["revision"]
    path, reasons = None, []
    for file in [wanted] if wanted else FILES:
        path, reason = _cached(repository, file, revision)
        if path is not None:
            break
        reasons.append(f"{file}: {reason}")
    if path is None:
        raise WeightsError(
            f"backbone.weights={name}: {'; '.join(reasons)}; download the file and give backbone.weights its path"
        )
    commit = path.parts[path.parts.index("snapshots") + 1]
    said = stated(path)
    if said.keys().isdisjoint(("mean", "std")):
        configuration, _ = _cached(repository, CONFIGURATION, commit)
        said = {**({} if configuration is None else read_configuration(configuration)), **said}
    return WeightsFile(path=path, source=f"hf:{repository}/{file}@{commit}", **said)


def _cached(repository: str, file: str, revision: str | None) -> tuple[Path | None, str]:
    """Return the file, or None and the reason why it cannot be had."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        return Path(hf_hub_download(repository, file, revision=revision)), ""
    except LocalEntryNotFoundError:
        return None, "not in the hub's cache, and the hub cannot be reached"
    except (OSError, ValueError) as error:  # also the hub's other errors, and bad names
        return None, " ".join(str(error).split()).partition(". ")[0]
