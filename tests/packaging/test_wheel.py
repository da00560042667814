"""What an installation brings along, seen in the wheel itself."""

import subprocess
import sys
import zipfile
from pathlib import Path

CHECKOUT = Path(__file__).parents[2]


def test_the_wheel_holds_settings_templates_and_type_marker(tmp_path):
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)], cwd=CHECKOUT, check=True
    )
    (wheel,) = tmp_path.glob("*.whl")
    held = set(zipfile.ZipFile(wheel).namelist())
    source = CHECKOUT / "fedsq_flwr"
    wanted = [p for p in source.rglob("*") if p.suffix in {".py", ".yaml", ".html", ".css", ".md", ".typed"}]
    assert {p.relative_to(CHECKOUT).as_posix() for p in wanted} <= held
    assert {"page.html", "style.css"} <= {p.name for p in wanted}
    assert not any(name.startswith(("tests/", "scripts/", "runs/")) for name in held)


def test_the_public_names_import_and_loading_the_package_is_cheap():
    script = (
        "import sys, fedsq_flwr; assert 'torch' not in sys.modules and 'flwr' not in sys.modules;"
        "from fedsq_flwr import DualCopy, FedSQ, FedSQClient; assert 'torch' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_bad_settings_are_told_without_loading_torch():
    script = (
        "import sys\nfrom fedsq_flwr.cli import main\n"
        "assert main(['run', 'method=nope']) == 1\nassert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
