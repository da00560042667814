"""What an installation brings along, seen in the wheel, the sdist and Flower's bundle themselves."""

import io
import os
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest
from flwr.cli.build import build_fab_from_disk

CHECKOUT = Path(__file__).parents[2]
CONF = CHECKOUT / "conf"
#: Each file of settings, by its name below ``conf``.
SETTINGS = {file.relative_to(CONF).as_posix(): file.read_bytes() for file in CONF.rglob("*.yaml")}


def build(target: str, source: Path, folder: Path) -> Path:
    """Build with hatchling, which needs no network; gives the one file that was made."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", target, "-d", str(folder)]
    subprocess.run(command, cwd=source, check=True, capture_output=True)
    (built,) = folder.iterdir()
    return built


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, unpacked as an installer does it."""
    return unpacked(build("wheel", CHECKOUT, tmp_path_factory.mktemp("wheel")))


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the sdist holds."""
    archive = build("sdist", CHECKOUT, tmp_path_factory.mktemp("sdist"))
    with tarfile.open(archive) as file:
        file.extractall(archive.parent / "files", filter="data")
    (folder,) = (archive.parent / "files").iterdir()
    return folder


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `flwr run .` sends to the SuperLink, unpacked as it is there."""
    folder = tmp_path_factory.mktemp("bundle")
    zipfile.ZipFile(io.BytesIO(build_fab_from_disk(CHECKOUT))).extractall(folder)  # noqa: S202 - our own
    return folder


@pytest.fixture
def editable(tmp_path: Path) -> Path:
    """What `pip install -e` puts into site-packages: the checkout's path, and a copy of the settings as they were."""
    site = tmp_path / "site"
    (site / "fedsq_flwr" / "conf").mkdir(parents=True)
    (site / "fedsq_flwr" / "conf" / "config.yaml").write_text("rounds: 77\n")
    (site / "_editable_impl_fedsq_flwr.pth").write_text(f"{CHECKOUT}\n")
    return site


def unpacked(wheel: Path) -> Path:
    folder = wheel.parent / "files"
    zipfile.ZipFile(wheel).extractall(folder)  # noqa: S202 - our own
    return folder


def held(folder: Path) -> set[str]:
    return {file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()}


def settings_in(conf: Path) -> dict[str, bytes]:
    return {name: (conf / name).read_bytes() for name in held(conf)}


#: Composes the default settings, and says where its files are from.
PROGRAM = """
import fedsq_flwr
from fedsq_flwr.settings.composition import compose_settings, conf_directory
settings = compose_settings(["output=out", "cache_dir=cache", *{overrides}])
print(fedsq_flwr.__file__, conf_directory(), settings.to_json(), sep="\\n")
"""


def composed(tmp_path: Path, path: str, before: str = "", overrides: tuple[str, ...] = ()) -> tuple[Path, Path, str]:
    """Compose in another process, from another folder, with ``path`` first: the module's file, ``conf``, the JSON."""
    done = subprocess.run(
        [sys.executable, "-c", before + PROGRAM.format(overrides=list(overrides))],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": path, "FEDSQ_DATA": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    module, conf, settings = done.stdout.splitlines()
    return Path(module).parent.parent, Path(conf), settings


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The default settings as the checkout composes them."""
    return composed(tmp_path_factory.mktemp("expected"), str(CHECKOUT))[2]


def test_the_wheel_holds_code_settings_and_type_marker_and_nothing_else(wheel: Path) -> None:
    source = CHECKOUT / "fedsq_flwr"
    files = [p for p in source.rglob("*") if p.is_file() and "__pycache__" not in p.parts]
    wanted = {p.relative_to(CHECKOUT).as_posix() for p in files} | {f"fedsq_flwr/conf/{name}" for name in SETTINGS}
    assert "fedsq_flwr/py.typed" in wanted
    assert {name for name in held(wheel) if ".dist-info/" not in name} == wanted
    assert settings_in(wheel / "fedsq_flwr" / "conf") == SETTINGS


def test_the_sdist_holds_the_repository_and_a_wheel_is_built_of_it(sdist: Path, wheel: Path, tmp_path: Path) -> None:
    assert settings_in(sdist / "conf") == SETTINGS
    listed = subprocess.run(["git", "ls-files"], cwd=CHECKOUT, capture_output=True, text=True, check=False).stdout
    there = {name for name in listed.splitlines() if (CHECKOUT / name).exists()}
    assert there | {"PKG-INFO", "pyproject.toml", "scripts/venv", "tests/packaging/test_wheel.py"} <= held(sdist)
    assert not any(name.startswith(("runs/", ".venv/")) for name in held(sdist))
    assert os.access(sdist / "scripts" / "test", os.X_OK)
    again = unpacked(build("wheel", sdist, tmp_path / "wheel"))
    assert held(again) == held(wheel)


def test_flowers_bundle_holds_code_and_settings_at_its_root(bundle: Path) -> None:
    assert settings_in(bundle / "conf") == SETTINGS
    code = {p.relative_to(CHECKOUT).as_posix() for p in (CHECKOUT / "fedsq_flwr").rglob("*.py")}
    kept = {"pyproject.toml", "LICENSE", "README.md", "fedsq_flwr/report/templates/comparison.md", ".info/CONTENT"}
    assert held(bundle) == code | kept | {f"conf/{name}" for name in SETTINGS}
    app = tomllib.loads((bundle / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["flwr"]["app"]
    pinned = re.search(r"^flwr==(.+)$", (CHECKOUT / "constraints.txt").read_text(encoding="utf-8"), re.M)
    assert pinned is not None
    assert (app["fab-format-version"], app["flwr-version-target"]) == (1, pinned[1])


def test_settings_are_real_files() -> None:
    """A link is followed by one packer and left out by the next."""
    assert [path for path in [CONF, *CONF.rglob("*")] if path.is_symlink()] == []


@pytest.mark.parametrize("kind", ["wheel", "sdist", "bundle"])
def test_default_settings_are_composed_from_what_was_packed(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path, expected: str
) -> None:
    folder = request.getfixturevalue(kind)
    module, conf, settings = composed(tmp_path, str(folder))
    assert module == folder
    assert conf == (folder / "fedsq_flwr" / "conf" if kind == "wheel" else folder / "conf")
    assert settings == expected


@pytest.mark.parametrize("kind", ["wheel", "bundle"])
def test_presets_in_folders_below_are_packed_too(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    words = ("experiment=paper/alexnet_cifar100_iid", "method=centralised_fixed_gates", "backbone.weights=random")
    given = composed(tmp_path, str(request.getfixturevalue(kind)), overrides=words)[2]
    assert given == composed(tmp_path, str(CHECKOUT), overrides=words)[2]


def test_a_checkout_and_an_editable_install_of_it_find_the_settings_beside_the_package(
    editable: Path, tmp_path: Path, expected: str
) -> None:
    assert composed(tmp_path, str(CHECKOUT)) == (CHECKOUT, CONF, expected)
    # As Python does it with site-packages when it starts; first, since these tests are of an installation, too.
    first = (
        "import site, sys\nbefore = sys.path[:]\n"
        f"site.addsitedir({str(editable)!r})\n"
        "sys.path[:] = [p for p in sys.path if p not in before] + before\n"
    )
    assert composed(tmp_path, "", before=first) == (CHECKOUT, CONF, expected)


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
