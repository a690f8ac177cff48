"""A digest of code that changes when its behaviour may change, and not when a comment does.

Lessons and artefacts are stamped with it, so that a result made by other code is never taken for current.
"""

from __future__ import annotations

import ast
import hashlib
import json
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

PACKAGE = Path(__file__).parents[1]


def digest(value: Any) -> str:
    """Short digest of something that JSON can write (keys sorted)."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def file_digest(path: Path) -> str:
    """Digest of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def canonical(node: Any) -> Any:
    """A syntax tree as nested lists, without docstrings, positions and empty fields.

    Empty fields are left out because Python 3.12 has some that 3.11 has not; the digest is the same on both.
    """
    if isinstance(node, ast.AST):
        found = {name: value for name, value in ast.iter_fields(node) if value not in (None, [])}
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)) and (
            ast.get_docstring(node, clean=False) is not None
        ):
            found["body"] = found["body"][1:]
        return [type(node).__name__, [[name, canonical(value)] for name, value in found.items()]]
    return [canonical(item) for item in node] if isinstance(node, list) else repr(node)


def imported(tree: ast.AST, module: str = "") -> set[str]:
    """Names of the dmaf_lite modules that some code imports, inside functions as well.

    Args:
        tree: Syntax tree of the code.
        module: Dotted name of the package the code stands in; needed for relative imports only.
    """
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = module.split(".")[: len(module.split(".")) - node.level + 1] if node.level else []
            origin = ".".join([*base, *([node.module] if node.module else [])])
            names.add(origin)
            names.update(f"{origin}.{alias.name}" for alias in node.names)
    return {name for name in names if name.split(".")[0] == PACKAGE.name and module_file(name)}


def module_file(name: str) -> Path | None:
    """The file of a dmaf_lite module, None if the name is no module (a function, say)."""
    path = PACKAGE.joinpath(*name.split(".")[1:])
    candidates = (path / "__init__.py", path.with_suffix(".py"))
    return next((candidate for candidate in candidates if candidate.is_file()), None)


def code_digest(modules: Iterable[str]) -> str:
    """Digest of dmaf_lite modules, of all that they import from dmaf_lite, and of the data files of their packages."""
    todo, seen = set(modules), {}
    folders: set[Path] = set()  # a folder is looked through once, not once for each of its modules
    while todo:
        name = todo.pop()
        path = module_file(name)
        if name in seen or path is None:
            continue
        own, imports = _module(name, path, path.stat().st_mtime_ns)
        seen[name] = own
        parent = name.rpartition(".")[0]
        todo |= imports | ({parent} if parent else set())
        if path.parent != PACKAGE and path.parent not in folders:
            folders.add(path.parent)
            for data in sorted(path.parent.rglob("*")):
                if data.is_file() and data.suffix != ".py" and "__pycache__" not in data.parts:
                    seen[data.relative_to(PACKAGE).as_posix()] = _data(data, data.stat().st_mtime_ns)
    return digest(seen)


@cache
def _module(name: str, path: Path, mtime: int) -> tuple[str, frozenset[str]]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    return digest(canonical(tree)), frozenset(imported(tree, package))


@cache
def _data(path: Path, mtime: int) -> str:
    return file_digest(path)
