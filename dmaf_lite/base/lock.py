"""A lock on a folder, seen by every process that shares the disk: who works there, and whether he is still alive.

The lock is a small file that is made in one step (two cannot make it) and touched every few seconds.  A lock that
has not been touched for `STALE` seconds, or whose process is gone from this very machine, is taken over.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dmaf_lite.base.workers import end_if_importing

NAME = "lock.json"
BEAT = 10.0  # seconds between touches
STALE = 120.0  # a heartbeat may be late: a busy disk, a suspended laptop


class Locked(RuntimeError):
    """Somebody else works in this folder; the message says who."""


def holder(folder: str | Path, name: str = NAME) -> dict[str, Any] | None:
    """Who holds a folder: host, pid, job, and ``age``, seconds since the last heartbeat; None if nobody living does."""
    path = Path(folder) / name
    try:
        who = json.loads(path.read_text(encoding="utf-8"))
        age = _now(path.parent) - path.stat().st_mtime
    except OSError:
        return None
    except ValueError:  # made a moment ago, not written yet; or left so by a crash
        who, age = {"host": "?", "pid": 0}, _now(path.parent) - path.stat().st_mtime
    gone = who.get("host") == socket.gethostname() and who.get("pid") and not _lives(who["pid"])
    return None if age > STALE or gone else {**who, "age": max(0.0, age)}


@contextmanager
def lock(folder: str | Path, *, name: str = NAME, wait: bool = False,
         say: Callable[[str], None] | None = None) -> Iterator[None]:
    """Hold a folder for the length of a block.

    Args:
        folder: Made where it is missing.
        name: Of the lock's file; a folder can have several locks.
        wait: Wait until it is free; else refuse.
        say: Is told once who is waited for.

    Raises:
        Locked: If somebody holds it and `wait` is False.
    """
    end_if_importing()
    folder, told = Path(folder), False
    folder.mkdir(parents=True, exist_ok=True)
    own = {"id": uuid.uuid4().hex, "host": socket.gethostname(), "pid": os.getpid(),
           "job": os.environ.get("SLURM_JOB_ID"), "since": time.strftime("%Y-%m-%d %H:%M:%S")}
    while not _take(folder / name, own):
        who = holder(folder, name)
        if who is None:
            _clear(folder / name)
            continue
        words = f"{folder} is in use by process {who['pid']} on {who['host']}, last seen {who['age']:.0f} s ago"
        if not wait:
            raise Locked(f"{words}; wait until it has ended, or choose another folder")
        if say and not told:
            say(f"{words}; waiting for it")
            told = True
        time.sleep(0.5)
    stop = threading.Event()
    beat = threading.Thread(target=_beat, args=(folder / name, stop), daemon=True)
    beat.start()
    try:
        yield
    finally:
        stop.set()
        beat.join()
        if _id(folder / name) == own["id"]:  # else somebody took over what looked dead
            (folder / name).unlink(missing_ok=True)


def _take(path: Path, own: dict[str, Any]) -> bool:
    try:
        handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    except FileExistsError:
        return False
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        json.dump(own, file)
    return True


def _clear(path: Path) -> None:
    """Remove a dead lock.  Two may try at once: the rename succeeds for one of them only."""
    aside = path.with_name(f".{uuid.uuid4().hex[:8]}.partial.{path.name}")
    try:
        os.replace(path, aside)
    except FileNotFoundError:
        return
    aside.unlink(missing_ok=True)


def _beat(path: Path, stop: threading.Event) -> None:
    while not stop.wait(BEAT):
        try:
            os.utime(path)
        except OSError:
            return


def _id(path: Path) -> str | None:
    try:
        return json.loads(path.read_text(encoding="utf-8")).get("id")
    except (OSError, ValueError):
        return None


def _now(folder: Path) -> float:
    """The time on the clock of the disk, which need not be that of this machine."""
    probe = folder / f".{uuid.uuid4().hex[:8]}.partial.now"
    try:
        probe.touch()
        return probe.stat().st_mtime
    except OSError:  # a folder that may only be read
        return time.time()
    finally:
        probe.unlink(missing_ok=True)


def _lives(pid: int) -> bool:
    """Whether a process of this machine is there."""
    if os.name == "nt":  # os.kill would end it
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
