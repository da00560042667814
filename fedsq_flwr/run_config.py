"""From Flower's run config to the settings of a run: composed by Hydra here, or composed already and sent as JSON."""

from flwr.app import Context

from fedsq_flwr.federation.protocol import SETTINGS
from fedsq_flwr.settings.composition import compose_settings
from fedsq_flwr.settings.files import with_absolute_paths
from fedsq_flwr.settings.overrides import split_overrides
from fedsq_flwr.settings.run import RunSettings


def settings_of(context: Context) -> RunSettings:
    """Return the settings that the run config asks for.

    Under plain ``flwr run`` the run config has the keys ``experiment`` and ``overrides``, of which Hydra composes the
    settings here, once. The executors send settings that were composed already.

    Raises
    ------
    ConfigurationError
        One line that names the setting, the value and what is allowed.
    """
    told = {name: str(value) for name, value in context.run_config.items()}
    if told.get(SETTINGS):
        return RunSettings.from_json(told[SETTINGS])
    preset = [f"experiment={told['experiment']}"] if told.get("experiment") else []
    return with_absolute_paths(compose_settings([*preset, *split_overrides(told.get("overrides", ""))]))
