"""Files that the system holds in memory are forgotten, so that the next read comes from the disk; needs no right."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path


def forget(files: Sequence[Path]) -> bool:
    """Ask the system to forget what it holds of some files, and look whether it did.

    Returns:
        Whether the next read of each comes from the disk. False where nobody can tell (not on Linux, or a folder that
        lies in memory): a reading is then not to be called cold.
    """
    if not hasattr(os, "posix_fadvise") or not hasattr(os, "RWF_NOWAIT"):
        return False
    for file in files:
        handle = os.open(file, os.O_RDONLY)
        try:
            os.fsync(handle)  # what is not written yet cannot be forgotten
            os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(handle)
    return not any(in_memory(file) for file in files)


def in_memory(file: Path) -> bool:
    """Whether the system could give a file's first bytes without the disk; True where it does not tell."""
    handle = os.open(file, os.O_RDONLY)
    try:
        os.preadv(handle, [bytearray(1)], 0, os.RWF_NOWAIT)
        return True
    except BlockingIOError:
        return False
    except OSError:
        return True
    finally:
        os.close(handle)
