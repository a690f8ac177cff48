#!/usr/bin/env python3
"""Turn a published checkpoint of RFNet or mmFormer into a weights file of the kit.

    python data_scripts/import_published.py model_last.pth rfnet.safetensors --form rfnet_passion
"""

from __future__ import annotations

import argparse
import sys
from datetime import date
from pathlib import Path

from dmaf_lite.base.door import leave
from dmaf_lite.base.provenance import commit
from dmaf_lite.methods.published import FORMS, build_published, load_published
from dmaf_lite.methods.weights import save_weights


def main(argv: list[str] | None = None) -> int:
    """Command line; returns the exit status: 0, or 1 where something does not fit."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("checkpoint", type=Path, help="as downloaded: .pth, .pt or .safetensors")
    parser.add_argument("out", type=Path, help="the .safetensors file to write")
    parser.add_argument("--form", required=True, choices=list(FORMS), help="which network, in whose form")
    parser.add_argument("--source", default="a published checkpoint", help="where it comes from, for the card")
    parser.add_argument("--dry-run", action="store_true", help="only check that everything fits")
    args = parser.parse_args(argv)
    return leave("import_published", lambda: work(args))


def work(args: argparse.Namespace) -> int:
    """Do what the command line asks; returns the exit status."""
    form = FORMS[args.form]
    net = build_published(args.form)
    dropped = load_published(args.checkpoint, net, args.form)
    if not args.dry_run:
        # The published trainings used BraTS at 1 mm; neither seed nor recipe is in the file.
        save_weights(args.out, net, {
            "network": form.network, "network_options": dict(form.options), "spec": "brats",
            "spacing": [1.0, 1.0, 1.0], "window": [form.window] * 3,
            "preparation": "published", "recipe": {"published": args.form},
            "seed": None, "commit": commit(), "date": date.today().isoformat(), "source": args.source,
        })
    count = sum(p.numel() for p in net.parameters())
    print(f"{count:,} parameters fit" + (" (nothing written)" if args.dry_run else f" -> {args.out}"))
    if dropped:
        print(f"left out, never used in the released code: {', '.join(dropped)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
