"""Other forms in which the store could keep its scans: bytes on disk, work to write, work to read a crop.

The kit keeps plain float32 arrays.  Beside them: float16, which rounds; a table of the different values and a
16-bit number for each voxel, exact (files hold whole numbers, so that there are few values); blocks, compressed.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.cold import forget
from dmaf_lite.data.cohort import Cohort, prepare_cohort
from dmaf_lite.data.stored_case import ask_for
from dmaf_lite.phantom.brain.recipe import write_brain_cohort

BLOCK = 32
Crop = tuple[slice, ...]


class Plain:
    """One array; reading it gives back what was written, as float32."""

    dtype: type = np.float32

    def write(self, image: np.ndarray, path: Path) -> None:
        """Write a scan float32 (D, H, W)."""
        np.save(path.with_suffix(".npy"), image.astype(self.dtype))

    def read(self, path: Path, crop: Crop) -> np.ndarray:
        """A crop, float32."""
        return self.stored(path, crop).astype(np.float32)

    def stored(self, path: Path, crop: Crop) -> np.ndarray:
        """A crop as it lies in the file."""
        array = np.load(path.with_suffix(".npy"), mmap_mode="r")
        ask_for(array, crop[0])
        return array[crop]


class Half(Plain):
    """The same, rounded to float16."""

    dtype = np.float16


class Table(Plain):
    """The different values, at most 65536, and the place of each voxel's value among them."""

    def write(self, image: np.ndarray, path: Path) -> None:
        values = np.unique(image)
        if values.size > np.iinfo(np.uint16).max + 1:
            raise ValueError(f"{values.size} different values; expected at most 65536")
        np.save(path.with_suffix(".values.npy"), values)
        np.save(path.with_suffix(".npy"), np.searchsorted(values, image).astype(np.uint16))

    def read(self, path: Path, crop: Crop) -> np.ndarray:
        return np.take(np.load(path.with_suffix(".values.npy")), self.stored(path, crop), mode="clip")


class Blocks(Plain):
    """Blocks of 32^3, each compressed by itself (bits of one weight side by side, LZ4), one after the other in a file.

    Raises:
        ImportError: numcodecs is not installed; there is none for Python 3.14.
    """

    def __init__(self) -> None:
        from numcodecs import blosc

        blosc.set_nthreads(1)
        self.codec = blosc.Blosc("lz4", 5, blosc.Blosc.BITSHUFFLE)

    def write(self, image: np.ndarray, path: Path) -> None:
        counts = [-(-n // BLOCK) for n in image.shape]
        packed = []
        for place in np.ndindex(*counts):
            block = np.zeros((BLOCK,) * 3, np.float32)
            part = image[tuple(slice(BLOCK * p, BLOCK * (p + 1)) for p in place)]
            block[tuple(slice(n) for n in part.shape)] = part
            packed.append(self.codec.encode(block))
        path.with_suffix(".blocks").write_bytes(b"".join(packed))
        ends = np.cumsum([0, *map(len, packed)])
        np.save(path.with_suffix(".ends.npy"), np.stack([ends[:-1], ends[1:]], 1).reshape(*counts, 2))

    def read(self, path: Path, crop: Crop) -> np.ndarray:
        ends = np.load(path.with_suffix(".ends.npy"))
        data = np.memmap(path.with_suffix(".blocks"), np.uint8, "r")
        out = np.empty([s.stop - s.start for s in crop], np.float32)
        block = np.empty((BLOCK,) * 3, np.float32)
        first = [s.start // BLOCK for s in crop]
        for steps in np.ndindex(*(-(-s.stop // BLOCK) - f for s, f in zip(crop, first, strict=True))):
            place = tuple(f + step for f, step in zip(first, steps, strict=True))
            start, stop = ends[place]
            self.codec.decode(data[start:stop], out=block)
            lows = [max(s.start, BLOCK * p) for s, p in zip(crop, place, strict=True)]
            highs = [min(s.stop, BLOCK * (p + 1)) for s, p in zip(crop, place, strict=True)]
            inside = tuple(slice(a - BLOCK * p, b - BLOCK * p) for a, b, p in zip(lows, highs, place, strict=True))
            out[tuple(slice(a - s.start, b - s.start) for a, b, s in zip(lows, highs, crop, strict=True))] = \
                block[inside]
        return out


FORMS: dict[str, Callable[[], Plain]] = {
    "float32, as the kit": Plain, "float16, rounded": Half, "16-bit places in a table of values": Table,
    "float32 in compressed blocks of 32^3": Blocks,
}


def measure_store(*, spacing: float = 1.0, sides: Sequence[int] = (48, 80, 112), crops: int = 24) -> dict[str, Any]:
    """Processor seconds a case to prepare, and of every form: bytes, seconds to write and to read a crop of all scans.

    Work is counted in processor seconds of the same crops, the quickest of three readings of each and the median over
    them, so that other programs disturb little; a cold crop, of the middle size, in seconds until it is there.
    """
    with tempfile.TemporaryDirectory() as folder:
        write_brain_cohort(Path(folder) / "raw", count=1, seed=0, spacing=spacing, workers=0)
        start = time.process_time()
        prepare_cohort(Path(folder) / "raw", Path(folder) / "store", layout="phantom", workers=0)
        prepare_s = time.process_time() - start
        cohort = Cohort(Path(folder) / "store")
        case = cohort[cohort.names[0]]
        images, _ = case.read()
        forms = {}
        for name, make in FORMS.items():
            try:
                forms[name] = measure_form(make(), images, Path(folder) / name.split()[0] / "scans", sides, crops)
            except ImportError as error:
                forms[name] = {"error": f"{error.name} is not installed"}
        return {"shape": list(images.shape[1:]), "prepare_s": prepare_s, "sides": list(sides),
                "background": float((images == 0).mean()), "forms": forms}


def measure_form(form: Plain, images: np.ndarray, folder: Path, sides: Sequence[int], crops: int) -> dict[str, Any]:
    """One form with the scans float32 (M, D, H, W)."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"scan{m}" for m in range(len(images))]
    start = time.process_time()
    for image, path in zip(images, paths, strict=True):
        form.write(image, path)
    write_s = time.process_time() - start
    files = [file for file in folder.iterdir()]
    found: dict[str, Any] = {"mbytes": sum(file.stat().st_size for file in files) / 1e6, "write_s": write_s}
    whole = tuple(slice(0, n) for n in images.shape[1:])
    found["error_most"] = max(float(np.abs(form.read(path, whole) - image).max())
                              for image, path in zip(images, paths, strict=True))
    rng = np.random.default_rng(0)
    found["crop_s"] = []
    for side in sides:
        size = [min(side, n) for n in images.shape[1:]]
        corners = rng.integers(0, np.subtract(images.shape[1:], size) + 1, size=(crops, 3)).tolist()
        drawn = [tuple(slice(o, o + s) for o, s in zip(corner, size, strict=True)) for corner in corners]
        taken = []
        for crop in drawn:
            again = []
            for _ in range(3):
                start = time.process_time()
                for path in paths:
                    form.read(path, crop)
                again.append(time.process_time() - start)
            taken.append(min(again))
        found["crop_s"].append(float(np.median(taken)))
        if side == sides[len(sides) // 2]:
            cold = []
            for crop in drawn[:5]:
                if forget(files):
                    start = time.perf_counter()
                    for path in paths:
                        form.read(path, crop)
                    cold.append(time.perf_counter() - start)
            found["cold_s"] = float(np.median(cold)) if cold else None
    for file in files:
        file.unlink()
    return found
