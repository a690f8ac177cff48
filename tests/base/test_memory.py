"""Freed memory is kept where the system can, and the peak is known."""

import subprocess
import sys

import numpy as np
import pytest

from dmaf_lite.base.memory import keep_freed_memory, peak_memory

CODE = """
import sys, resource, torch
from dmaf_lite.base.memory import keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory()
for _ in range(20):
    torch.ones(2**24)  # 64 MB: above any threshold that the C library learns by itself
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    torch.ones(2**24)  # 64 MB: above any threshold that the C library learns by itself
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(not keep_freed_memory(), reason="needs Linux with the GNU C library")
def test_a_block_that_comes_again_costs_no_new_pages():
    faults = {}
    for how in ("keep", "default"):
        done = subprocess.run([sys.executable, "-c", CODE, how], capture_output=True, text=True, check=True)
        faults[how] = int(done.stdout)
    assert faults["keep"] < 0.1 * faults["default"], faults


def test_other_systems_are_left_alone(monkeypatch):
    monkeypatch.setattr(sys, "platform", "win32")
    assert keep_freed_memory() is False


def test_the_peak_grows_with_what_is_held():
    before = peak_memory()
    held = np.ones(2**25)  # 256 MB
    assert peak_memory() >= before + 0.5 * held.nbytes or before > 2**30
