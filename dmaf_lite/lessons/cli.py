"""``python -m dmaf_lite lessons build | run | check | exercises | drawings | book | table``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from dmaf_lite.lessons.check import check, check_names
from dmaf_lite.lessons.execute import Outcome, artifact_root, run_lessons
from dmaf_lite.lessons.profiles import DEFAULT
from dmaf_lite.lessons.publish import publish, refresh
from dmaf_lite.lessons.source import Lesson, Workspace


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The actions and what each takes."""
    actions = parser.add_subparsers(dest="action", required=True)
    for name, text in {
        "build": "execute with the default parameters and write notebooks/, exercises and the README's table",
        "run": "execute into build/<profile>/",
        "check": "judge sources and published notebooks, without running them",
        "exercises": "derive notebooks/exercises/ from the solved lessons",
        "drawings": "write the drawings of notebooks/figures/",
        "book": "write the HTML book",
        "table": "print the subset tables that the runs have left",
    }.items():
        action = actions.add_parser(name, help=text, description=text)
        if name in ("build", "run", "check"):
            action.add_argument("lessons", nargs="*", help="beginnings of lesson names, such as 04; default all")
        if name in ("run", "book", "table"):
            default = None if name == "book" else DEFAULT
            action.add_argument("--profile", default=default, help="cpu-small, or a file in notebooks/profiles"
                                + ("; default the published notebooks" if name == "book" else ""))
        if name in ("build", "run"):
            action.add_argument("--force", action="store_true", help="run although nothing has changed")
        if name == "run":
            action.add_argument("--alone", action="store_true", help="an empty artefact folder for each lesson")


def main(args: argparse.Namespace) -> int:
    """Run one action; 1 if any lesson failed."""
    workspace = Workspace()
    if args.action == "exercises":
        refresh(workspace)
        return 0
    if args.action == "drawings":
        from dmaf_lite.figures.drawings import write_drawings

        write_drawings(workspace.notebooks / "figures")
        return 0
    if args.action == "book":
        from dmaf_lite.lessons.book import write_book

        print(f"the book: {write_book(workspace, args.profile)}")
        return 0
    if args.action == "table":
        from dmaf_lite.lessons.report import committed_table, subset_tables

        print(subset_tables(artifact_root(workspace, args.profile)) or committed_table(workspace.notebooks))
        return 0
    lessons = workspace.select(args.lessons)
    if args.action == "check":
        return _check(workspace, lessons)
    profile = getattr(args, "profile", DEFAULT)
    outcomes = _run(workspace, lessons, profile, alone=getattr(args, "alone", False), force=args.force)
    if args.action == "build":
        for outcome in outcomes:
            if outcome.state != "failed":
                publish(workspace, outcome.lesson)
        refresh(workspace)
    return int(any(outcome.state == "failed" for outcome in outcomes))


def _run(workspace: Workspace, lessons: Sequence[Lesson], profile: str, *, alone: bool, force: bool) -> list[Outcome]:
    outcomes = []
    for outcome in run_lessons(workspace, lessons, profile, alone=alone, force=force):
        words = {"ran": f"{outcome.seconds:6.1f} s", "current": " current", "failed": "  FAILED"}[outcome.state]
        print(f"{words}  {outcome.lesson.stem}" + (f"\n          {outcome.error}" if outcome.error else ""), flush=True)
        outcomes.append(outcome)
    failed = [outcome.lesson.stem for outcome in outcomes if outcome.state == "failed"]
    total = sum(outcome.seconds for outcome in outcomes if outcome.state == "ran")
    print(f"{len(outcomes) - len(failed)} of {len(outcomes)} lessons are good ({profile}, {total:.0f} s)"
          + (f"; failed: {', '.join(failed)}; each left build/{profile}/NAME.failed.ipynb" if failed else ""))
    return outcomes


def _check(workspace: Workspace, lessons: Sequence[Lesson]) -> int:
    problems = check_names(workspace) + [f"{x.stem}: {problem}" for x in lessons for problem in check(workspace, x)]
    print("\n".join([*problems, f"{len(lessons)} lessons checked, {len(problems)} problems"]))
    return int(bool(problems))
