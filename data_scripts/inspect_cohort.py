#!/usr/bin/env python3
"""Say what is in a downloaded cohort: cases, missing scans, grids, odd files, disk need. Changes nothing.

    python data_scripts/inspect_cohort.py FOLDER --detect
    python data_scripts/inspect_cohort.py FOLDER --layout brats2020
    python data_scripts/inspect_cohort.py FOLDER --layout brats2020 --overlap OTHER_FOLDER
"""

from __future__ import annotations

import argparse
import csv
import sys
import warnings
from collections import Counter
from pathlib import Path

from dmaf_lite.base.atomic import atomic_path
from dmaf_lite.base.door import leave
from dmaf_lite.data.detect import detect_layout
from dmaf_lite.data.finding import FoundCohort, find_cohort
from dmaf_lite.data.inventory import BOX_SHARE, CaseRecord, inspect_found
from dmaf_lite.data.layouts import LAYOUTS
from dmaf_lite.data.nifti import CaseError
from dmaf_lite.data.overlap import fingerprints, overlaps
from dmaf_lite.data.splits import patient_of


def summary(records: list[CaseRecord]) -> str:
    """The inventory in a few lines, problems last."""
    good = [r for r in records if r.problem is None]
    most = sum(r.prepared_bytes for r in good) / 1e9
    lines = [f"{len(records)} cases, {len(good)} usable, {sum(r.labelled for r in good)} of them with a segmentation",
             f"{sum(r.source_bytes for r in records) / 1e9:.2f} GB on disk; prepared about {most * BOX_SHARE:.2f} GB, "
             f"at most {most:.2f} GB"]
    lines += [f"  {count:5d} cases with {', '.join(what)}"
              for what, count in Counter(r.modalities for r in good).most_common()]
    lines += [f"  {count:5d} cases of {' x '.join(map(str, size))} voxels of {' x '.join(f'{s:g}' for s in spacing)} mm"
              for (size, spacing), count in Counter((r.shape, r.spacing) for r in good).most_common(8)]
    visits: dict[str, list[str]] = {}
    for r in records:
        visits.setdefault(patient_of(r.name), []).append(r.name)
    several = [f"{patient} ({', '.join(names)})" for patient, names in visits.items() if len(names) > 1]
    if several:
        more = f" and {len(several) - 3} more" if len(several) > 3 else ""
        lines.append(f"{len(several)} patients with several studies, which a split keeps together: "
                     f"{'; '.join(several[:3])}{more}")
    lines += [f"warning {r.name}: {text}" for r in records for text in r.warnings]
    lines += [f"problem {r.name}: {r.problem}" for r in records if r.problem]
    return "\n".join(lines)


def write_csv(path: Path, records: list[CaseRecord]) -> None:
    """One row per case."""
    with atomic_path(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["name", "modalities", "labelled", "shape", "spacing", "bytes", "warnings", "problem"])
        for r in records:
            writer.writerow([r.name, "+".join(r.modalities), r.labelled, "x".join(map(str, r.shape)),
                             "x".join(f"{s:g}" for s in r.spacing), r.source_bytes, " | ".join(r.warnings),
                             r.problem or ""])


def main(argv: list[str] | None = None) -> int:
    """Command line; returns the exit status: 0, or 1 where a case cannot be used."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path, help="the cohort as downloaded")
    how = parser.add_mutually_exclusive_group(required=True)
    how.add_argument("--layout", choices=list(LAYOUTS), help="how it is laid out (docs/layouts.md)")
    how.add_argument("--detect", action="store_true", help="say which layout the folder seems to have, and why")
    parser.add_argument("--overlap", type=Path, metavar="OTHER",
                        help="with --layout: look for the same patients in another cohort; reads every voxel")
    parser.add_argument("--overlap-layout", choices=list(LAYOUTS), help="its layout; default: as --detect tells")
    parser.add_argument("--thorough", action="store_true", help="read every voxel too (about 1 s per BraTS case)")
    parser.add_argument("--csv", type=Path, help="also write one row per case to this file")
    parser.add_argument("--dry-run", action="store_true", help="do not write the CSV")
    args = parser.parse_args(argv)
    if args.overlap and not args.layout:
        parser.error("--overlap needs --layout")
    return leave("inspect_cohort", lambda: work(args))


def look_for_overlap(found: FoundCohort, folder: Path, layout: str | None) -> int:
    """Print which cases are in both cohorts; 1 where there are some, or where a case could not be compared."""
    if layout is None:
        told = detect_layout(folder)
        if told.layout is None:
            raise CaseError(folder, found=f"a cohort whose layout is not clear ({told.problem})",
                            expected="a known one", do="name it with --overlap-layout")
        layout = told.layout
    other = find_cohort(folder, layout)
    (ones, bad), (others, other_bad) = fingerprints(found), fingerprints(other)
    pairs = overlaps(ones, others)
    shared = len({pair.one for pair in pairs})
    print(f"{shared} of {len(found.names)} cases are among the {len(other.names)} of {folder} (layout {layout})")
    for pair in pairs:
        print(f"  {pair}")
    for name, problem in (bad | other_bad).items():
        print(f"not compared {name}: {problem}")
    return int(bool(pairs or bad or other_bad))


def work(args: argparse.Namespace) -> int:
    """Do what the command line asks; returns the exit status."""
    warnings.simplefilter("ignore")  # the summary tells them
    if args.detect:
        told = detect_layout(args.folder)
        print(told)
        return int(told.layout is None)
    found = find_cohort(args.folder, args.layout)
    if args.overlap:
        return look_for_overlap(found, args.overlap, args.overlap_layout)
    records = inspect_found(found, thorough=args.thorough)
    if args.csv and not args.dry_run:
        write_csv(args.csv, records)
    print(summary(records))
    for line in [*found.evidence, *found.notes, *found.unused_lines()]:
        print(f"note {line}")
    return int(any(r.problem for r in records))


if __name__ == "__main__":
    sys.exit(main())
