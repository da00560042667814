import json
from pathlib import Path

import pytest

from fedsq_flwr.executors.failure import logged_error, written_error

SERVER_APP_RAISED = """\
INFO :      Starting Flower Simulation
/lib/ray/_private/worker.py:2051: FutureWarning: Tip: In future versions of Ray
  warnings.warn(
ERROR :     Simulation raised an exception
Traceback (most recent call last):
  File "/lib/flwr/simulation/app.py", line 337, in run_simulation_process
    simulation_result = _run_simulation(
                        ^^^^^^^^^^^^^^^^
  File "/app/server_app.py", line 39, in main
    raise DataError("boom, and\\na second line")
fedsq_flwr.errors.DataError: boom, and
a second line
ERROR :     Exit Code: 700

An unhandled exception occurred when running the simulation.
INFO :      Finished task 13118804614199157967 of run 9474019230404173379
2026-11-22T16:40:50.997Z INFO [uvicorn.access] 127.0.0.1:38108 - "POST /v1/control/list-runs HTTP/1.1" 200
"""

TOO_FEW_CPUS = """\
ERROR :     Simulation raised an exception
Traceback (most recent call last):
  File "/lib/flwr/simulation/ray_transport/ray_actor.py", line 136, in pool_size_from_resources
    raise ValueError(
ValueError: ActorPool is empty. Stopping Simulation.

The above exception was the direct cause of the following exception:

Traceback (most recent call last):
  File "/lib/flwr/server/superlink/fleet/vce/vce_api.py", line 267, in run_api
    raise RuntimeError("Simulation Runtime crashed.") from ex
RuntimeError: Simulation Runtime crashed.

The above exception was the direct cause of the following exception:

Traceback (most recent call last):
  File "/lib/flwr/simulation/run_simulation.py", line 347, in _main_loop
    raise RuntimeError("An error was encountered. Ending simulation.") from ex
RuntimeError: An error was encountered. Ending simulation.
ERROR :     Exit Code: 700
"""

REFUSED = """\
╭─ Error ──────────────────────────────────────────────────────────────────────╮
│ Failed to load Flower App configuration in                                   │
│ '/app/pyproject.toml'. File may be missing or invalid.                       │
╰──────────────────────────────────────────────────────────────────────────────╯
2026-11-22T16:40:50.997Z INFO [uvicorn.access] 127.0.0.1:38108 - "POST /v1/control/list-runs HTTP/1.1" 200
"""

PORT_TAKEN = """\
INFO :      Starting Flower SuperLink
2026-11-22T16:37:00.744Z ERROR [uvicorn.error] [Errno 98] address already in use
2026-11-22T16:37:00.745Z INFO [uvicorn.error] Waiting for application shutdown.
"""


@pytest.mark.parametrize(
    ("log", "expected"),
    [
        (SERVER_APP_RAISED, "DataError: boom, and"),
        (TOO_FEW_CPUS, "ValueError: ActorPool is empty. Stopping Simulation."),
        (
            REFUSED,
            "Failed to load Flower App configuration in '/app/pyproject.toml'. File may be missing or invalid.",
        ),
        (PORT_TAKEN, "[Errno 98] address already in use"),
        ("INFO :      all is well\n", None),
        ("", None),
    ],
)
def test_the_line_that_says_best_what_went_wrong(log: str, expected: str | None) -> None:
    assert logged_error(log.splitlines()) == expected


def test_what_the_server_app_wrote_becomes_one_line(tmp_path: Path) -> None:
    path = tmp_path / "failure.json"
    path.write_text(json.dumps({"error": "2 of 10 replies\n  were usable"}))
    assert written_error(path) == "2 of 10 replies were usable"


@pytest.mark.parametrize("content", [None, "", '{"error": "half', "[]", "{}", '{"error": ""}'])
def test_what_is_no_failure_file_is_passed_over(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "failure.json"
    if content is not None:
        path.write_text(content)
    assert written_error(path) is None
