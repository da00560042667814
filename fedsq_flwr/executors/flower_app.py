"""The app directory for `flwr run`: a pyproject.toml and nothing else.

The code itself is imported from where it is installed, so that a checkout, an editable install and a
wheel run the same way.
"""

from dataclasses import dataclass
from pathlib import Path

import tomli_w

from fedsq_flwr.federation.protocol import SETTINGS
from fedsq_flwr.settings.run import RunSettings


@dataclass(frozen=True)
class FlowerApp:
    """The two halves of a Flower app, each as ``importable.module:name``.

    Flower looks for a plain assignment to that name in the module's text (``app = ServerApp()``); an
    annotated one or an import is not found.
    """

    serverapp: str
    clientapp: str


FEDSQ_APP = FlowerApp("fedsq_flwr.server_app:app", "fedsq_flwr.client_app:app")


def write_app(directory: Path, app: FlowerApp) -> None:
    """Make ``directory`` an app directory for `flwr run`."""
    directory.mkdir()
    project = {
        "project": {
            "name": "fedsq-flwr",
            "version": "1.0.0",
            "description": "FedSQ on Flower",
            "license": "Apache-2.0",
        },
        "tool": {
            "flwr": {
                "app": {
                    "publisher": "fedsq",
                    "components": {"serverapp": app.serverapp, "clientapp": app.clientapp},
                    "config": {SETTINGS: ""},
                }
            }
        },
    }
    (directory / "pyproject.toml").write_text(tomli_w.dumps(project), encoding="utf-8")


def write_run_config(path: Path, settings: RunSettings) -> None:
    """Write the run-config: all settings, as one JSON.

    A file, because on the command line Flower splits values with a regular expression that stumbles
    over quotes.
    """
    path.write_text(tomli_w.dumps({SETTINGS: settings.to_json()}), encoding="utf-8")
