"""Settings: one schema, the groups in ``fedsq_flwr/conf``, and the checks of their values."""

from fedsq_flwr.config.composition import compose_config, to_config
from fedsq_flwr.config.schema import Config
from fedsq_flwr.config.validation import validate

__all__ = ["Config", "compose_config", "to_config", "validate"]
