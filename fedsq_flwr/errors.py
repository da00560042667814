"""The errors whose message is meant for the person at the keyboard.

Each message is one line that names the setting or the file, the value found, and what is allowed.
The command line prints it as it is and exits with a status other than zero; anything else that is
raised is a defect of the program and keeps its traceback.
"""


class FedSQError(Exception):
    """Base of every error that is reported as one line."""


class ConfigurationError(FedSQError):
    """A setting has a wrong type or value, or does not exist."""


class DataError(FedSQError):
    """A data set is missing, unreadable or does not fit the settings."""


class WeightsError(FedSQError):
    """A file of weights is missing, broken or does not fit the network."""


class RunFailedError(FedSQError):
    """A run started, and did not do what was asked."""


class NotReadyError(FedSQError):
    """A silo that was checked before it joins cannot."""
