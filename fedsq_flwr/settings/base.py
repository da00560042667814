"""What every class of settings has in common: strict types, values that do not change, one error line a mistake.

A setting is a field of a pydantic model. Its bounds, its one-line description (the docstring below the field) and its
`Fact` members stand on the field and nowhere else. Everything that treats settings differently derives from them: the
validation, the check before a run is resumed, the names of sweep jobs, the sorting of a comparison, the help of
``fedsq run`` and the reference of settings.
"""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Self, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from fedsq_flwr.errors import ConfigurationError
from fedsq_flwr.settings.fields import Fact, tag_of, variants_of
from fedsq_flwr.settings.mistakes import explain_mistake, written
from fedsq_flwr.settings.paths import as_path

_MOST = 2**63  # what computers count to


def _as_text(value: Any) -> Any:
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


Item = TypeVar("Item")
#: Text. A number is taken as the text that it is written as: YAML reads ``output: 2026`` as a number.
Text = Annotated[str, BeforeValidator(_as_text)]
#: A list of YAML or JSON, kept as a tuple, since settings do not change.
Several = Annotated[tuple[Item, ...], Field(strict=False)]


class Settings(BaseModel):
    """A group of settings.

    Attributes
    ----------
    facts : frozenset of Fact
        Facts of every field of the class, beside those that a field states itself.
    """

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, use_attribute_docstrings=True, allow_inf_nan=False
    )
    facts: ClassVar[frozenset[Fact]] = frozenset()

    @field_validator("*")
    @classmethod
    def _may_be_a_path(cls, value: Any, field: ValidationInfo) -> Any:
        if isinstance(value, str) and Fact.PATH in cls.model_fields[str(field.field_name)].metadata:
            as_path(value)
        return value

    @classmethod
    def parse(cls, data: Mapping[str, Any]) -> Self:
        """Check ``data``, as JSON or YAML gives it, and return it as settings.

        Raises
        ------
        ConfigurationError
            One line that names the first bad setting, its value and what is allowed.
        """
        beyond = _find_many_digits(data)
        many = f"{beyond}=a number of many digits: must be above {-_MOST} and below {_MOST}"
        try:
            settings = cls.model_validate(data)
        except (ValidationError, ConfigurationError) as error:  # the latter of `require`
            told = explain_mistake(error, cls) if isinstance(error, ValidationError) else str(error)
            raise ConfigurationError(told if beyond is None or told.startswith(f"{beyond}=") else many) from error
        except OverflowError as error:  # of a check that computes with it
            raise ConfigurationError(many) from error
        if beyond is not None:
            raise ConfigurationError(many)
        return settings

    def plain(self) -> dict[str, Any]:
        """Return the settings as mappings, lists and single values, as `parse` takes them and YAML writes them."""
        return {name: _plain(getattr(self, name)) for name in type(self).model_fields}

    def changed(self, **values: Any) -> Self:
        """Return settings with other values, checked as those of any source are.

        Parameters
        ----------
        **values
            Fields by their names. A mapping replaces single fields of a group.

        Raises
        ------
        ConfigurationError
            If a value is not allowed.
        """
        data = self.plain()
        for name, value in values.items():
            data[name] = {**data[name], **value} if isinstance(value, Mapping) else _plain(value)
        return self.parse(data)

    def require(self, holds: bool, name: str, allowed: str, group: str = "") -> None:
        """Refuse the value of a setting unless ``holds``.

        Parameters
        ----------
        holds : bool
            Whether the value is allowed.
        name : str
            The setting by its dotted name below this group.
        allowed : str
            What is allowed.
        group : str
            What stands before the name, with its dot.

        Raises
        ------
        ConfigurationError
            One line with the setting, its value and what is allowed.
        """
        if not holds:
            raise ConfigurationError(f"{group}{name}={written(flat(self.plain()).get(name))}: {allowed}")


class FlatSettings(Settings):
    """A group that holds choices which are written without a level of their own.

    ``method.mu`` is a field of the aggregation, and ``method.gated_from`` one of the gates. In YAML, in JSON and on
    the command line, both stand beside the other fields of ``method``.

    Attributes
    ----------
    inlined : tuple of str
        The fields that are such choices; each has a default.
    """

    inlined: ClassVar[tuple[str, ...]] = ()

    @model_validator(mode="wrap")
    @classmethod
    def _gather(cls, data: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        if not isinstance(data, Mapping):
            return handler(data)
        rest = dict(data)
        for name in cls.inlined:
            field = cls.model_fields[name]
            names = {own for variant in variants_of(field) for own in variant.model_fields}
            given = {own: rest.pop(own) for own in list(rest) if own in names}
            if given:
                tag = str(tag_of(field))
                rest[name] = {tag: getattr(field.default, tag), **given}
        return handler(rest)

    def plain(self) -> dict[str, Any]:
        """See `Settings.plain`."""
        level = super().plain()
        for name in self.inlined:
            level |= level.pop(name)
        return level


def flat(data: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return the values of nested mappings by their dotted names."""
    found: dict[str, Any] = {}
    for name, value in data.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{prefix}{name}.")
        else:
            found[f"{prefix}{name}"] = value
    return found


def _find_many_digits(data: Mapping[str, Any]) -> str | None:
    """Return the name of a setting that is a whole number beyond what computers count to, or a list of such."""
    for name, value in flat(data).items():
        numbers = value if isinstance(value, list | tuple) else (value,)
        if any(isinstance(number, int) and abs(number) >= _MOST for number in numbers):
            return name
    return None


def _plain(value: Any) -> Any:
    if isinstance(value, Settings):
        return value.plain()
    return [_plain(each) for each in value] if isinstance(value, tuple | list) else value
