#!/usr/bin/env python3
"""Prepare a cohort for training: z-scored, cropped arrays; goes on where a stopped run left off.

    python data_scripts/prepare_cohort.py FOLDER OUT --layout brats2020
"""

from __future__ import annotations

import argparse
import sys
import warnings
from pathlib import Path

from dmaf_lite.base.door import leave
from dmaf_lite.data.case import DEFAULT_MINIMUM
from dmaf_lite.data.cohort import LAYOUTS, prepare_cohort, read_names
from dmaf_lite.data.inventory import BOX_SHARE, inspect_cohort
from dmaf_lite.data.published_preparation import check_brains


def main(argv: list[str] | None = None) -> int:
    """Command line; returns the exit status: 0, or 1 where a case failed."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path, help="the cohort as downloaded")
    parser.add_argument("out", type=Path, help="folder for the prepared cohort")
    parser.add_argument("--layout", required=True, choices=list(LAYOUTS), help="how the cohort is laid out")
    parser.add_argument("--names", type=Path, help="text file of case names, one a line: prepare only these")
    parser.add_argument("--minimum", type=int, default=DEFAULT_MINIMUM, metavar="VOXELS",
                        help="smallest stored size per axis; at least the training crop (default %(default)s)")
    parser.add_argument("--spacing", type=float, metavar="MM", help="resample to this isotropic voxel size")
    parser.add_argument("--published", action="store_true",
                        help="as the public code of RFNet, mmFormer and PASSION does it, for weights trained there")
    parser.add_argument("--workers", type=int, help="processes; 0 works in this one (default: one per core, at most 8)")
    parser.add_argument("--again", action="store_true", help="prepare also what is prepared already")
    parser.add_argument("--dry-run", action="store_true", help="only say what would be done")
    args = parser.parse_args(argv)
    return leave("prepare_cohort", lambda: work(args))


def work(args: argparse.Namespace) -> int:
    """Do what the command line asks; returns the exit status."""
    warnings.simplefilter("ignore")  # the summary tells them
    preparation = "published" if args.published else "own"
    check_brains(preparation, LAYOUTS[args.layout].spec.stack)  # here too, for a dry run
    names = None if args.names is None else read_names(args.names)
    if args.dry_run:
        records = [r for r in inspect_cohort(args.folder, args.layout) if names is None or r.name in names]
        bad = [r for r in records if r.problem]
        there = sum((args.out / r.name / "case.json").exists() for r in records)
        most = sum(r.prepared_bytes for r in records) / 1e9
        print(f"{len(records)} cases, {there} prepared already, {len(bad)} cannot be read; in all about "
              f"{most * BOX_SHARE:.2f} GB, at most {most:.2f} GB at their own voxel size")
        for r in bad:
            print(f"problem {r.name}: {r.problem}")
        return int(bool(bad))
    report = prepare_cohort(args.folder, args.out, layout=args.layout, names=names, minimum=args.minimum,
                            spacing=args.spacing, workers=args.workers, resume=not args.again,
                            preparation=preparation)
    print(report)
    return int(bool(report.failed))


if __name__ == "__main__":
    sys.exit(main())
