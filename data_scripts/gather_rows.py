#!/usr/bin/env python3
"""Gather the evaluations of several runs into one small table and card, as lessons read them.

    python data_scripts/gather_rows.py notebooks/results/drawings --run main "6000 steps" CARD ROWS --run ...

CARD is the card.json of a run, ROWS the rows.parquet of its evaluation.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import pandas as pd

from dmaf_lite.base.atomic import atomic_path, write_text
from dmaf_lite.base.door import leave
from dmaf_lite.evaluation.shipping import PHANTOM

KEPT = ("hardware", "torch", "commit", "date")  # of the first run's card


def main(argv: list[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("out", type=Path, help="target without its ending: .parquet and .json are written")
    parser.add_argument("--run", nargs=4, action="append", required=True, metavar=("NAME", "WORDS", "CARD", "ROWS"),
                        help="name, what it is in words, its card and its rows; once for every run")
    parser.add_argument("--data", default=PHANTOM, help="what the rows were measured on (default: %(default)s)")
    args = parser.parse_args(argv)
    return leave("gather_rows", lambda: work(args))


def work(args: argparse.Namespace) -> int:
    """Do what the command line asks; returns the exit status."""
    parts, card = [], {"data": args.data, "runs": {}, "recipes": {}}
    for name, words, card_file, rows_file in args.run:
        if name in card["runs"]:
            raise ValueError(f"--run {name} is given twice; give every run a name of its own")
        rows = pd.read_parquet(rows_file)
        rows = rows[(rows["metric"] == "dice")].assign(run=name)
        parts.append(rows.assign(value=rows["value"].astype("float32")))
        of_run = json.loads(Path(card_file).read_text(encoding="utf-8"))
        card["runs"][name], card["recipes"][name] = words, of_run["recipe"]
        card |= {key: of_run[key] for key in KEPT if key in of_run and key not in card}
    table = pd.concat(parts, ignore_index=True)
    card["test_cases"] = int(table["case"].nunique())
    with atomic_path(args.out.with_suffix(".parquet")) as partial:
        table.to_parquet(partial, index=False)
    write_text(args.out.with_suffix(".json"), json.dumps(card, indent=1) + "\n")
    print(f"{len(parts)} runs, {len(table)} rows: {args.out.with_suffix('.parquet').name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
