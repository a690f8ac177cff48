"""One process at a time in a folder, and a dead one does not block it."""

import json
import os
import subprocess
import sys

import pytest

from dmaf_lite.base import lock as module
from dmaf_lite.base.lock import Locked, holder, lock


def test_the_second_is_told_who_holds_it(tmp_path):
    with lock(tmp_path / "run"):
        assert holder(tmp_path / "run")["pid"] == os.getpid()
        with pytest.raises(Locked, match=f"in use by process {os.getpid()}"), lock(tmp_path / "run"):
            pass
    assert holder(tmp_path / "run") is None and not list((tmp_path / "run").iterdir())
    with lock(tmp_path / "run"):
        pass


def test_a_dead_holder_of_this_machine_is_taken_over_at_once(tmp_path):
    code = ("import os, sys; from dmaf_lite.base.lock import lock\n"
            "held = lock(sys.argv[1]); held.__enter__(); os._exit(9)")
    assert subprocess.run([sys.executable, "-c", code, tmp_path]).returncode == 9
    assert (tmp_path / "lock.json").exists() and holder(tmp_path) is None
    with lock(tmp_path):
        assert holder(tmp_path)["pid"] == os.getpid()


def test_a_silent_holder_of_another_machine_is_taken_over_after_a_while(tmp_path):
    path = tmp_path / "lock.json"
    path.write_text(json.dumps({"id": "x", "host": "elsewhere", "pid": 1}))
    with pytest.raises(Locked, match="process 1 on elsewhere"), lock(tmp_path):
        pass
    os.utime(path, (1, 1))
    with lock(tmp_path):
        assert holder(tmp_path)["pid"] == os.getpid()


def test_who_waits_gets_it_and_says_so(tmp_path):
    code = f"""
from dmaf_lite.base.lock import lock
with lock({str(tmp_path)!r}):
    print("held", flush=True)
    input()
"""
    child = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert child.stdout.readline() == "held\n"
    told = []

    def say(text):
        told.append(text)
        child.communicate("\n")  # let go

    with lock(tmp_path, wait=True, say=say):
        assert holder(tmp_path)["pid"] == os.getpid()
    assert len(told) == 1 and f"process {child.pid}" in told[0]


def test_the_heart_beats(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "BEAT", 0.01)
    with lock(tmp_path):
        os.utime(tmp_path / "lock.json", (1, 1))
        for _ in range(1000):
            if (tmp_path / "lock.json").stat().st_mtime > 2:
                break
            module.time.sleep(0.01)
        assert holder(tmp_path) is not None
