"""``python -m dmaf_lite explore [FOLDER ...]``: the explorers as an application in the browser, for this machine only.

A small server shows one page; torch lives in a process of its own, which can die and be started again without the page.
Nobody gets in without the token in the address.  ``--export FILE`` writes a page that needs neither.

Taught in lesson 10.
"""

from __future__ import annotations

import argparse
import webbrowser
from contextlib import suppress
from pathlib import Path

SETTINGS = Path(__file__).parent / "settings"  # of JupyterLab: no news, no updates, no cell unloaded when out of sight


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What to open, and where."""
    from dmaf_lite.data.cohort import LAYOUTS

    parser.add_argument("folders", nargs="*", type=Path, metavar="FOLDER",
                        help="folder of a study, of a cohort, or of a training; without one, a synthetic study")
    parser.add_argument("--layout", choices=sorted(LAYOUTS),
                        help="which label values the segmentations have; default: what the names of the files tell")
    parser.add_argument("--weights", type=Path, help="a .safetensors file with its card, or the name of the kit's own; "
                        "default: those that fit the study")
    parser.add_argument("--export", type=Path, metavar="FILE.html",
                        help="write the study as one page that needs no Python, and end")
    parser.add_argument("--size", type=float, default=2.5, metavar="MB", help="largest size of that page")
    parser.add_argument("--renew", type=Path, metavar="FILE.html",
                        help="give an exported page the code of this version, and end; its study stays")
    parser.add_argument("--port", type=int, default=0, help="default: any that is free")
    parser.add_argument("--no-browser", action="store_true", help="only print the address")


def main(args: argparse.Namespace) -> int:
    """Serve until Ctrl-C, or write the page."""
    missing = [folder for folder in args.folders if not folder.is_dir()]
    if missing:
        raise ValueError(f"{missing[0]}: found no such folder; expected the folder of a study, a cohort or a training; "
                         "check the path")
    if args.weights:
        from dmaf_lite.methods.weights import weights_file

        args.weights = weights_file(args.weights)
    if args.weights and not args.weights.is_file():
        raise ValueError(f"{args.weights}: found no such file; expected weights (.safetensors); check the path")
    if args.renew:
        from dmaf_lite.widgets.standalone import renew_page

        print(f"{renew_page(args.renew)}: {args.renew.stat().st_size / 1e6:.2f} MB")
        return 0
    return _export(args) if args.export else _serve(args)


def _export(args: argparse.Namespace) -> int:
    from dmaf_lite.lessons.application.library import PHANTOM, layout_in
    from dmaf_lite.methods.weights import load_weights, shipped
    from dmaf_lite.widgets.export import export_page
    from dmaf_lite.widgets.sources import folder_study, phantom_study

    if len(args.folders) > 1:
        raise ValueError(f"--export writes one study, {len(args.folders)} folders were given; export them one by one")
    source = {} if args.folders else PHANTOM
    study = folder_study(args.folders[0], layout_in(args.folders[0], args.layout)) if args.folders else \
        phantom_study(PHANTOM["seed"], PHANTOM["index"], spacing=PHANTOM["spacing"])
    weights = args.weights or shipped(None if args.folders else "dmaf_net_phantom")
    path = export_page(study, load_weights(weights), args.export, largest=int(args.size * 1e6),
                       source=source)
    print(f"{path}: {path.stat().st_size / 1e6:.2f} MB; open it in any browser, no network needed")
    return 0


def _serve(args: argparse.Namespace) -> int:
    from dmaf_lite.lessons.application.engine import Engine
    from dmaf_lite.lessons.application.library import Library
    from dmaf_lite.lessons.application.server import Application

    library, engine = Library(args.folders, args.layout), Engine(args.weights)
    # Ctrl-C is the way to end it, as it says itself: no word and no failure.
    with suppress(KeyboardInterrupt), Application(library, engine, args.port) as server:
        try:
            print(f"Open {server.address}\nCtrl-C ends it.", flush=True)
            engine.start()
            if not args.no_browser:
                webbrowser.open(server.address)
            server.serve_forever()
        finally:
            engine.stop()
            library.close()
    return 0
