"""A script without a main guard is told so, once, and not by every worker."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import dmaf_lite
from dmaf_lite.base.workers import cores

SCRIPTS = {
    "makes": """
from dmaf_lite.phantom.brain.recipe import write_brain_cohort
write_brain_cohort({out!r}, count=3, spacing=6.0, workers=2)
""",
    "holds a lock": """
from dmaf_lite.phantom.ready import PhantomSettings, ready_cohort
ready_cohort({out!r}, PhantomSettings(train=1, val=1, test=1, spacing=6.0), workers=2)
""",
}


@pytest.mark.parametrize("script", SCRIPTS.values(), ids=SCRIPTS)
def test_a_script_without_a_main_guard_gets_one_sentence(tmp_path, script):
    """It was `BrokenProcessPool`, once for every case; and where the parent held a lock, worker and parent waited for
    each other for ever."""
    (tmp_path / "mine.py").write_text(script.format(out=str(tmp_path / "raw")))
    done = subprocess.run([sys.executable, tmp_path / "mine.py"], capture_output=True, text=True, timeout=120)
    assert done.returncode == 1 and done.stderr.count("Traceback") == 1
    assert 'under `if __name__ == "__main__":`' in done.stderr.strip().splitlines()[-1]
    assert "BrokenProcessPool" not in done.stderr.splitlines()[-1]


def test_cores_are_those_that_this_process_was_granted():
    """A job of two cores on a machine of 64 must not start 64 workers; nor does any file count them for itself."""
    if hasattr(os, "sched_setaffinity"):
        before = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {min(before)})
        try:
            assert cores() == 1
        finally:
            os.sched_setaffinity(0, before)
    assert 1 <= cores() <= (os.cpu_count() or 1)
    package = Path(dmaf_lite.__file__).parent
    counting = [path.name for path in package.rglob("*.py") if "cpu_count" in path.read_text(encoding="utf-8")]
    assert counting == ["workers.py"]
