"""Worker processes that behave alike on every system."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager

NO_GUARD = ("the worker processes ended before they did anything: each of them imports the script that started it, so "
            'a script does such work under `if __name__ == "__main__":`, or with workers=0; if yours does, memory is '
            "short: take fewer workers")


@contextmanager
def worker_pool(workers: int) -> Iterator[ProcessPoolExecutor]:
    """A pool of fresh processes ("spawn": safe after torch has started its threads).

    A worker that imports a script without a main guard comes here again while it is still being made; it then ends
    without a word, and its parent says what to do (`NO_GUARD`).
    """
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        raise SystemExit(1)
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield pool
