#!/usr/bin/env python3
"""Score weights on labelled studies as they lie on disk: Dice of every subset of their scans, on their own grid.

    python data_scripts/score_cases.py FOLDER --weights FILE --out SCORES

FOLDER is a cohort or one study.  Without it: the folder real_case in the folder that DMAF_DATA names.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from dataclasses import replace
from pathlib import Path

from dmaf_lite.base.atomic import atomic_path, write_text
from dmaf_lite.base.device import choose_device
from dmaf_lite.base.door import leave
from dmaf_lite.data.finding import bound_layout
from dmaf_lite.data.layouts import LAYOUTS
from dmaf_lite.evaluation.inference import windows_of
from dmaf_lite.evaluation.native import labelled_studies, score_studies
from dmaf_lite.evaluation.tables import markdown, subset_table
from dmaf_lite.lessons.artifacts import data_folder
from dmaf_lite.methods.weights import load_weights, shipped, weights_file


def main(argv: list[str] | None = None) -> int:
    """Command line; returns the exit status: 0, or 1 where a case failed."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", nargs="?", type=Path, help="a cohort or one study, with segmentations")
    parser.add_argument("--weights", type=Path, help="a .safetensors file, or the name of the kit's own (default: "
                        "those for real scans)")
    parser.add_argument("--layout", default="brats2020", choices=sorted(LAYOUTS), help="how the files are named")
    parser.add_argument("--out", type=Path, required=True, help="folder for rows.parquet and table.md")
    parser.add_argument("--window", type=int, nargs=3, metavar="VOXELS", help="sides (default: as the card says)")
    parser.add_argument("--largest", type=int, nargs=3, metavar="VOXELS",
                        help="sides to which windows may grow where that saves work (default: as the card says)")
    parser.add_argument("--mirror", action=argparse.BooleanOptionalAction,
                        help="mean with the prediction for the mirrored study (default: as the card says)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, mps")
    args = parser.parse_args(argv)
    return leave("score_cases", lambda: work(args))


def work(args: argparse.Namespace) -> int:
    """Do what the command line asks; returns the exit status."""
    weights = weights_file(args.weights) if args.weights else shipped()
    net, card = load_weights(weights, choose_device(args.device))
    windows = windows_of(card)
    if args.window:
        windows = replace(windows, window=tuple(args.window), largest=None)
    if args.largest:
        windows = replace(windows, largest=tuple(args.largest))
    if args.mirror is not None:
        windows = replace(windows, mirror=args.mirror)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what is odd about a case is told by predict
        folder = args.folder or data_folder("real_case")
        layout = bound_layout(folder, args.layout)
        studies = labelled_studies(folder, layout)
        rows, failed = score_studies(net, card, studies, run=weights.stem, layout=layout, windows=windows)
    for name, reason in failed.items():
        print(f"failed: {name}: {reason}", file=sys.stderr)
    if rows.empty:
        return 1
    with atomic_path(args.out / "rows.parquet") as partial:
        rows.to_parquet(partial, index=False)
    table = subset_table(rows, "dice", spec=layout.spec)
    text = f"Dice on the files' own grid, {rows['case'].nunique()} cases\n\n{markdown(table)}\n"
    write_text(args.out / "table.md", text)
    print(text)
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
