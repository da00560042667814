"""Settings of several variants at once: what belongs to the chosen ones stays."""

from collections.abc import Collection
from typing import Any

from fedsq_flwr.errors import ConfigurationError
from fedsq_flwr.settings.fields import Model, inlined, tag_of, tags_of, variants_of
from fedsq_flwr.settings.mistakes import only_of, written
from fedsq_flwr.settings.run import RunSettings


def drop_other_variants(data: dict[str, Any], told: Collection[str] = ()) -> dict[str, Any]:
    """Return settings as nested mappings without the values of variants that are not chosen.

    Parameters
    ----------
    data : dict
        Settings of any variants; not changed.
    told : collection of str
        Settings that a person gave a value by an override, and that are refused rather than dropped.

    Raises
    ------
    ConfigurationError
        If one of ``told`` is a setting of another variant.
    """
    return _chosen_variants(data, RunSettings, "", told)


def _chosen_variants(data: dict[str, Any], model: Model, prefix: str, told: Collection[str]) -> dict[str, Any]:
    kept = dict(data)
    for field, info in model.model_fields.items():
        variants, tag = variants_of(info), tag_of(info)
        flat_field = field in inlined(model)
        level, below = (kept, prefix) if flat_field else (kept.get(field), f"{prefix}{field}.")
        if not variants or not isinstance(level, dict):
            continue
        told_tag = level.get(tag, getattr(info.default, tag, None)) if tag else None
        chosen = next((each for each in variants if tag is None or told_tag in tags_of(each, tag)), None)
        if chosen is None:  # an unknown name, which the validation names
            continue
        others = {name for each in variants for name in each.model_fields} - chosen.model_fields.keys()
        for name in others & level.keys():
            if f"{below}{name}" in told:
                foreign = only_of(RunSettings, f"{below}{name}", chosen)
                raise ConfigurationError(f"{below}{name}={written(level[name])}: {foreign}")
        own = {name: value for name, value in level.items() if name not in others}
        if flat_field:
            kept = own
        else:
            kept[field] = _chosen_variants(own, chosen, below, told)
    return kept
