#!/usr/bin/env python3
"""Draw a missing-rate table: which training case has which modality (published CSV format).

    python data_scripts/make_missing_rates.py train.txt OUT.csv --rates FLAIR=0.6 T1ce=0.4 T1=0.2 T2=0.8
    python data_scripts/make_missing_rates.py train.txt OUT.csv --published mr2468
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from dmaf_lite.base.door import leave
from dmaf_lite.data.missing import PUBLISHED_SEED, missing_table, published_rates, realised_rates, write_table
from dmaf_lite.data.splits import read_names
from dmaf_lite.spec import SPECS


def main(argv: list[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("names", type=Path, help="text file of training cases, one a line")
    parser.add_argument("out", type=Path, help="the CSV to write")
    how = parser.add_mutually_exclusive_group(required=True)
    how.add_argument("--rates", nargs="+", metavar="MODALITY=RATE", help="nominal missing rates, met to one case")
    how.add_argument("--published", metavar="NAME", help="a published table's name, e.g. mr2468, drawn as published")
    parser.add_argument("--spec", choices=list(SPECS), default="brats", help="(default %(default)s)")
    parser.add_argument("--seed", type=int, help=f"(default 0; {PUBLISHED_SEED} with --published)")
    parser.add_argument("--dry-run", action="store_true", help="only say what would be written")
    args = parser.parse_args(argv)
    return leave("make_missing_rates", lambda: work(args))


def work(args: argparse.Namespace) -> int:
    """Do what the command line asks; returns the exit status."""
    spec = SPECS[args.spec]
    names = read_names(args.names)
    if args.published:
        rates, method = published_rates(args.published), "published"
    else:
        rates, method = {}, "exact"
        for item in args.rates:
            modality, _, rate = item.partition("=")
            rates[modality] = float(rate)
    seed = args.seed if args.seed is not None else PUBLISHED_SEED if args.published else 0
    table = missing_table(names, rates, spec=spec, seed=seed, method=method)
    if not args.dry_run:
        write_table(args.out, table, spec=spec)
    print(f"{len(table)} cases, {table.all(axis=1).sum()} of them complete"
          + (" (nothing written)" if args.dry_run else f" -> {args.out}"))
    for modality, rate in realised_rates(table).items():
        print(f"  {modality:6s} asked {rates[modality]:.3f}  realised {rate:.3f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
