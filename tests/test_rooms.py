"""The house: arrows between rooms run one way, no circle of imports, and the README names every room."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from tiny import REPOSITORY

PACKAGE = REPOSITORY / "dmaf_lite"
ORDER = ("spec", "base", "data", "phantom", "nn", "objectives", "peers", "methods", "training", "evaluation",
         "experiment", "figures", "widgets", "lessons")


def imports() -> dict[str, set[str]]:
    """Module -> modules of the kit that it imports, anywhere in its code, also for type checkers only."""
    modules = {_name(path): path for path in PACKAGE.rglob("*.py")}
    found: dict[str, set[str]] = {}
    for name, path in modules.items():
        found[name] = set()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("dmaf_lite"):
                names = [f"{node.module}.{alias.name}" for alias in node.names]
                found[name] |= {inner if inner in modules else node.module for inner in names}
            elif isinstance(node, ast.Import):
                found[name] |= {alias.name for alias in node.names if alias.name in modules}
    return found


def _name(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _room(module: str) -> str:
    return module.split(".")[1] if "." in module else module


def test_arrows_between_rooms_run_one_way() -> None:
    wrong = [f"{module} -> {other}" for module, others in imports().items() for other in others
             if _room(module) in ORDER and _room(other) in ORDER
             and ORDER.index(_room(other)) > ORDER.index(_room(module))]
    assert wrong == []


def test_no_circle_of_imports() -> None:
    arrows = imports()
    done: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, " -> ".join((*path[path.index(module):], module))
        if module not in done:
            for other in sorted(arrows.get(module, ())):
                visit(other, (*path, module))
            done.add(module)

    for module in sorted(arrows):
        visit(module, ())


def test_every_room_is_named_in_order_and_no_two_files_share_a_name() -> None:
    rooms = {p.name.removesuffix(".py") for p in PACKAGE.iterdir()
             if (p.is_dir() and (p / "__init__.py").exists()) or p.suffix == ".py"}
    assert rooms - {"__init__", "__main__"} == set(ORDER)
    readme = (PACKAGE / "README.md").read_text(encoding="utf-8")
    places = [readme.index(f"| `{room}.py` |" if room == "spec" else f"| `{room}/` |") for room in ORDER]
    assert places == sorted(places)
    names = [p.name for p in PACKAGE.rglob("*.py") if not p.name.startswith("__")]
    assert sorted({name for name in names if names.count(name) > 1}) == []


# They are about brains: layouts and names of brain cohorts, a skull, litres of a brain, which phantom it was.
ABOUT_BRAINS = {"layouts.py", "described.py", "scan_names.py", "plausibility.py", "experience.py", "promise.py",
                "shipping.py", "calibrate.py", "protocols.py"}


def test_no_room_that_serves_every_organ_speaks_of_brains_or_tumours():
    found = []
    for room in ("data", "training", "evaluation", "nn", "experiment", "methods"):
        for path in sorted((PACKAGE / room).glob("*.py")):
            if path.name in ABOUT_BRAINS:
                continue
            for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
                words = re.findall(r"\b(?:brains?|tumours?|tumors?)\b", line.lower())
                if words and not re.search("phantom|whole-tumour|import|published", line):
                    found.append(f"{room}/{path.name}:{number} {line.strip()}")
    assert not found, found
