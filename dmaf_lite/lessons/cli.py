"""``python -m dmaf_lite lessons reproduce | build | run | check | exercises | drawings | hero | book | table``."""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping, Sequence
from typing import Any

from dmaf_lite.lessons.check import check, check_names
from dmaf_lite.lessons.execute import OWN, Outcome, artifact_root, run_lessons
from dmaf_lite.lessons.lanes import lanes_that_fit
from dmaf_lite.lessons.profiles import DEFAULT, given_parameters, read_profile
from dmaf_lite.lessons.publish import expected_seconds, publish, refresh
from dmaf_lite.lessons.source import Lesson, Workspace


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The actions and what each takes."""
    actions = parser.add_subparsers(dest="action", required=True)
    for name, text in {
        "reproduce": "run, table and book in one",
        "build": "execute with the default parameters and write notebooks/, exercises and the README's table",
        "run": "execute into build/<profile>/",
        "check": "judge sources and published notebooks, without running them",
        "exercises": "derive notebooks/exercises/ from the solved lessons",
        "drawings": "write the drawings of notebooks/figures/",
        "hero": "write the first picture and the result of the README, from the shipped weights",
        "book": "write the HTML book",
        "table": "print the subset tables that the runs have left",
    }.items():
        action = actions.add_parser(name, help=text, description=text)
        if name in ("build", "run", "check"):
            action.add_argument("lessons", nargs="*", help="beginnings of lesson names, such as 04; default all")
        if name in ("reproduce", "run", "book", "table"):
            default = None if name == "book" else DEFAULT
            action.add_argument("--profile", default=default, help="cpu-small, or a file in notebooks/profiles"
                                + ("; default the published notebooks" if name == "book" else ""))
        if name in ("reproduce", "build", "run", "book"):
            action.add_argument("--force", action="store_true", help="although nothing has changed")
        if name in ("reproduce", "run"):
            action.add_argument("--lanes", type=int, choices=range(1, 9), metavar="N",
                                default=lanes_that_fit() if name == "reproduce" else 1,
                                help="lessons side by side, each with its share of the threads; default %(default)s")
        if name == "run":
            action.add_argument("-p", dest="given", action="append", default=[], metavar="NAME=VALUE",
                                help="a parameter of the chosen lessons, such as steps=40; the run lies in build/own/")
            action.add_argument("--alone", action="store_true", help="an empty artefact folder for each lesson")
            action.add_argument("--reverse", action="store_true",
                                help="the last lesson first: none may need what an earlier one left")


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
    if args.action == "hero":
        from dmaf_lite.lessons.hero import write_hero

        write_hero(workspace)
        return 0
    if args.action == "book":
        return _book(workspace, args.profile, force=args.force)
    if args.action == "table":
        return _table(workspace, args.profile)
    lessons = workspace.select(getattr(args, "lessons", []))
    if getattr(args, "reverse", False):
        lessons = lessons[::-1]
    if args.action == "check":
        return _check(workspace, lessons)
    profile = getattr(args, "profile", DEFAULT)
    outcomes = _run(workspace, lessons, profile, alone=getattr(args, "alone", False), force=args.force,
                    lanes=getattr(args, "lanes", 1), parameters=given_parameters(lessons, getattr(args, "given", [])))
    if args.action == "build":
        from dmaf_lite.lessons.reproduced import keep_rows

        for outcome in outcomes:
            if outcome.state != "failed":
                publish(workspace, outcome.lesson)
        keep_rows(artifact_root(workspace, profile), workspace.notebooks)
        refresh(workspace)
    failed = int(any(outcome.state == "failed" for outcome in outcomes))
    if args.action == "reproduce" and not failed:  # in one process: libraries and lessons are read once
        return _table(workspace, profile) or _book(workspace, profile, force=args.force)
    return failed


def _table(workspace: Workspace, profile: str) -> int:
    from dmaf_lite.lessons.reproduced import report

    read_profile(workspace, profile)  # refuses a name that is no profile
    print(report(artifact_root(workspace, profile), workspace.notebooks))
    return 0


def _book(workspace: Workspace, profile: str | None, *, force: bool) -> int:
    from dmaf_lite.lessons.book import write_book

    print(f"the book: {write_book(workspace, profile, force=force)}")
    return 0


def _run(workspace: Workspace, lessons: Sequence[Lesson], profile: str, *, alone: bool, force: bool,
         parameters: Mapping[str, Mapping[str, Any]], lanes: int = 1) -> list[Outcome]:
    outcomes: list[Outcome] = []
    start = time.monotonic()
    clock = Clock({lesson.stem: expected_seconds(workspace, lesson) for lesson in lessons}, lanes)

    def begins(number: int, lesson: Lesson) -> None:
        print(f"{number:2d} of {len(lessons)}  {lesson.stem}{clock.left()}", flush=True)

    for outcome in run_lessons(workspace, lessons, profile, alone=alone, force=force, parameters=parameters,
                               begins=begins, lanes=lanes):
        clock.done(outcome.lesson.stem, outcome.seconds if outcome.state == "ran" else None)
        words = {"ran": f"{outcome.seconds:6.1f} s", "current": " current", "failed": "  FAILED"}[outcome.state]
        words += f"  {outcome.lesson.stem}" if lanes > 1 else ""  # which of those that run
        print(f"          {words}" + (f"\n          {outcome.error}" if outcome.error else ""), flush=True)
        outcomes.append(outcome)
    failed = [outcome.lesson.stem for outcome in outcomes if outcome.state == "failed"]
    places = {lesson.stem: f"build/{OWN if parameters.get(lesson.stem) else profile}" for lesson in lessons}
    taken = time.monotonic() - start
    print(f"{len(outcomes) - len(failed)} of {len(outcomes)} lessons are good ({profile}, {taken:.0f} s); "
          f"they lie in {' and '.join(sorted(set(places.values())))}"
          + "".join(f"\nfailed: {stem}; it left {places[stem]}/{stem}.failed.ipynb" for stem in failed))
    return outcomes


class Clock:
    """How long the lessons still take: what the published runs took, as fast as this machine has been so far.

    Args:
        expected: Seconds of each lesson by its name, None where it has no published run.
        lanes: How many run side by side.
    """

    def __init__(self, expected: Mapping[str, float | None], lanes: int = 1) -> None:
        self.waiting = dict(expected)
        self.lanes = lanes
        self.ran: list[tuple[float, float]] = []  # expected, taken

    def done(self, name: str, seconds: float | None) -> None:
        """A lesson has ended; None if it did not run."""
        expected = self.waiting.pop(name)
        if seconds is not None and expected:
            self.ran.append((expected, seconds))

    def left(self) -> str:
        """Words about the time that the lessons without an end still take; empty where nothing is known."""
        known = [seconds for seconds in self.waiting.values() if seconds]
        if not known or not self.ran:
            return ""
        pace = sum(taken for _, taken in self.ran) / sum(expected for expected, _ in self.ran) / self.lanes
        minutes = sum(known) * pace / 60
        return f"   about {minutes:.0f} min left" if minutes >= 1 else "   less than a minute left"


def _check(workspace: Workspace, lessons: Sequence[Lesson]) -> int:
    problems = check_names(workspace) + [f"{x.stem}: {problem}" for x in lessons for problem in check(workspace, x)]
    print("\n".join([*problems, f"{len(lessons)} lessons checked, {len(problems)} problems"]))
    return int(bool(problems))
