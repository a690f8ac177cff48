#!/usr/bin/env python3
"""Split a cohort into train.txt, val.txt and test.txt; all visits of a patient stay in one part.

    python data_scripts/split_cohort.py PREPARED OUT --counts 219 50 100
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from dmaf_lite.base.door import leave
from dmaf_lite.data.cohort import LAYOUTS, Cohort, find_cohort, split_cases, write_split
from dmaf_lite.data.splits import PARTS


def main(argv: list[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path, help="a prepared cohort, or one as downloaded (then with --layout)")
    parser.add_argument("out", type=Path, help="folder for the three text files")
    parser.add_argument("--layout", choices=list(LAYOUTS), help="how a cohort as downloaded is laid out")
    how = parser.add_mutually_exclusive_group(required=True)
    how.add_argument("--counts", type=int, nargs=3, metavar=("TRAIN", "VAL", "TEST"),
                     help="cases in each part (published for BraTS2020: 219 50 100)")
    how.add_argument("--fractions", type=float, nargs=3, metavar=("TRAIN", "VAL", "TEST"), help="shares that sum to 1")
    parser.add_argument("--seed", type=int, default=0, help="(default %(default)s)")
    parser.add_argument("--dry-run", action="store_true", help="only say what would be written")
    args = parser.parse_args(argv)
    return leave("split_cohort", lambda: work(args))


def work(args: argparse.Namespace) -> int:
    """Do what the command line asks; returns the exit status."""
    names = find_cohort(args.folder, args.layout).names if args.layout else Cohort(args.folder).names
    asked = {"counts": args.counts, "fractions": args.fractions}
    split = split_cases(names, seed=args.seed, **{key: dict(zip(PARTS, value, strict=True))
                                                  for key, value in asked.items() if value is not None})
    if not args.dry_run:
        write_split(args.out, split)
    left = len(names) - sum(map(len, split.values()))
    print(", ".join(f"{part} {len(split[part])}" for part in PARTS) + (f", {left} left out" if left else "")
          + (" (nothing written)" if args.dry_run else f" -> {args.out}"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
