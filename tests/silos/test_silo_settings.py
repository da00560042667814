"""A silo's own settings: read, checked, handed to the app, and put before the run's."""

import io
import json
import os
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from fedsq_flwr.errors import ConfigurationError
from fedsq_flwr.settings.base import flat
from fedsq_flwr.settings.composition import compose_settings
from fedsq_flwr.settings.partition import Iid
from fedsq_flwr.settings.run import RunSettings
from fedsq_flwr.settings.silo import Site, at_site, for_real_silos, read_site
from fedsq_flwr.settings.silo_file import read_silo_settings

#: words -> what the line must hold: the setting, the value, what is allowed
BAD = {
    "superlink=fed.example.org": ("superlink=fed.example.org", "must be HOST:PORT"),
    "superlink=https://fed.example.org:9092": ("superlink=https://fed.example.org:9092", "must be HOST:PORT"),
    "superlink=fed.example.org:0": ("superlink=fed.example.org:0", "must be HOST:PORT"),
    "superlink=fed.example.org:65536": ("superlink=fed.example.org:65536", "must be HOST:PORT"),
    "superlink=::1:9092": ("superlink=::1:9092", "must be HOST:PORT"),
    "superlink=[::1]:9092": ("superlink=[::1]:9092", "quotes"),
    "superlink=null": ("superlink=null", "must be text"),
    "silo=2": ("silo=2", "must be 0 to 1"),
    "silo=-1": ("silo=-1", "must be at least 0"),
    "silo=one": ("silo=one", "must be a whole number"),
    "silo=0.5": ("silo=0.5", "must be a whole number"),
    "silo=[1": ("silo=[1", "quotes"),
    "silos=0": ("silos=0", "at least 1"),
    "silos=null": ("silos=null", "must be a whole number"),
    "data_path=/no/such": ("data_path=/no/such", "there is no such folder"),
    "data_path=file": ("data_path=", "file", "there is no such folder"),
    "data_path=null": ("data_path=null", "must be text"),
    "private_key=/no/such": ("private_key=/no/such", "there is no such file"),
    "root_certificates=/no/such": ("root_certificates=/no/such", "there is no such file"),
    "weights=/no/such": ("weights=/no/such", "there is no such file"),
    "weights=data": ("weights=", "data", "there is no such file"),
    "insecure=perhaps": ("insecure=perhaps", "must be true or false"),
    "insecure=true private_key=file": ("private_key=", "file", "must be null with insecure=true"),
    "insecure=true root_certificates=file": ("root_certificates=", "file", "must be null with insecure=true"),
    "threads=0": ("threads=0", "at least 1"),
    "gate_cache_bytes=-1": ("gate_cache_bytes=-1", "at least 0"),
    "gate_cache_bytes=much": ("gate_cache_bytes=much", "must be a whole number"),
    "device=[cpu]": ("device=[cpu]", "must be text"),
    "device=tpu": ("device=tpu", "allowed are auto, cpu, cuda, cuda:N and mps"),
    "state_dir=null": ("state_dir=null", "must be text"),
    "data_pth=data": ("data_pth", "no such setting", "did you mean data_path?"),
    "=3": ("no such setting",),
    "nothing.yaml": ("nothing.yaml", "there is no such file"),
    "data": ("data", "is no file, but a folder"),
    "silo=${nothing}": ("silo", "nothing"),
    f"silo=1{'0' * 400}": ("silo=a number of many digits", "must be 0 to 1"),
    f"silo=1{'0' * 5000}": ("silo=", "too many digits"),
    f"silos=1{'0' * 30}": ("silos=", "below 9223372036854775808"),
    "data_path=~nosuchuser": ("data_path=~nosuchuser", "there is no user nosuchuser"),
    "state_dir=~nosuchuser/x": ("state_dir=~nosuchuser/x", "there is no user nosuchuser"),
    f"private_key={'k' * 256}": ("private_key=", "at most 255 bytes"),
    f"weights={'k' * 256}.pth": ("weights=", "at most 255 bytes"),
    f"{'k' * 256}.yaml": (".yaml", "File name too long"),
}


@pytest.fixture
def good(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Settings that are right, in a directory that has a folder ``data`` and a ``file``."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    (tmp_path / "file").touch()
    return ["superlink=fed.example.org:9092", "silo=0", "silos=2", "data_path=data"]


def complaint(*words: str) -> str:
    with pytest.raises(ConfigurationError) as caught:
        read_silo_settings(words)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    return message


@pytest.mark.parametrize("words", BAD)
def test_a_bad_value_is_one_line_that_names_the_setting_and_what_is_allowed(good: list[str], words: str) -> None:
    message = complaint(*good, *words.split(" "))
    for part in BAD[words]:
        assert part in message


@pytest.mark.parametrize("name", ["superlink", "silo", "silos", "data_path"])
def test_what_must_be_given_is_named(good: list[str], name: str) -> None:
    words = [word for word in good if not word.startswith(f"{name}=")]
    assert complaint(*words) == f"{name}: must be given, in a file or as {name}=VALUE"


@pytest.mark.parametrize(
    "address", ["localhost:9092", "127.0.0.1:1", "fed-1.example.org:65535", "'[2001:db8::7]:9092'"]
)
def test_addresses_of_every_kind_are_taken(good: list[str], address: str) -> None:
    assert read_silo_settings([*good, f"superlink={address}"]).superlink == address.strip("'")


@pytest.mark.parametrize(
    "content",
    [
        b"silo: [unclosed",
        b"silo: 0\nsilo: 1\n",
        b"\x00",
        b"silo: \xff",
        b"- 1\n- 2\n",
        b"silo: 1" + b"0" * 5000,
        b"silo: " + b"[" * 5000,
        b"a: &a [1, 1, 1, 1, 1]\nb: &b [*a, *a, *a, *a]\nc: [*b, *b, *b, *b]\n",
        b"# " + b"x" * 2**21,
    ],
    ids=["unclosed", "twice", "a zero byte", "no text", "a list", "digits", "nesting", "aliases", "large"],
)
def test_a_file_that_cannot_be_read_as_settings_is_named(good: list[str], content: bytes) -> None:
    Path("silo.yaml").write_bytes(content)
    assert "silo.yaml" in complaint("silo.yaml", *good)


def test_an_empty_file_says_nothing_and_that_is_all_right(good: list[str]) -> None:
    Path("silo.yaml").touch()
    assert read_silo_settings(["silo.yaml", *good]).silo == 0


def test_paths_in_a_file_are_relative_to_it_and_words_to_the_current_folder(
    good: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there, here = tmp_path / "there", tmp_path / "here"
    for folder in (there / "images", here / "images"):
        folder.mkdir(parents=True)
    for path in (there / "key", here / "ca.crt", there / "weights.pth"):
        path.touch()
    lines = {
        "superlink": "a:1",
        "silo": 0,
        "silos": 1,
        "data_path": "images",
        "private_key": "../there/key",
        "state_dir": "~/state",
        "weights": str(there / "weights.pth"),
    }
    OmegaConf.save(OmegaConf.create(lines), there / "silo.yaml")
    monkeypatch.chdir(here)
    monkeypatch.setenv("HOME", str(tmp_path))
    config = read_silo_settings(["../there/silo.yaml", "root_certificates=ca.crt"])
    assert config.data_path == str(there / "images")
    assert config.private_key == str(there / "key")
    assert config.root_certificates == str(here / "ca.crt")
    assert config.weights == str(there / "weights.pth")
    assert config.state_dir == str(tmp_path / "state")
    assert read_silo_settings(["../there/silo.yaml", "data_path=images"]).data_path == str(here / "images")


def test_what_comes_later_wins(good: list[str]) -> None:
    Path("one.yaml").write_text("silo: 1\nsilos: 3\n")
    Path("two.yaml").write_text("silos: 4\n")
    assert read_silo_settings([*good, "one.yaml", "two.yaml"]).silos == 4
    assert read_silo_settings(["one.yaml", "two.yaml", *good]).silos == 2
    assert read_silo_settings([*good, "one.yaml"]).silo == 1


def test_the_apps_read_what_the_silo_was_told(good: list[str]) -> None:
    config = read_silo_settings(
        [
            *good,
            "silo=1",
            "name=Clinic North",
            "weights=file",
            "device=cpu",
            "threads=4",
            "gate_cache_bytes=5",
            "state_dir=s",
        ]
    )
    told = config.node_config()
    assert (told["partition-id"], told["num-partitions"]) == (1, 2)
    site = read_site(told)
    here = str(Path.cwd())
    expected = {"data_path": f"{here}/data", "weights": f"{here}/file", "state_dir": f"{here}/s"}
    expected |= {"name": "Clinic North", "device": "cpu", "threads": 4, "gate_cache_bytes": 5}
    assert site == Site(**expected, keep_models=10, keep_reports=50, checkpoint_minutes=10.0)
    assert config.title == "1 of 2 (Clinic North)"
    assert site.is_real
    assert read_site(read_silo_settings(good).node_config()).weights is None


def test_nothing_of_the_connection_is_handed_to_a_run(good: list[str]) -> None:
    """Neither the key's path nor the server's address concerns the app."""
    config = read_silo_settings([*good, "private_key=file", "root_certificates=file"])
    own = {config.private_key, config.root_certificates, config.superlink}
    assert not own & set(map(str, config.node_config().values()))


def test_nodes_of_a_simulation_have_no_settings_of_their_own() -> None:
    site = read_site({"partition-id": 0, "num-partitions": 2})
    assert not site.is_real
    config = compose_settings(["backbone.weights=random"])
    assert at_site(config, site) is config


@pytest.mark.parametrize(
    ("node", "parts"),
    [
        ({"data-pth": "/data"}, ("data-pth", "no such setting", "data-path")),
        ({"data_path": "/data"}, ("data_path=/data", "no such setting", "data-path")),
        ({"data-path": True}, ("data-path=true", "must be null or text")),
        ({"gate-cache-bytes": "much"}, ("gate-cache-bytes=much", "must be null or a whole number")),
        ({"gate-cache-bytes": True}, ("gate-cache-bytes=true", "must be null or a whole number")),
        ({"gate-cache-bytes": -1}, ("gate-cache-bytes=-1", "must be null or at least 0")),
        *[({"name": bad}, ("name=", "1 to 40 printable")) for bad in ("", " a", "a\nb", "x" * 41)],
        ({"keep-reports": 0, "local-model": True}, ("local-model=true", "must be false with keep_reports=0")),
        ({"device": "tpu"}, ("device=tpu", "allowed are auto, cpu, cuda, cuda:N and mps")),
    ],
)
def test_a_node_config_that_is_wrong_is_one_line(node: dict[str, object], parts: tuple[str, ...]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        read_site({"partition-id": 0, "num-partitions": 2, **node})
    for part in ("node config", *parts):
        assert part in str(caught.value)


FOLDER = Site(data_path="/data")
SITE = Site(
    data_path="/data",
    weights="/silo/weights.pth",
    state_dir="/silo/state",
    device="cpu",
    threads=3,
    gate_cache_bytes=7,
)


def test_a_silos_own_settings_win_over_the_runs() -> None:
    run = compose_settings(
        [
            "executor=silos",
            "data=imagefolder",
            "backbone.weights=random",
            "executor.device=cuda",
            "executor.gate_cache_bytes=1",
            "executor.gate_cache_dir=/server/gates",
            "cache_dir=/server/cache",
            "rounds=9",
        ]
    )
    config = at_site(run, SITE)
    assert config.data.path == "/data"
    assert config.backbone.weights == "/silo/weights.pth"
    assert config.cache_dir == "/silo/state"
    assert (config.executor.device, config.executor.threads, config.executor.gate_cache_bytes) == ("cpu", 3, 7)
    assert config.executor.gate_cache_dir == "/silo/state/gates"
    assert config.rounds == 9


def test_what_a_silo_leaves_open_is_never_the_servers_disk_or_device() -> None:
    run = compose_settings(
        [
            "executor=silos",
            "data=imagefolder",
            "backbone.weights=random",
            "executor.device=cuda",
            "executor.gate_cache_dir=/server/gates",
            "executor.threads=2",
            "executor.gate_cache_bytes=1",
            "cache_dir=/server/cache",
        ]
    )
    config = at_site(run, FOLDER)
    assert config.executor.device == "auto"
    assert (config.executor.threads, config.executor.gate_cache_bytes) == (2, 1)
    paths = [config.cache_dir, config.executor.gate_cache_dir]
    assert not [path for path in paths if str(path).startswith("/server")]
    assert config.backbone.weights == "random"


@pytest.fixture
def server_weights(tmp_path: Path) -> str:
    """A file of weights that is there on the server, and need not be at a silo."""
    path = tmp_path / "server.pth"
    path.touch()
    return str(path)


def test_a_file_of_the_servers_weights_is_refused_and_its_folder_is_not_told(server_weights: str) -> None:
    run = compose_settings(["executor=silos", "data=imagefolder", f"backbone.weights={server_weights}"])
    with pytest.raises(ConfigurationError) as caught:
        at_site(run, FOLDER)
    assert str(caught.value).startswith("backbone.weights=server.pth: is a file of the server's")
    assert "weights=FILE" in str(caught.value)
    assert "executor.structure=sent" in str(caught.value)
    assert str(Path(server_weights).parent) not in str(caught.value)


def test_a_servers_directory_is_refused_whether_this_silo_has_such_a_one_or_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def told(weights: str) -> str:
        """The silo's line, with the last part of the path as NAME."""
        run = compose_settings(["executor=silos", "data=imagefolder", f"backbone.weights='{weights}'"], files=False)
        with pytest.raises(ConfigurationError) as caught:
            at_site(for_real_silos(run), FOLDER)
        return str(caught.value).replace(Path(weights).name, "NAME")

    monkeypatch.chdir(tmp_path)
    (tmp_path / "there").mkdir()
    for weights in (str(tmp_path), str(tmp_path / "nowhere"), "there", "nowhere", "~/nowhere", "/no/such.pth"):
        assert told(weights) == told("/elsewhere/runs/best")
    assert told("there").startswith("backbone.weights=NAME: is a file of the server's")


def test_where_the_server_has_a_partition_a_silo_does_not_look(tmp_path: Path) -> None:
    (tmp_path / "there.json").touch()
    (tmp_path / "images").mkdir()
    for words in (["executor=silos", "data=imagefolder"], ["executor=simulation", "data=imagefolder"]):
        for name in ("there.json", "nowhere.json"):
            reused = [*words, "partition=file", f"partition.file={tmp_path / name}", "data.path=/server"]
            run = compose_settings(reused, files=False)
            run = for_real_silos(run) if run.has_real_silos else run
            config = at_site(run, Site(data_path=str(tmp_path / "images")))
            assert config.partition == Iid()
            with pytest.raises(ConfigurationError) as caught:
                at_site(run, Site(device="cpu"))
            assert str(caught.value).startswith(f"partition.file={name}: is a file of the server's")


def test_weights_of_its_own_stand_in_for_the_servers(server_weights: str) -> None:
    run = compose_settings(["executor=silos", "data=imagefolder", f"backbone.weights={server_weights}"])
    assert at_site(run, SITE).backbone.weights == "/silo/weights.pth"


@pytest.mark.parametrize("site", [FOLDER, SITE])
def test_a_structure_that_is_sent_needs_no_weights_at_all(server_weights: str, site: Site) -> None:
    words = ["executor=silos", "data=imagefolder", f"backbone.weights={server_weights}", "executor.structure=sent"]
    assert at_site(compose_settings(words), site).backbone.weights == "random"


#: A run all of whose paths and places are the server's.
OF_THE_SERVER = [
    ["data=imagefolder", "data.path=/server/images", "executor.root_certificates=/server/ca.crt"],
    ["data=cifar10", "data.path=/server/cifar"],
    ["data=imagefolder", "data.path=/server/images", "partition=natural", "partition.groups=/server/groups.csv"],
    ["data=imagefolder", "data.path=/server/images", "partition=file", "partition.file=/server/partition.json"],
    ["data=imagefolder", "data.path=/server/images", "backbone.weights=/server/weights.pth", "trackers=[mlflow]"],
    ["backbone.weights=/server/runs/best"],
]


def run_of(overrides: list[str]) -> RunSettings:
    places = ["output=/server/out", "cache_dir=/server/cache", "executor.gate_cache_dir=/server/gates"]
    words = ["executor=silos", "executor.superlink=server.example.org:9092", *places, *overrides]
    return compose_settings(words, files=False)


@pytest.mark.parametrize("overrides", OF_THE_SERVER, ids=lambda overrides: overrides[-1])
def test_real_silos_are_told_no_path_and_no_address_of_the_servers(overrides: list[str]) -> None:
    run = run_of(overrides).changed(rounds=77, data={"classes": ["a", "b"]}, backbone={"mean": [0.5], "std": [0.25]})
    told = for_real_silos(run).to_json()
    assert "server" not in told
    arrived = RunSettings.from_json(told)
    assert (arrived.rounds, arrived.data.classes, arrived.backbone.std) == (77, ("a", "b"), (0.25,))
    assert (arrived.trackers, arrived.resume) == ((), False)


@pytest.mark.parametrize("overrides", OF_THE_SERVER, ids=lambda overrides: overrides[-1])
@pytest.mark.parametrize("site", [FOLDER, SITE], ids=["folder", "all its own"])
def test_no_path_that_a_run_names_is_used_or_looked_for_at_a_silo(
    overrides: list[str], site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the server sends more than it should."""
    told = run_of(overrides).to_json()

    def look(*words: object, **_: object) -> None:
        raise AssertionError(f"looked for {words}")

    with monkeypatch.context() as patch:
        for module, name in (
            (os, "stat"),
            (os, "lstat"),
            (os, "scandir"),
            (os, "listdir"),
            (io, "open"),
            (os, "open"),
        ):
            patch.setattr(module, name, look)
        try:
            settings = at_site(RunSettings.from_json(told), site)
        except ConfigurationError as error:
            assert "/server" not in str(error)
            return
    at_the_server = ("output", "executor.root_certificates", "partition.groups")
    assert not [
        name
        for name, value in flat(settings.plain()).items()
        if str(value).startswith("/server") and name not in at_the_server
    ]


HOSTILE = {
    "hydra": {"hydra": {"searchpath": ["file:///etc"]}},
    "a list of defaults": {"defaults": ["/data: ../../etc/passwd"]},
    "an object to be made": {"data": {"name": "imagefolder", "_target_": "os.system"}},
    "a group by its file": {"data": "../../etc/passwd"},
    "a name of another kind": {"data": {"name": "../../etc/passwd"}},
    "a class": {"method": {"gates": "none", "__class__": "x"}},
}


@pytest.mark.parametrize("changes", HOSTILE.values(), ids=HOSTILE)
def test_words_that_hydra_would_obey_are_no_settings(changes: dict[str, object]) -> None:
    told = json.dumps(compose_settings().plain() | changes)
    with pytest.raises(ConfigurationError) as caught:
        at_site(RunSettings.from_json(told), SITE)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    assert "there is no such setting" in message or "allowed are" in message or "must be a group" in message


@pytest.mark.parametrize(
    "text", ["${oc.env:HOME}", r"$\{oc.env:HOME\}", "${data.path}", "$HOME", "{{ 7 * 7 }}", "%(home)s"]
)
def test_an_interpolation_is_text(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment variable could reach the server in an error message, or in the names of arrays."""
    monkeypatch.setenv("HOME", "/home/ann")
    run = compose_settings(["executor=silos", "data=imagefolder"]).changed(data={"classes": [text, "b"]}, output=text)
    settings = at_site(RunSettings.from_json(run.to_json()), FOLDER)
    assert (settings.data.classes, settings.output) == ((text, "b"), text)


def test_a_silo_file_may_use_the_environment_and_its_own_settings(
    good: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is the operator's own: one file can serve several silos."""
    monkeypatch.setenv("FEDSQ_SERVER", "fed.example.org")
    Path("silo.yaml").write_text("superlink: ${oc.env:FEDSQ_SERVER}:9092\nstate_dir: /var/fedsq/${silo}\n")
    settings = read_silo_settings([*good, "silo.yaml", "silo=1"])
    assert (settings.superlink, settings.state_dir) == ("fed.example.org:9092", "/var/fedsq/1")
