"""DMAF-lite: learn and reproduce medical image segmentation with missing modalities, lesson by lesson.

The lessons are in ``notebooks/``; this package is what they build.  Importing it loads nothing heavy.
"""

import os

__version__ = "0.1.0"

# Read by libraries when they are loaded, so set here, before torch; commands and the kernels that they start inherit
# it.  A setting of the user's own is left alone.
_EARLY = {
    # Threads that wait for others spin for a while before they sleep: by default up to some 100 ms, which on a busy
    # machine takes the processor from those they wait for.  Here well below a millisecond (benchmarks: a busy machine).
    "GOMP_SPINCOUNT": "20000",  # GNU's OpenMP (Linux), in turns of the loop
    "KMP_BLOCKTIME": "1",  # LLVM's and Intel's (macOS, Windows), in ms
    # Matrix products on CUDA that repeat to the digit need it before CUDA starts.
    "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
}
for _name, _value in _EARLY.items():
    if _name.startswith("CUBLAS") or "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault(_name, _value)
