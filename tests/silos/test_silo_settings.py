"""A silo's own settings: read, checked, handed to the app, and put before the run's."""

import os
from functools import partial
from pathlib import Path

import pytest
from omegaconf import OmegaConf

import fedsq_flwr
from fedsq_flwr.errors import ConfigurationError
from fedsq_flwr.run_config import config_of
from fedsq_flwr.settings.composition import compose_settings
from fedsq_flwr.settings.silo import GROUPS, Site, at_site, read_site, refuse_unsafe_overrides
from fedsq_flwr.settings.silo_file import read_silo_settings

CONF = Path(fedsq_flwr.__file__).parent / "conf"

#: words -> what the line must hold: the setting, the value, what is allowed
BAD = {
    "superlink=fed.example.org": ("superlink=fed.example.org", "must be HOST:PORT"),
    "superlink=https://fed.example.org:9092": ("superlink=https://fed.example.org:9092", "must be HOST:PORT"),
    "superlink=fed.example.org:0": ("superlink=fed.example.org:0", "must be HOST:PORT"),
    "superlink=fed.example.org:65536": ("superlink=fed.example.org:65536", "must be HOST:PORT"),
    "superlink=::1:9092": ("superlink=::1:9092", "must be HOST:PORT"),
    "superlink=[::1]:9092": ("superlink=[::1]:9092", "quotes"),
    "superlink=null": ("superlink", "None", "str"),
    "silo=2": ("silo=2", "must be 0 to 1"),
    "silo=-1": ("silo=-1", "must be 0 to 1"),
    "silo=one": ("silo", "one", "Integer"),
    "silo=0.5": ("silo", "0.5", "Integer"),
    "silo=[1": ("silo=[1", "quotes"),
    "silos=0": ("silos=0", "at least 1"),
    "silos=null": ("silos", "None", "int"),
    "data_path=/no/such": ("data_path=/no/such", "there is no such folder"),
    "data_path=file": ("data_path=", "file", "there is no such folder"),
    "data_path=null": ("data_path", "None", "str"),
    "private_key=/no/such": ("private_key=/no/such", "there is no such file"),
    "root_certificates=/no/such": ("root_certificates=/no/such", "there is no such file"),
    "weights=/no/such": ("weights=/no/such", "there is no such file"),
    "weights=data": ("weights=", "data", "there is no such file"),
    "insecure=perhaps": ("insecure", "perhaps", "bool"),
    "insecure=true private_key=file": ("private_key=", "file", "must be null with insecure=true"),
    "insecure=true root_certificates=file": ("root_certificates=", "file", "must be null with insecure=true"),
    "gate_cache_bytes=-1": ("gate_cache_bytes=-1", "at least 0"),
    "gate_cache_bytes=much": ("gate_cache_bytes", "much", "Integer"),
    "device=[cpu]": ("device", "['cpu']"),
    "state_dir=null": ("state_dir", "None", "str"),
    "data_pth=data": ("data_pth", "no such setting"),
    "=3": ("no such setting",),
    "nothing.yaml": ("nothing.yaml", "there is no such file"),
    "data": ("data", "there is no such file"),
    "silo=${nothing}": ("silo", "nothing"),
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
    [b"silo: [unclosed", b"silo: 0\nsilo: 1\n", b"\x00", b"silo: \xff", b"- 1\n- 2\n"],
    ids=["unclosed", "twice", "a zero byte", "no text", "a list"],
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
    config = read_silo_settings([*good, "silo=1", "weights=file", "device=cpu", "gate_cache_bytes=5", "state_dir=s"])
    told = node_config(config)
    assert (told["partition-id"], told["num-partitions"]) == (1, 2)
    site = read_site(told)
    assert site == Site(
        data_path=os.path.abspath("data"),  # noqa: PTH100
        weights=os.path.abspath("file"),  # noqa: PTH100
        state_dir=os.path.abspath("s"),  # noqa: PTH100
        device="cpu",
        gate_cache_bytes=5,
    )
    assert site.is_real
    assert read_site(node_config(read_silo_settings(good))).weights is None


def test_nothing_of_the_connection_is_handed_to_a_run(good: list[str]) -> None:
    """Neither the key's path nor the server's address concerns the app."""
    config = read_silo_settings([*good, "private_key=file", "root_certificates=file"])
    assert not [value for value in node_config(config).values() if value in (config.private_key, config.superlink)]


def test_nodes_of_a_simulation_have_no_settings_of_their_own() -> None:
    site = read_site({"partition-id": 0, "num-partitions": 2})
    assert not site.is_real
    config = compose_settings(["backbone.weights=random"])
    assert at_site(config, site) is config


@pytest.mark.parametrize(
    ("node", "parts"),
    [
        ({"data-pth": "/data"}, ("data-pth=/data", "no such setting", "data-path")),
        ({"data-path": 3}, ("data-path=3", "str")),
        ({"gate-cache-bytes": "much"}, ("gate-cache-bytes=much", "int")),
        ({"gate-cache-bytes": True}, ("gate-cache-bytes=True", "int")),
        ({"device": 0}, ("device=0", "str")),
    ],
)
def test_a_node_config_that_is_wrong_is_one_line(node: dict[str, object], parts: tuple[str, ...]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        read_site({"partition-id": 0, "num-partitions": 2, **node})
    for part in ("node config", *parts):
        assert part in str(caught.value)


SITE = Site("/data", "/silo/weights.pth", "/silo/state", "cpu", 7)


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
    assert (config.executor.device, config.executor.gate_cache_bytes) == ("cpu", 7)
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
            "executor.gate_cache_bytes=1",
            "cache_dir=/server/cache",
        ]
    )
    config = at_site(run, Site(data_path="/data"))
    assert config.executor.device == "auto"
    assert config.executor.gate_cache_bytes == 1
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
        at_site(run, Site(data_path="/data"))
    assert str(caught.value).startswith("backbone.weights=server.pth: is a file of the server's")
    assert "weights=FILE" in str(caught.value)
    assert "executor.structure=sent" in str(caught.value)
    assert str(Path(server_weights).parent) not in str(caught.value)


def test_a_servers_directory_is_refused_whether_this_silo_has_such_a_one_or_not(tmp_path: Path) -> None:
    def told(weights: str) -> str:
        change = partial(at_site, site=Site(data_path="/data"))
        with pytest.raises(ConfigurationError) as caught:
            compose_settings(["executor=silos", "data=imagefolder", f"backbone.weights={weights}"], change)
        return str(caught.value).replace(Path(weights).name, "NAME")

    assert told(str(tmp_path)) == told(str(tmp_path / "nowhere"))
    assert told(str(tmp_path)).startswith("backbone.weights=NAME: is a file of the server's")


def test_where_the_server_has_a_partition_a_silo_does_not_look(tmp_path: Path) -> None:
    (tmp_path / "there.json").touch()
    (tmp_path / "images").mkdir()
    for words in (["executor=silos", "data=imagefolder"], ["executor=simulation", "data=imagefolder"]):
        for name in ("there.json", "nowhere.json"):
            reused = [*words, "partition=file", f"partition.file={tmp_path / name}"]
            config = compose_settings(reused, partial(at_site, site=Site(data_path=str(tmp_path / "images"))))
            assert config.partition.file is None
            with pytest.raises(ConfigurationError) as caught:
                compose_settings(reused, partial(at_site, site=Site(device="cpu")))
            assert str(caught.value).startswith(f"partition.file={name}: is a file of the server's")


def test_weights_of_its_own_stand_in_for_the_servers(server_weights: str) -> None:
    run = compose_settings(["executor=silos", "data=imagefolder", f"backbone.weights={server_weights}"])
    assert at_site(run, SITE).backbone.weights == "/silo/weights.pth"


@pytest.mark.parametrize("site", [Site(data_path="/data"), SITE])
def test_a_structure_that_is_sent_needs_no_weights_at_all(server_weights: str, site: Site) -> None:
    words = ["executor=silos", "data=imagefolder", f"backbone.weights={server_weights}", "executor.structure=sent"]
    assert at_site(compose_settings(words), site).backbone.weights == "random"


UNSAFE = [
    "output=${oc.env:HOME}",
    "output='${oc.env:HOME}'",
    "output=a${rounds}",
    r"output=$\{oc.env:HOME\}",
    r"rounds=$\{oc.env:HOME\}",
    r"+rounds=$\{oc.env:HOME\}",
    r"rounds=str($\{oc.env:HOME\})",
    "hydra.searchpath=[/tmp]",
    "hydra.searchpath=[file:///tmp]",
    "+hydra.x=1",
    "++hydra.searchpath=[/tmp]",
    "~hydra.run",
    "hydra/launcher=joblib",
    "+hydra/sweeper=x",
]


@pytest.mark.parametrize("override", UNSAFE)
def test_overrides_that_would_look_around_at_a_silo_are_refused(override: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        refuse_unsafe_overrides(["rounds=3", override])
    message = str(caught.value)
    assert message.endswith(": interpolations and hydra.* are not taken by silos")
    assert message.startswith(override.partition("=")[0])
    assert os.environ["HOME"] not in message


@pytest.mark.parametrize("override", UNSAFE)
def test_a_silo_composes_no_settings_from_them_and_a_simulation_may(override: str) -> None:
    with pytest.raises(ConfigurationError, match="are not taken by silos"):
        config_of(("", f"rounds=3\n{override}"), Site(data_path="/data"))


@pytest.mark.parametrize(
    "override",
    [
        "rounds=3",
        "method=fedsq_prox",
        "output='$HOME'",
        "data.classes=[a,b]",
        "output='../a/b@c'",
        "experiment=paper/resnet18_cifar100_iid",
    ],
)
def test_other_overrides_are_taken(override: str) -> None:
    refuse_unsafe_overrides([override])


@pytest.fixture
def secret(tmp_path: Path) -> str:
    """A YAML file on the silo's disk, as a path that leads there from anywhere, without its suffix."""
    (tmp_path / "passwords.yaml").write_text("password: hunter2\n")
    return "../" * 30 + str(tmp_path / "passwords").lstrip("/")


@pytest.mark.parametrize("group", [path.name for path in sorted(CONF.iterdir()) if path.is_dir()])
@pytest.mark.parametrize("form", ["{}={}", "+{}={}", "{}='{}'", " {} = {} ", "{}=[{}]", "{}@data={}", "+{}@seed={}"])
def test_no_file_of_a_silos_disk_is_read_as_settings(secret: str, group: str, form: str) -> None:
    """Hydra takes `data=../../x`, and what it finds there would be in the error that the server is sent."""
    override = form.format(group, secret)
    with pytest.raises(ConfigurationError, match="silos take a group's name") as caught:
        refuse_unsafe_overrides([override])
    assert "hunter2" not in str(caught.value)
    with pytest.raises(ConfigurationError) as caught:
        config_of(("", f"rounds=3\n{override}"), Site(data_path="/data"))
    assert "hunter2" not in str(caught.value)
    assert "password:" not in str(caught.value)


@pytest.mark.parametrize("name", ["__pycache__", "recipes"])
def test_a_name_that_is_no_setting_does_not_lead_to_the_disk_either(secret: str, name: str) -> None:
    """Hydra takes any folder beside its files for a group, and told whether a file was there."""
    told = []
    for path in (secret, secret.replace("passwords", "absent")):
        with pytest.raises(ConfigurationError) as caught:
            config_of(("", f"rounds=3\n+{name}={path}"), Site(data_path="/data"))
        told.append(str(caught.value))
    assert told[0] == told[1]
    assert told[0].startswith(f"{name}: there is no such setting")


def test_a_run_names_no_experiment_outside_the_program(secret: str) -> None:
    with pytest.raises(ConfigurationError, match="silos take a group's name") as caught:
        config_of((secret, "rounds=3"), Site(data_path="/data"))
    assert "hunter2" not in str(caught.value)


def test_all_groups_of_settings_are_guarded() -> None:
    assert [path.name for path in sorted(CONF.iterdir()) if path.is_dir()] == list(GROUPS)
