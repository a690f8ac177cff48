"""``dmaf``, or ``python -m dmaf_lite train | evaluate | predict | experiment | lessons | explore``: a thin door.

Each command lives in its own module; all of them leave through one door (`base/door.py`), which turns a user's slip
into one sentence and an exit status.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module

from dmaf_lite.base.door import leave

COMMANDS = {
    "train": ("dmaf_lite.training.loop", "train a network on a prepared cohort"),
    "evaluate": ("dmaf_lite.evaluation.evaluate", "score trained weights on every subset of the modalities"),
    "calibrate": ("dmaf_lite.evaluation.calibrate", "fit how sure trained weights may be"),
    "predict": ("dmaf_lite.evaluation.predict", "segment new studies, whatever modalities they have"),
    "experiment": ("dmaf_lite.experiment.command", "train and score methods x missing rates x seeds, run by run"),
    "report": ("dmaf_lite.lessons.matrix_report", "write what a matrix of experiments has found, as notebook and page"),
    "lessons": ("dmaf_lite.lessons.cli", "build, run and check the notebooks"),
    "explore": ("dmaf_lite.lessons.application", "look at studies in the browser and switch scans off; no code"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; only its own module is imported."""
    argv = list(sys.argv[1:] if argv is None else argv)
    overview = argparse.ArgumentParser(
        prog="python -m dmaf_lite",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="commands:\n" + "\n".join(f"  {name:<11} {text}" for name, (_, text) in COMMANDS.items()),
    )
    overview.add_argument("command", choices=COMMANDS, metavar="command", help="one of the commands below")
    command = overview.parse_args(argv[:1]).command

    return leave(command, lambda: run(command, argv[1:]))


def run(command: str, argv: Sequence[str]) -> int:
    """Read the options of one command and do it; what goes wrong is raised."""
    module_name, text = COMMANDS[command]
    module = import_module(module_name)
    parser = argparse.ArgumentParser(prog=f"python -m dmaf_lite {command}", description=text)
    module.add_arguments(parser)
    return module.main(parser.parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
