"""Write a file so that nobody ever sees half of it.

The bytes go to a hidden name in the same folder, and the finished file takes its place in one step.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Give a temporary path to write to; it becomes `path` when the block ends without an error.

    The temporary name keeps the suffix of `path` (libraries choose a format by it) and lies in the same
    folder (a rename across disks is not one step).  After an error nothing is left and an older `path` stays.

    Example:
        >>> with atomic_path("table.csv") as partial:  # doctest: +SKIP
        ...     partial.write_text("name,value")
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{uuid.uuid4().hex[:8]}.partial.{path.name}")
    try:
        yield partial
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> None:
    """Write a small text file (UTF-8, line ends as given) whole or not at all."""
    with atomic_path(path) as partial:
        partial.write_text(text, encoding="utf-8", newline="")
