"""Worker processes that read batches ahead, and the shared memory that they need.

Taught in lesson 08.
"""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path

AHEAD = 4  # batches that each worker reads ahead
SHARED_MEMORY = Path("/dev/shm")


def workers_that_fit(workers: int, batch_bytes: int, shared: Path = SHARED_MEMORY) -> int:
    """`workers`, or 0 with a warning where the shared memory cannot hold the batches that they read ahead.

    Containers often have 64 MB of it, and PyTorch's workers then hang or die without a word. Systems without such a
    folder share memory in another way.

    Args:
        workers: Asked for.
        batch_bytes: Size of one batch.
        shared: The folder through which worker processes hand over their batches.

    Warns:
        UserWarning: With what is there and what is needed.
    """
    if not workers or not shared.is_dir():
        return workers
    free, needed = shutil.disk_usage(shared).free, workers * AHEAD * batch_bytes
    if needed <= free:
        return workers
    warnings.warn(f"{shared}: {free / 1e6:.0f} MB of shared memory, {workers} workers need {needed / 1e6:.0f} MB for "
                  "their batches; this process reads them itself (workers 0). In a container: --shm-size 2g, or "
                  "--ipc host", stacklevel=2)
    return 0
