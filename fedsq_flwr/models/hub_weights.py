"""Weights on the Hugging Face hub, kept in the hub's own cache (``HF_HOME``)."""

import json
import re
from pathlib import Path
from typing import Any

from fedsq_flwr.errors import WeightsError
from fedsq_flwr.models.weights import WeightsFile, stated

#: Files to look for, in this order, where the name has no file.
FILES = ("model.safetensors", "pytorch_model.bin")

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
    if "mean" not in said:
        said = {**_configured(repository, commit), **said}
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


def _configured(repository: str, commit: str) -> dict[str, Any]:
    path, _ = _cached(repository, "config.json", commit)
    if path is None:
        return {}
    try:
        told = json.loads(path.read_text(encoding="utf-8")).get("pretrained_cfg", {})
        fields = {"mean": told.get("mean"), "std": told.get("std"), "licence": told.get("license")}
        size = told.get("input_size")  # channels, height, width
        fields["input_size"] = None if size is None else int(size[-1])
        for name in ("mean", "std"):
            fields[name] = None if fields[name] is None else tuple(map(float, fields[name]))
    except (ValueError, TypeError, AttributeError) as error:
        raise WeightsError(f"{path}: cannot be read as a model's configuration: {error}") from error
    return fields
