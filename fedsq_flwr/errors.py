"""The errors whose message is meant for the person at the keyboard.

Each message is one line that names the setting or the file, the value found, and what is allowed.
The command line prints it as it is and exits with a status other than zero; anything else that is
raised is a defect of the program and keeps its traceback.
"""

import re

_LONGEST = 600  # characters of a line


class FedSQError(Exception):
    """Base of every error that is reported as one line.

    Parameters
    ----------
    message : str
        What went wrong. Values and names of files come from outside: characters that could steer a terminal or a log
        become blanks, and the middle of what is too long for a line is left out.
    *more : str
        Lines of their own, where several things went wrong side by side, such as the jobs of a sweep.
    """

    def __init__(self, message: str = "", *more: str) -> None:
        super().__init__("\n  ".join(map(_one_line, (message, *more))))


class ConfigurationError(FedSQError):
    """A setting has a wrong type or value, or does not exist."""


class DataError(FedSQError):
    """A data set is missing, unreadable or does not fit the settings."""


class WeightsError(FedSQError):
    """A file of weights is missing, broken or does not fit the network."""


class RunFailedError(FedSQError):
    """A run started, and did not do what was asked."""


class PrivacyError(FedSQError):
    """A silo's own privacy settings do not allow what was asked."""


class NotReadyError(FedSQError):
    """A silo that was checked before it joins cannot."""


def _one_line(text: str) -> str:
    line = "".join(letter if letter.isprintable() else "\n" for letter in text)
    line = re.sub(r" *\n[ \n]*", " ", line).strip()
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST * 3 // 4]} ... {line[-_LONGEST // 5 :]}"
