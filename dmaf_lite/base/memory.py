"""Memory of a CPU run: keep what was freed, and tell the peak.

A training step frees and asks for the same large blocks again and again.  By default the C library gives
each of them back to the system at once, and the next step pays for every page a second time: on the machine where
this was measured a step at 80^3 took 1.8 times as long.
"""

from __future__ import annotations

import ctypes
import sys

# Names and numbers from malloc.h of the GNU C library.
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4


def keep_freed_memory() -> bool:
    """Let freed blocks stay with this process, to be used again (Linux with the GNU C library).

    The process then holds its peak until it ends.  Results do not change.

    Returns:
        Whether it could be asked for; False on other systems, where nothing is done.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except AttributeError:  # another C library, such as musl
        return False
    # never a mapping of its own for a large block; give nothing back; grow in steps of 64 MB
    return all(mallopt(*option) for option in ((M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, 2**31 - 1), (M_TOP_PAD, 2**26)))


def peak_memory() -> int:
    """Largest resident size that this process has had, in bytes; 0 where the system does not tell."""
    try:
        import resource
    except ImportError:  # Windows
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
