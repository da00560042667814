"""Names of tensors in other people's files, and what they are called here.

Only what is common and unambiguous is adapted (our choice): wrappers' prefixes that every name carries,
the head's name, and the names of DenseNet's layers from before torch forbade dots in them.
"""

import re
from collections.abc import Collection, Set

#: Left by DataParallel, Lightning and other wrappers, and torch.compile.
PREFIXES = ("module.", "model.", "backbone.", "_orig_mod.")

#: What the last layer is called in files of image classifiers.
HEADS = ("fc", "linear", "classifier", "classifier.6", "head")

#: GoogLeNet's auxiliary classifiers, which only its own training used.
AUXILIARY = ("aux1.", "aux2.")

_OLD_DENSE_LAYER = re.compile(r"(denselayer\d+\.(?:norm|conv))\.([12])\.")


def common_prefix(names: Collection[str], own: Set[str]) -> str:
    """Return the prefix, of `PREFIXES` and repeated, that all ``names`` carry and the network's ``own`` do not."""
    prefix = ""
    while names and not any(name.removeprefix(prefix) in own for name in names):
        found = [p for p in PREFIXES if all(name.startswith(prefix + p) for name in names)]
        if not found:
            break
        prefix += found[0]
    return prefix


def renamed(names: Collection[str], own: Set[str], head: str | None) -> dict[str, str]:
    """Return, for each of ``names`` that has another name in the network, that name.

    Parameters
    ----------
    names : collection of str
        Names in the file, without the common prefix.
    own : set of str
        The network's names.
    head : str or None
        What the network calls its head.
    """
    changes = {}
    for name in names:
        new = _OLD_DENSE_LAYER.sub(r"\1\2.", name)
        if new != name and new in own and new not in names:
            changes[name] = new
    if head is not None and f"{head}.weight" not in names:
        other = [h for h in HEADS if f"{h}.weight" in names and f"{h}.weight" not in own]
        if len(other) == 1:
            parts = (part for part in ("weight", "bias") if f"{other[0]}.{part}" in names)
            changes |= {f"{other[0]}.{part}": f"{head}.{part}" for part in parts}
    return changes
