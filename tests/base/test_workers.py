"""A script without a main guard is told so, once, and not by every worker."""

import subprocess
import sys

SCRIPT = """
from dmaf_lite.phantom.brain.recipe import write_brain_cohort
write_brain_cohort({out!r}, count=3, spacing=6.0, workers=2)
"""


def test_a_script_without_a_main_guard_gets_one_sentence(tmp_path):
    """Fault 15: it was `BrokenProcessPool`, once for every case."""
    (tmp_path / "mine.py").write_text(SCRIPT.format(out=str(tmp_path / "raw")))
    done = subprocess.run([sys.executable, tmp_path / "mine.py"], capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr.count("Traceback") == 1
    assert 'under `if __name__ == "__main__":`' in done.stderr.strip().splitlines()[-1]
    assert "BrokenProcessPool" not in done.stderr.splitlines()[-1]
