"""From Hydra's YAML files and overrides to checked settings: done once, in the process that was told the overrides.

The defaults are the classes' own. Hydra composes the files in ``conf``, and a user's own files, on top of them. The
result becomes `RunSettings`, and only these travel.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra import compose, version
from hydra._internal.hydra import Hydra
from hydra._internal.utils import create_config_search_path
from hydra.core.config_search_path import ConfigSearchPath, SearchPathQuery
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from fedsq_flwr.errors import ConfigurationError
from fedsq_flwr.settings.calibrated import calibrated_values
from fedsq_flwr.settings.fields import MISSING, Fact, catalogue, defaults, facts_of
from fedsq_flwr.settings.files import check_files
from fedsq_flwr.settings.hydra_errors import one_line_errors
from fedsq_flwr.settings.job_names import register_job_names
from fedsq_flwr.settings.method import MethodSettings
from fedsq_flwr.settings.mistakes import unknown, written
from fedsq_flwr.settings.overrides import key_of
from fedsq_flwr.settings.run import RunSettings
from fedsq_flwr.settings.variants import drop_other_variants

CONFIG_NAME = "config"
#: What the experiment is called where a primary file of a user's own takes none.
NO_PRESET = "none"
_LONGEST_NAME = 255  # characters of the name of a group's file
#: Providers of configuration that are not the user's: Hydra, this package, and the defaults of the classes.
_SHIPPED = ("hydra", "main", "schema")


@dataclass(frozen=True)
class Sources:
    """Where Hydra is to look, as its command-line options say.

    Attributes
    ----------
    config_name : str
        The primary configuration, a YAML file without its suffix.
    config_dir : str or None
        A folder that is searched beside ``conf``.
    config_path : str or None
        A folder that takes the place of ``conf``.
    """

    config_name: str = CONFIG_NAME
    config_dir: str | None = None
    config_path: str | None = None

    def options(self) -> list[str]:
        """Return the command-line options that say the same."""
        # Hydra would look for a relative path of `conf` beside this program, and not where the person is.
        primary = None if self.config_path is None else str(Path(self.config_path).absolute())
        told = {"--config-dir": self.config_dir, "--config-path": primary}
        named = [word for option, value in told.items() if value is not None for word in (option, value)]
        return [*named, *(() if self.config_name == CONFIG_NAME else ("--config-name", self.config_name))]


def conf_directory() -> Path:
    """Return the folder ``conf`` of this package: inside it in a wheel, beside it in a checkout, sdist or bundle."""
    package = Path(__file__).absolute().parents[1]
    places = (package / "conf", package.parent / "conf")
    return next((place for place in places if (place / f"{CONFIG_NAME}.yaml").is_file()), places[0])


def register() -> None:
    """Make known what ``conf/config.yaml`` builds on: the defaults to Hydra, the names of jobs to OmegaConf."""
    ConfigStore.instance().store(name="defaults", node=defaults(RunSettings))
    register_job_names()


def compose_settings(
    overrides: Sequence[str] = (),
    sources: Sources = Sources(),
    *,
    files: bool = True,
) -> RunSettings:
    """Compose and check the settings that ``overrides`` ask for.

    Parameters
    ----------
    overrides : sequence of str
        Hydra's.
    sources : Sources
        Where Hydra is to look for files.
    files : bool
        Whether to check that the files that a run needs are there; they are not on another machine than the run's.

    Raises
    ------
    ConfigurationError
        One line that names the setting, the value and what is allowed.
    """
    with composing(sources) as composer:
        composed = composer(overrides)
    settings = resolve(composed, composed.hydra.runtime.choices, overrides)
    if files:
        check_files(settings)
    return settings


@contextmanager
def composing(sources: Sources = Sources()) -> Iterator[Callable[[Sequence[str]], DictConfig]]:
    """Give a function that has Hydra compose overrides, with Hydra's own settings among the result.

    Raises
    ------
    ConfigurationError
        One line, for whatever Hydra or OmegaConf complains about.
    """
    with hydra_at(sources):

        def composer(overrides: Sequence[str]) -> DictConfig:
            _check_words(overrides)
            composed = compose(sources.config_name, overrides=list(overrides), return_hydra_config=True)
            refuse_shadows(composed)
            return composed

        yield composer


@contextmanager
def hydra_at(sources: Sources) -> Iterator[Hydra]:
    """Give a Hydra that looks for files where ``sources`` say; another one that is in force is set aside.

    Raises
    ------
    ConfigurationError
        One line, for whatever Hydra or OmegaConf complains about.
    """
    register()
    with one_line_errors(), _own_hydra():
        version.setbase("1.3")
        yield Hydra.create_main_hydra2(task_name="fedsq", config_search_path=_search_path(sources))


def resolve(composed: DictConfig, choices: Mapping[str, str], overrides: Sequence[str]) -> RunSettings:
    """Turn what Hydra composed into settings.

    Values of a variant that is not chosen are dropped where a YAML file states them, as a preset may, and refused
    where an override does, unless it says how data are shared among silos and the method has them in one place. The
    values of a calibration are put in for what no override states.

    Parameters
    ----------
    composed : DictConfig
        Not changed.
    choices : mapping of str to str
        Of each group of files the one that was chosen, as Hydra says in ``hydra.runtime.choices``.
    overrides : sequence of str
        That all of it was composed of.

    Raises
    ------
    ConfigurationError
        One line that names the setting, the value and what is allowed.
    """
    told = {key_of(override) for override in overrides}
    with one_line_errors():
        own = OmegaConf.masked_copy(composed, [str(name) for name in composed if name != "hydra"])
        OmegaConf.set_struct(own, False)
        if own.calibration is not None:
            _calibrate(own, told)
        plain: Any = OmegaConf.to_container(own, resolve=True)
    if isinstance(plain.get("experiment"), dict):
        file = f"experiment/{choices.get('experiment')}.yaml"
        raise ConfigurationError(f"{file}: needs the line  # @package _global_  at its top")
    if plain["method"]["name"] == MethodSettings().name and "method.name" not in told and choices.get("method"):
        plain["method"]["name"] = choices["method"].rpartition("/")[2]  # of a file that states no name
    if OmegaConf.select(own, "method.pooled") is True:  # a sweep may say how the silos of other methods differ
        told = {name for name in told if Fact.SHARING not in facts_of(RunSettings, name)}
    chosen = drop_other_variants(_given(plain), told)
    return RunSettings.parse({"experiment": choices.get("experiment") or NO_PRESET, **chosen, "calibration": None})


def refuse_shadows(composed: DictConfig) -> None:
    """Refuse a user's YAML file that has the name of a shipped one: Hydra would take one of the two in silence.

    Raises
    ------
    ConfigurationError
        Names the file.
    """
    shipped = {file.relative_to(conf_directory()) for file in conf_directory().rglob("*.yaml")}
    for folder, name in _own_files(composed):
        if name in shipped:
            raise ConfigurationError(
                f"{folder / name}: has the name of the shipped conf/{name}; give it another name"
            )


def own_choices(composed: DictConfig) -> dict[str, list[str]]:
    """Return the names that a user's YAML files add to each group; the group of primary files is empty."""
    groups: dict[str, set[str]] = {}
    for _, name in _own_files(composed):
        parts = name.with_suffix("").parts
        depth = min(2 if parts[0] == "hydra" else 1, len(parts) - 1)
        groups.setdefault("/".join(parts[:depth]), set()).add("/".join(parts[depth:]))
    return {group: sorted(names) for group, names in sorted(groups.items())}


def _own_files(composed: DictConfig) -> Iterator[tuple[Path, Path]]:
    """Give each YAML file of the user's folders: the folder, and the path of the file in it."""
    for source in composed.hydra.runtime.config_sources:
        folder = Path(source.path)
        if source.schema == "file" and source.provider not in _SHIPPED and folder != conf_directory():
            yield from ((folder, file.relative_to(folder)) for file in sorted(folder.rglob("*.yaml")))


def _check_words(overrides: Sequence[str]) -> None:
    """Refuse overrides that Hydra would take for something that no run can mean."""
    groups = {folder.relative_to(conf_directory()).as_posix() for folder in conf_directory().rglob("*/")}
    parser = OverridesParser.create()
    for given in overrides:
        if "\0" in given:
            raise ConfigurationError(f"{written(given)}: has a character of value 0")
        try:
            (override,) = parser.parse_overrides([given])
            value = None if override.is_sweep_override() else override.value()
        except ValueError as error:
            raise ConfigurationError(f"{written(given)}: a number has too many digits") from error
        word, key = str(override.input_line), key_of(override.get_key_element())
        if not key:
            raise ConfigurationError(f"{word}: needs a setting's name before its =")
        if override.is_delete() and not override.is_hydra_override():
            raise ConfigurationError(f"{word}: a setting cannot be left out; NAME=VALUE gives it another value")
        named = isinstance(value, str) and len(value) <= _LONGEST_NAME
        if key in groups and not override.is_sweep_override() and not named:
            raise ConfigurationError(f"{written(word)}: allowed are {', '.join(_files(key))}")


def _files(group: str) -> list[str]:
    return sorted(file.stem for file in (conf_directory() / group).glob("*.yaml"))


def _search_path(sources: Sources) -> ConfigSearchPath:
    """Return where Hydra's own command line would look."""
    primary = conf_directory() if sources.config_path is None else Path(sources.config_path).absolute()
    path = create_config_search_path(str(primary))
    if sources.config_dir is not None:
        folder = Path(sources.config_dir).absolute()
        if not folder.is_dir():
            raise ConfigurationError(f"--config-dir={sources.config_dir}: there is no such folder")
        path.prepend(provider="command-line", path=f"file://{folder}", anchor=SearchPathQuery(provider="schema"))
    return path


def _calibrate(composed: DictConfig, told: Collection[str]) -> None:
    """Put the values of a calibration for the method in force into the settings, but for those that were told."""
    file = str(composed.calibration)
    for name, value in calibrated_values(file, str(composed.method.name)).items():
        if name not in catalogue(RunSettings):
            raise ConfigurationError(f"calibration={file}: {unknown(RunSettings, name)}")
        if name not in told:
            OmegaConf.update(composed, name, value)


def _given(plain: Mapping[Any, Any]) -> dict[str, Any]:
    """Return what has a value: the defaults that are not the same for all variants are left to the classes."""
    nested = {str(name): _given(value) if isinstance(value, dict) else value for name, value in plain.items()}
    return {name: value for name, value in nested.items() if value != MISSING}


@contextmanager
def _own_hydra() -> Iterator[None]:
    """Set Hydra's singleton aside: settings may be composed within a Hydra job."""
    singleton = GlobalHydra.instance()
    before, singleton.hydra = singleton.hydra, None
    try:
        yield
    finally:
        singleton.hydra = before
