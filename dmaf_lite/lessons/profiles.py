"""Parameters of a lesson and the profiles that override them, read strictly.

papermill runs on with an unknown name or text where a number was meant; here both stop the run before it starts.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from dmaf_lite.base.settings import read_yaml
from dmaf_lite.lessons.parameters import TYPES, ParameterError, fit
from dmaf_lite.lessons.source import Lesson, Workspace, tags

DEFAULT = "cpu-small"  # the values in the lessons themselves; it has no file, so there is no second copy to drift


def declared(lesson: Lesson) -> dict[str, Any]:
    """Names and defaults of a lesson's parameters.

    Raises:
        ParameterError: If there is not exactly one parameters cell, or it holds more than annotated literals, or it
            does not begin with ``profile`` and ``seed``.
    """
    cells = [cell for cell in lesson.cells if "parameters" in tags(cell)]
    where = lesson.path.name
    if len(cells) != 1:
        raise ParameterError(f"{where} has {len(cells)} cells tagged parameters; expected one, after the opening")
    values: dict[str, Any] = {}
    for node in ast.parse(cells[0].source).body:
        if not (isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value):
            raise ParameterError(f"{where}, parameters: found `{ast.unparse(node)}`; expected `name: type = literal`. "
                                 "Derive values in the next cell, after papermill has put its own in.")
        name, kind = node.target.id, ast.unparse(node.annotation)
        if kind not in TYPES:
            raise ParameterError(f"{where}: {name} is annotated {kind}; expected one of {', '.join(TYPES)}")
        try:
            values[name] = ast.literal_eval(node.value)
        except ValueError:
            raise ParameterError(f"{where}: {name} = {ast.unparse(node.value)} is no literal") from None
        if type(values[name]) is not TYPES[kind]:
            raise ParameterError(f"{where}: {name} is annotated {kind} but is {values[name]!r}")
    if list(values)[:2] != ["profile", "seed"] or values["profile"] != DEFAULT:
        raise ParameterError(f'{where}: the first parameters must be profile: str = "{DEFAULT}" and seed: int, '
                             f"found {list(values)[:2]}")
    return values


def read_profile(workspace: Workspace, profile: str) -> dict[str, Mapping[str, Any]]:
    """Overrides per lesson stem of one profile, every name and type checked against the lessons.

    Raises:
        ParameterError: Naming the file, the lesson and the parameter that does not fit.
    """
    lessons = {lesson.stem: lesson for lesson in workspace.lessons()}
    if profile == DEFAULT:
        return {stem: {} for stem in lessons}
    path = workspace.profiles / f"{profile}.yaml"
    if not path.is_file():
        known = sorted([DEFAULT, *(p.stem for p in workspace.profiles.glob("*.yaml"))])
        raise ParameterError(f"there is no profile {profile!r}; choose one of {known}")
    content = read_yaml(path)
    blocks = content.get("lessons") or {}
    strangers = [key for key in content if key not in ("note", "common", "lessons")]
    strangers += [stem for stem in blocks if stem not in lessons]
    if strangers:
        raise ParameterError(f"{path.name}: {strangers} are not known; expected note, common and lessons, "
                             f"and under lessons some of {list(lessons)}")
    common = content.get("common") or {}
    return {stem: _fit(lesson, {**common, **(blocks.get(stem) or {})}, profile) for stem, lesson in lessons.items()}


def _fit(lesson: Lesson, overrides: Mapping[str, Any], profile: str) -> dict[str, Any]:
    defaults = declared(lesson)
    fitted: dict[str, Any] = {"profile": profile}
    for name, value in overrides.items():
        where = f"profile {profile}, lesson {lesson.stem}"
        if name not in defaults or name == "profile":
            raise ParameterError(f"{where}: no parameter {name!r} to override; there are {list(defaults)[1:]}")
        try:
            fitted[name] = fit(name, value, type(defaults[name]))  # YAML writes 1 for 1.0
        except ParameterError as error:
            raise ParameterError(f"{where}: {error}, such as {defaults[name]!r}") from None
    return fitted


def given_parameters(lessons: Sequence[Lesson], texts: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Parameters from the command line, ``name=value`` each: lesson stem -> name -> value.

    Raises:
        ParameterError: If a text is no such pair, no chosen lesson has the parameter, or the value does not fit.
    """
    found: dict[str, dict[str, Any]] = {lesson.stem: {} for lesson in lessons}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise ParameterError(f"-p {text}: expected name=value, such as steps=40")
        owners = {lesson.stem: declared(lesson) for lesson in lessons if name in declared(lesson)}
        if not owners or name == "profile":
            known = {lesson.stem: list(declared(lesson))[1:] for lesson in lessons}
            raise ParameterError(f"-p {text}: no chosen lesson has a parameter {name!r}; there are {known}")
        for stem, defaults in owners.items():
            kind = type(defaults[name])
            try:
                parsed = value if kind is str else yaml.safe_load(value)
            except yaml.YAMLError:
                raise ParameterError(f"-p {text}: {value!r} cannot be read; expected {kind.__name__}, "
                                     f"such as {defaults[name]!r}") from None
            found[stem][name] = fit(f"-p {text}: {name}", parsed, kind)
    return found
