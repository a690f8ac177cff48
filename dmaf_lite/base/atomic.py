"""Write a file so that nobody ever sees half of it.

The bytes go to a hidden name in the same folder, and the finished file takes its place in one step.
"""

from __future__ import annotations

import os
import re
import shutil
import time
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


_LEFT = re.compile(r"\.[0-9a-f]{8}\.(partial|old)\..+")


def sweep(folder: str | Path, *, older: float = 0.0) -> list[str]:
    """Remove what killed processes left half-written in a folder: files and folders under hidden temporary names.

    Args:
        folder: Looked at itself, without its subfolders.
        older: Only what was not touched for so many seconds; 0 where nobody else can be writing there.

    Returns:
        The names that were removed.
    """
    removed = []
    for path in Path(folder).glob(".*"):
        if not _LEFT.fullmatch(path.name):
            continue
        try:
            if time.time() - path.stat().st_mtime < older:
                continue
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        except FileNotFoundError:  # finished, or swept by another, in this very moment
            continue
        removed.append(path.name)
    return removed
