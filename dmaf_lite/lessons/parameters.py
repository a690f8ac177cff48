"""A lesson checks its own parameters: papermill takes unknown names and wrong types without a word.

    from dmaf_lite.lessons.parameters import check_parameters
    check_parameters(globals())  # in the setup cell, after the parameters cell and papermill's own
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from typing import Any

TYPES = {"str": str, "int": int, "float": float, "bool": bool, "list": list, "dict": dict}
INJECTED = "# Parameters"  # papermill's first line of the cell that it puts in


class ParameterError(ValueError):
    """A parameters cell, a profile or a given value that does not fit."""


def check_parameters(names: Mapping[str, Any]) -> None:
    """Compare the values in a notebook's namespace with the types that the parameters cell declares.

    Args:
        names: ``globals()`` of the notebook.

    Raises:
        ParameterError: Naming the parameter, what was found and what was expected.
    """
    declared = {name: kind if isinstance(kind, str) else kind.__name__
                for name, kind in names.get("__annotations__", {}).items()}
    for cell in names.get("In", ()):
        if cell.startswith(INJECTED):
            given = [target.id for node in ast.parse(cell).body if isinstance(node, ast.Assign)
                     for target in node.targets if isinstance(target, ast.Name)]
            unknown = [name for name in given if name not in declared]
            if unknown:
                raise ParameterError(f"this lesson has no parameter {unknown[0]!r}; there are {list(declared)}")
    for name, kind in declared.items():
        fit(name, names[name], TYPES[kind])


def fit(name: str, value: Any, kind: type) -> Any:
    """A value as `kind`; a whole number is welcome where a float is meant.

    Raises:
        ParameterError: If it is of another type.
    """
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind:
        raise ParameterError(f"{name} is {value!r} ({type(value).__name__}); expected {kind.__name__}")
    return value
