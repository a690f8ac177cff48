"""Worker processes that behave alike on every system."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager

NO_GUARD = ("the worker processes ended before they did anything: each of them imports the script that started it, so "
            'a script does such work under `if __name__ == "__main__":`, or with workers=0; if yours does, memory is '
            "short: take fewer workers")


def cores() -> int:
    """Processor cores that this process may use; a scheduler or container may grant fewer than there are."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def end_if_importing() -> None:
    """End a worker process that is still being made, without a word.

    It imports a script without a main guard and so comes here again; its parent then says what to do (`NO_GUARD`).
    Whatever only one process may do starts with this call, or the worker waits for its parent for ever.
    """
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        raise SystemExit(1)


@contextmanager
def worker_pool(workers: int) -> Iterator[ProcessPoolExecutor]:
    """A pool of fresh processes ("spawn": safe after torch has started its threads)."""
    end_if_importing()
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield pool
