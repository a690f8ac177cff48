"""Settings: frozen dataclasses, read strictly from dictionaries and YAML files.

An unknown key or a wrong type stops a run before it starts; a misspelt setting that is silently
ignored costs a night on a GPU.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, TypeVar

import dacite
import yaml

T = TypeVar("T")


def from_mapping(cls: type[T], values: Mapping[str, Any]) -> T:
    """Build the settings dataclass `cls` from plain values.

    Raises:
        ValueError: Naming the key that is unknown or has the wrong type, and the keys there are.
    """
    try:
        return dacite.from_dict(cls, dict(values), dacite.Config(strict=True, cast=[tuple]))
    except dacite.DaciteError as error:
        known = ", ".join(field.name for field in fields(cls))  # type: ignore[arg-type]
        raise ValueError(f"{cls.__name__}: {error}; the settings there are: {known}") from None


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
        ValueError: If the file is no YAML or holds something else.
    """
    path = Path(path)
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is not readable as YAML: {error}") from None
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds {type(content).__name__}; expected a mapping of settings")
    return content
