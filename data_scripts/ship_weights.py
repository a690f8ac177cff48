#!/usr/bin/env python3
"""Put finished weights into the package, under a name, with their subset table in the card.

    python data_scripts/ship_weights.py RUN/weights.safetensors SCORES/rows.parquet dmaf_net_randomised
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import pandas as pd

from dmaf_lite.base.door import leave
from dmaf_lite.evaluation.shipping import PHANTOM, ship_weights
from dmaf_lite.methods.weights import PRETRAINED


def main(argv: list[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("weights", type=Path, help="weights.safetensors of a finished run")
    parser.add_argument("rows", type=Path, help="rows.parquet of its evaluation")
    parser.add_argument("name", help="name under which the kit finds them, such as dmaf_net_randomised")
    parser.add_argument("--data", default=PHANTOM, help="what the rows were measured on (default: %(default)s)")
    parser.add_argument("--largest", type=int, nargs=3, metavar="VOXELS",
                        help="windows may grow to this where that saves work, as was found good on validation cases")
    parser.add_argument("--mirror", action="store_true",
                        help="predict the mirrored study too, as was found good on validation cases")
    parser.add_argument("--folder", type=Path, default=PRETRAINED, help="where they go (default: the package)")
    args = parser.parse_args(argv)

    prediction = {**({"largest": args.largest} if args.largest else {}), **({"mirror": True} if args.mirror else {})}

    def work() -> int:
        path = ship_weights(args.weights, pd.read_parquet(args.rows), args.folder / f"{args.name}.safetensors",
                            data=args.data, prediction=prediction)
        print(f"{path.name}: {path.stat().st_size / 1e6:.1f} MB, with its card beside it")
        return 0

    return leave("ship_weights", work)


if __name__ == "__main__":
    sys.exit(main())
