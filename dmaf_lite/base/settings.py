"""Settings: frozen dataclasses that are checked when they are made, from Python or from a YAML file.

    @checked
    class AugmentationSettings:
        flip: float = 0.5
        mode: Literal["linear", "nearest"] = "linear"

An unknown key, a wrong type or a value that is none of the choices stops a run before it starts, with one sentence that
names the key, what was found and what was expected; a misspelt setting that is silently ignored costs a night on a GPU.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any, TypeVar, dataclass_transform, get_args

import yaml
from pydantic import ConfigDict, ValidationError
from pydantic.dataclasses import dataclass
from pydantic_core import ArgsKwargs

T = TypeVar("T")


class SettingsError(ValueError):
    """A setting that cannot be used; the message names it, what was found and what was expected."""


@dataclass_transform(frozen_default=True)
def checked(cls: type[T]) -> type[T]:
    """Make a class a frozen dataclass whose values are checked against their annotations.

    Lists become tuples and mappings the settings classes that are asked for.  A ``__post_init__`` may check what
    annotations cannot say.  Everything that is refused is a `SettingsError`.
    """
    made = dataclass(cls, frozen=True, config=ConfigDict(extra="forbid", arbitrary_types_allowed=True))
    validate = made.__init__

    @functools.wraps(validate)
    def __init__(self: Any, *args: Any, **values: Any) -> None:
        try:
            validate(self, *args, **values)
        except ValidationError as error:
            raise SettingsError(f"{cls.__name__}: {_sentence(error, made)}") from None

    made.__init__ = __init__
    return made


def with_defaults(given: Any, values: Mapping[str, Any]) -> Any:
    """For a validator that runs before a class is made: other defaults for what was not written out; that holds.

    Args:
        given: What such a validator gets, `ArgsKwargs` or a mapping.
        values: Setting -> its value where none was given.
    """
    if isinstance(given, ArgsKwargs):
        return ArgsKwargs(given.args, {**values, **(given.kwargs or {})})
    return {**values, **given}


def is_written(given: Any, name: str) -> Any:
    """The value of a setting as it was written out, None where it was not; see `with_defaults`."""
    return ((given.kwargs or {}) if isinstance(given, ArgsKwargs) else given).get(name)


def _sentence(error: ValidationError, cls: type) -> str:
    """The first fault in words: which setting, what was found, what was expected."""
    fault = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in fault["loc"])
    kind, context, found = fault["type"], fault.get("ctx", {}), fault["input"]
    if kind == "value_error":  # raised in a __post_init__: it says everything itself
        return f"{where}: {context['error']}" if where else str(context["error"])
    if kind == "unexpected_keyword_argument":
        owner = _owner(cls, fault["loc"][:-1])
        known = f"; the settings there are {', '.join(_names(owner))}" if owner else ""
        return f"{where} is not known{known}"
    if kind in ("missing", "missing_argument"):
        return f"{where} is missing; expected a value for it"
    if kind == "literal_error":
        hint = "; YAML reads a bare on, off, yes or no as True or False" if isinstance(found, bool) else ""
        return f"{where} is {found!r}; expected one of {context['expected'].replace(chr(39), '')}{hint}"
    return f"{where} is {found!r}; {fault['msg'].removeprefix('Input ').replace('should be', 'expected', 1)}"


def _owner(cls: Any, place: tuple) -> Any:
    """The settings class at a place within another, or None where the place is no settings class."""
    for part in place:
        if isinstance(part, int):  # an entry of a tuple
            cls = next(iter(get_args(cls)), None)
        else:
            cls = getattr(getattr(cls, "__pydantic_fields__", {}).get(part), "annotation", None)
    return cls if hasattr(cls, "__dataclass_fields__") else None


def _names(cls: Any) -> list[str]:
    return [field.name for field in fields(cls)]


def from_mapping(cls: type[T], values: Mapping[str, Any]) -> T:
    """Build the settings class `cls` from plain values.

    Raises:
        SettingsError: Naming the key that is unknown or has the wrong type, and the keys there are.
    """
    wrong = [key for key in values if not isinstance(key, str)]
    if wrong:
        raise SettingsError(f"{cls.__name__}: the key {wrong[0]!r} is no name; "
                            f"the settings there are {', '.join(_names(cls))}")
    return cls(**values)


def changed(settings: T, values: Mapping[str, Any]) -> T:
    """The same settings with some replaced, checked like new ones.

    Raises:
        SettingsError: As `from_mapping`.
    """
    known = _names(settings)
    for key in values:
        if key not in known:
            raise SettingsError(f"{type(settings).__name__}: {key} is not known; "
                                f"the settings there are {', '.join(known)}")
    return replace(settings, **values)


def choose(presets: Mapping[str, T], name: str, values: Mapping[str, Any]) -> T:
    """A preset by name, with some settings replaced.

    Raises:
        SettingsError: For an unknown preset or setting.
    """
    if not isinstance(name, str) or name not in presets:
        raise SettingsError(f"preset {name!r} is not known; choose one of {', '.join(sorted(presets))}")
    return changed(presets[name], values)


def read_settings(cls: type[T], path: str | Path, **over: Any) -> T:
    """Settings from a YAML file, single ones replaced.

    Raises:
        SettingsError: With the name of the file.
    """
    values = read_yaml(path)
    try:
        return from_mapping(cls, {**values, **over})
    except SettingsError as error:
        raise SettingsError(f"{path}: {error}") from None


def to_plain(settings: Any) -> dict[str, Any]:
    """Settings as plain dictionaries and lists, ready for YAML or JSON."""

    def plain(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {key: plain(item) for key, item in value.items()}
        if isinstance(value, (tuple, list)):
            return [plain(item) for item in value]
        return value

    return plain(asdict(settings))


def read_yaml(path: str | Path) -> dict[str, Any]:
    """Read a YAML file that holds a mapping (safe loader: no objects are built).

    Raises:
        SettingsError: If the file is no YAML or holds something else.
    """
    path = Path(path)
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} is not readable as YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise SettingsError(f"{path} holds {type(content).__name__}; expected a mapping of settings")
    return content
