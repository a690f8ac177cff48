"""Lessons side by side: how many, which may start while others run, and where they run.

Two lessons with one thread each end before the same two one after the other with two threads: kernels that start,
imports and drawings use one thread whatever is given to them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from typing import Any

from dmaf_lite.base.workers import cores, worker_pool

MOST_LANES = 2  # each holds a kernel with its network and data


def lanes_that_fit() -> int:
    """Lanes for this machine: at least a core for each."""
    return min(MOST_LANES, cores())


def threads_of(lanes: int) -> int:
    """Threads for each of so many lanes."""
    return max(1, cores() // lanes)


def next_place(waiting: Sequence[frozenset[str]], running: Collection[frozenset[str]], settled: Collection[str]
               ) -> int | None:
    """The first that shares nothing with a running one but what is settled; None if all have to wait.

    What lessons share is made by the first of them that needs it; once a lesson that uses it has ended, it is settled.

    Args:
        waiting: Names of the artefacts of each lesson that waits, in order.
        running: The same of those that run.
        settled: Names of artefacts that nobody makes again.
    """
    busy = frozenset().union(*running) - frozenset(settled)
    return next((place for place, uses in enumerate(waiting) if not uses & busy), None)


class Here(Executor):
    """Runs in this process, at once."""

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """What an executor does; an error is raised here and not kept."""
        done: Future[Any] = Future()
        done.set_result(function(*args, **kwargs))
        return done


@contextmanager
def lane_pool(lanes: int) -> Iterator[Executor]:
    """Where the lessons of so many lanes run: this process, or one for each lane."""
    if lanes == 1:
        yield Here()
    else:
        with worker_pool(lanes) as pool:  # its processes start with the first lesson that has to run
            yield pool
