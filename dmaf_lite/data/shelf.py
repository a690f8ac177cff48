"""A large study is kept on disk and taken into memory scan by scan.

Four scans of 512^3 are 2.1 GB in float32.  Whoever works through them one after another needs a quarter of that: the
voxels are put on a shelf, an unnamed temporary file that vanishes with its last user, and taken from there again.
"""

from __future__ import annotations

import mmap
import tempfile
from collections.abc import Callable, Iterator, Mapping

import numpy as np


class Shelf:
    """Arrays in temporary files.

    Attributes:
        change: What is done to each array, in place, before it is put down.
    """

    def __init__(self, change: Callable[[np.ndarray], object] | None = None) -> None:
        self.change = change
        self._maps: list[mmap.mmap] = []

    def put(self, array: np.ndarray) -> np.ndarray:
        """The same values in the same order, read from disk where they are looked at; wider numbers become float32."""
        if array.dtype.itemsize > 4 or (array.dtype.kind != "f" and array.dtype.itemsize > 2):
            array = array.astype(np.float32)
        whole = np.asfortranarray(array)
        if self.change is not None:
            whole = whole if whole.flags.writeable else whole.copy(order="F")
            self.change(whole)
        with tempfile.TemporaryFile() as file:
            whole.T.tofile(file)
            file.flush()
            self._maps.append(mmap.mmap(file.fileno(), whole.nbytes, access=mmap.ACCESS_READ))
        return np.ndarray(whole.shape, whole.dtype, self._maps[-1], order="F")

    def tidy(self) -> None:
        """Give back the memory of what was looked at; it can be looked at again."""
        if hasattr(mmap, "MADV_DONTNEED"):
            for one in self._maps:
                one.madvise(mmap.MADV_DONTNEED)


class Scans(Mapping[str, np.ndarray]):
    """Modality -> float32 (X, Y, Z), a new array each time it is asked for: let go of one before the next.

    Attributes:
        shape: Of every scan.
    """

    def __init__(self, shelf: Shelf, stored: Mapping[str, np.ndarray]) -> None:
        self._shelf, self._stored = shelf, dict(stored)
        self.shape: tuple[int, int, int] = next(iter(self._stored.values())).shape

    def __getitem__(self, name: str) -> np.ndarray:
        image = self._stored[name].astype(np.float32)
        self._shelf.tidy()
        return image

    def __iter__(self) -> Iterator[str]:
        return iter(self._stored)

    def __len__(self) -> int:
        return len(self._stored)

    def __contains__(self, name: object) -> bool:
        return name in self._stored  # the inherited one reads the scan


def shape_of(images: Mapping[str, np.ndarray]) -> tuple[int, int, int]:
    """Voxels per axis of the scans of a study, without reading one from a shelf."""
    return images.shape if isinstance(images, Scans) else next(iter(images.values())).shape
