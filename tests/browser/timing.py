"""Processor time instead of the clock: the same on a busy machine as on a quiet one."""

from __future__ import annotations

import os
import statistics
from collections.abc import Iterable
from pathlib import Path

# Targets hold on two quiet cores; a shared or older processor may need so many times as long before a test fails.
SHARED = 4


class MainThread:
    """The thread of a page that runs its code, lays it out and paints it: what it is busy with, nothing else can be.

    Args:
        page: Of Playwright, in Chromium.
    """

    def __init__(self, page):
        self._session = page.context.new_cdp_session(page)
        self._session.send("Performance.enable", {"timeDomain": "threadTicks"})

    def seconds(self) -> float:
        """Processor time so far."""
        metrics = self._session.send("Performance.getMetrics")["metrics"]
        return next(metric["value"] for metric in metrics if metric["name"] == "TaskDuration")


def process_seconds(pid: int) -> float:
    """Processor time of a process and of all that it has started, those that have ended included; Linux only."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    own = sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")  # user, system, and those of ended children
    return own + sum(process_seconds(child) for child in children_of(pid))


def peak_megabytes(pid: int) -> float:
    """The largest resident memory so far of a process and of all that it has started and that still run; Linux only."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    own = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1000
    return own + sum(peak_megabytes(child) for child in children_of(pid))


def children_of(pid: int) -> list[int]:
    """Processes that a process has started."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return [int(child) for task in tasks for child in (task / "children").read_text().split()]


def p95(values: Iterable[float]) -> float:
    """What 95 of 100 stay below."""
    return statistics.quantiles(values, n=20, method="inclusive")[-1]
