#!/usr/bin/env python3
"""Make a cohort of synthetic brains in the files of BraTS2020; goes on where a stopped run left off.

    python data_scripts/make_phantom.py OUT --count 60
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from dmaf_lite.base.door import leave
from dmaf_lite.phantom.brain.recipe import BrainSettings, case_name, holds_cohort, write_brain_cohort

MB_AT_1_MM = 7.0  # a case's five files, measured; they shrink with the number of voxels


def main(argv: list[str] | None = None) -> int:
    """Command line; returns the exit status: 0, or 1 where a case failed."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("out", type=Path, help="folder for the cohort; made if it is not there")
    parser.add_argument("--count", type=int, default=60, help="number of cases (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the cohort (default %(default)s)")
    parser.add_argument("--spacing", type=float, default=BrainSettings.spacing, metavar="MM",
                        help="voxel edge: 3 for the lessons, 1 as in BraTS (default %(default)s)")
    parser.add_argument("--workers", type=int, help="processes; 0 works in this one (default: one per core, at most 8)")
    parser.add_argument("--again", action="store_true", help="make also what is there already")
    parser.add_argument("--dry-run", action="store_true", help="only say what would be done")
    args = parser.parse_args(argv)
    return leave("make_phantom", lambda: work(args))


def work(args: argparse.Namespace) -> int:
    """Do what the command line asks; returns the exit status."""
    settings = BrainSettings(spacing=args.spacing)
    if args.dry_run:
        there = 0
        if holds_cohort(args.out, args.seed, settings) and not args.again:
            there = sum((args.out / case_name(i)).is_dir() for i in range(args.count))
        need = (args.count - there) * MB_AT_1_MM / args.spacing**3
        print(f"{args.count} synthetic cases of {args.spacing:g} mm in {args.out}, {there} there already; "
              f"the others need about {need:.0f} MB")
        return 0
    report = write_brain_cohort(args.out, count=args.count, seed=args.seed, settings=settings,
                                workers=args.workers, resume=not args.again)
    print(report)
    return int(bool(report.failed))


if __name__ == "__main__":
    sys.exit(main())
