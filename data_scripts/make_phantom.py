#!/usr/bin/env python3
"""Make a cohort of synthetic brains (files of BraTS2020) or hearts (MyoPS 2020); goes on where a stopped run left off.

    python data_scripts/make_phantom.py OUT --count 60
    python data_scripts/make_phantom.py OUT --kind heart --count 25
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from dmaf_lite.base.door import leave
from dmaf_lite.phantom.brain.ingredients import INGREDIENTS, BrainSettings
from dmaf_lite.phantom.brain.ingredients import KINDS as RANDOMISED
from dmaf_lite.phantom.brain.recipe import case_name, holds_cohort, write_brain_cohort
from dmaf_lite.phantom.heart.heart_cohort import has_heart, holds_hearts, write_heart_cohort
from dmaf_lite.phantom.heart.hearts import HeartSettings


class Kind(NamedTuple):
    """One kind of phantom: its settings, how it is written, and what is there already.

    Attributes:
        settings: The settings' class.
        write, holds: Of its room in the package.
        is_there: Folder and index -> whether a case is complete.
        mb_at_1_mm: A case's files, measured.
        axes: Along how many axes the spacing counts.
    """

    settings: Callable[..., Any]
    write: Callable[..., Any]
    holds: Callable[..., bool]
    is_there: Callable[[Path, int], bool]
    mb_at_1_mm: float
    axes: int


KINDS = {
    "brain": Kind(BrainSettings, write_brain_cohort, holds_cohort, lambda out, i: (out / case_name(i)).is_dir(), 7.0,
                  3),
    # Many small enhancing foci: brain metastases.
    "mets": Kind(partial(BrainSettings, metastases=True, without_enhancement=0.0), write_brain_cohort, holds_cohort,
                 lambda out, i: (out / case_name(i)).is_dir(), 7.0, 3),
    "heart": Kind(HeartSettings, write_heart_cohort, holds_hearts, has_heart, 1.3, 2),
}


def main(argv: list[str] | None = None) -> int:
    """Command line; returns the exit status: 0, or 1 where a case failed."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("out", type=Path, help="folder for the cohort; made if it is not there")
    parser.add_argument("--kind", choices=KINDS, default="brain", help="what to draw (default %(default)s)")
    parser.add_argument("--count", type=int, default=60, help="number of cases (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the cohort (default %(default)s)")
    parser.add_argument("--spacing", type=float, metavar="MM",
                        help="voxel edge; brains: 3 for the lessons (default), 1 as in BraTS; hearts, in plane: "
                             "2 (default), 0.75 as in MyoPS 2020")
    parser.add_argument("--randomise", choices=(*RANDOMISED, "mixed"), default=BrainSettings.randomise,
                        help="brains: draw contrast, tumour, scanner and more anew for every case "
                             "(default %(default)s)")
    parser.add_argument("--leave-out", nargs="+", choices=INGREDIENTS, default=(), metavar="INGREDIENT",
                        help=f"do not draw these anew: {', '.join(INGREDIENTS)}")
    parser.add_argument("--workers", type=int, help="processes; 0 works in this one (default: one per core, at most 8)")
    parser.add_argument("--again", action="store_true", help="make also what is there already")
    parser.add_argument("--dry-run", action="store_true", help="only say what would be done")
    args = parser.parse_args(argv)
    return leave("make_phantom", lambda: work(args))


def work(args: argparse.Namespace) -> int:
    """Do what the command line asks; returns the exit status."""
    kind = KINDS[args.kind]
    given = {} if args.spacing is None else {"spacing": args.spacing}
    if args.kind == "brain":
        given |= {"randomise": args.randomise, "leave_out": tuple(args.leave_out)}
    elif args.randomise != "off" or args.leave_out:
        raise ValueError(f"--randomise and --leave-out are for brains; leave them out for --kind {args.kind}")
    settings = kind.settings(**given)
    if args.dry_run:
        there = 0
        if kind.holds(args.out, args.seed, settings) and not args.again:
            there = sum(kind.is_there(args.out, i) for i in range(args.count))
        need = (args.count - there) * kind.mb_at_1_mm / settings.spacing**kind.axes
        print(f"{args.count} synthetic {args.kind}s of {settings.spacing:g} mm in {args.out}, {there} there already; "
              f"the others need about {need:.0f} MB")
        return 0
    report = kind.write(args.out, count=args.count, seed=args.seed, settings=settings, workers=args.workers,
                        resume=not args.again)
    print(report)
    return int(bool(report.failed))


if __name__ == "__main__":
    sys.exit(main())
