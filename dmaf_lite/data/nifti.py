"""Read and write one NIfTI file, and say clearly what is wrong with a bad one.

nibabel parses; this file only adds the checks that nibabel leaves out or repairs in silence: the
checksum at the end of a .gz, a zero voxel size, a header that does not account for the file's bytes or
contradicts itself about the voxel size, a file that is no file yet (git-annex, Git LFS).
"""

from __future__ import annotations

import gzip
import math
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel import imageglobals

from dmaf_lite.base.atomic import atomic_path

# A label value this far from a whole number was interpolated, not merely stored as a scaled float
# (those come back as 0.99999997).
ROUNDING = 0.01
SLAB = 16  # slices of a mask that are translated at a time
# Share by which two statements of one voxel size may differ: rounding in a header, not another grid.
SAME_SIZE = 0.01
# No single file of a known cohort unpacks to a quarter of this; a larger one is a damaged header or a gzip bomb.
MOST_BYTES = 4 * 2**30
LFS_POINTER = b"version https://git-lfs"


class CaseError(ValueError):
    """A file or case that cannot be used, in words a user can act on.

    Args:
        file: The file, folder or case the message is about.
        found: What is there.
        expected: What should be there.
        do: What the user can do about it.
    """

    def __init__(self, file: str | Path, *, found: str, expected: str, do: str) -> None:
        super().__init__(f"{file}: found {found}; expected {expected}; {do}.")
        self.file, self.found, self.expected, self.do = str(file), found, expected, do

    def __reduce__(self):  # keyword-only arguments do not survive pickling between processes by themselves
        return _rebuild, (self.file, self.found, self.expected, self.do)


def _rebuild(file: str, found: str, expected: str, do: str) -> CaseError:
    return CaseError(file, found=found, expected=expected, do=do)


@dataclass(frozen=True, eq=False)
class Volume:
    """One 3-D NIfTI file: `data` (X, Y, Z) as stored and scaled by the header, `affine` (4, 4) in mm."""

    path: Path
    data: np.ndarray
    affine: np.ndarray

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Voxel size in mm along the three array axes."""
        return tuple(float(s) for s in nib.affines.voxel_sizes(self.affine))


def _check_is_there(path: Path, first: bytes) -> None:
    """Refuse an empty file and the note that Git LFS leaves in the place of a file that was not fetched."""
    if not first:
        raise CaseError(path, found="an empty file", expected="a NIfTI file", do="copy or download the file again")
    if first.startswith(LFS_POINTER):
        raise CaseError(path, found="a Git LFS pointer, the file itself was not fetched", expected="a NIfTI file",
                        do="fetch it with `git lfs pull`")


def _inflate(raw: bytes, most: int) -> bytes | None:
    """Unpack a gzip file, all of its members, verifying the checksums; None where it holds more than `most` bytes."""
    parts, size = [], 0
    while raw:
        stream = zlib.decompressobj(31)
        part = stream.decompress(raw, most - size + 1)
        size += len(part)
        if size > most:
            return None
        if not stream.eof:
            raise EOFError("it ends before the end of the stream")
        parts.append(part)
        raw = stream.unused_data.lstrip(b"\0")
    return b"".join(parts)


def read_bytes(path: Path, most: int = MOST_BYTES) -> bytes:
    """The uncompressed bytes of a .nii or .nii.gz; whether it is compressed is read from the file, not the name.

    Args:
        path: The file.
        most: Bytes that it may hold; unpacking stops there, so that a gzip bomb fills no memory.

    Raises:
        CaseError: Not readable, empty, not fetched, too large, or a damaged gzip stream (the checksum is verified).
    """
    again = "copy or download the file again"
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise CaseError(path, found=f"a file that cannot be read ({error.strerror or error})",
                        expected="a readable NIfTI file", do="check the path and the permissions") from error
    _check_is_there(path, raw[:64])
    if raw[:2] != b"\x1f\x8b":
        return raw
    try:
        data = _inflate(raw, most)
    except (OSError, EOFError, zlib.error) as error:
        raise CaseError(path, found=f"a truncated or corrupt gzip stream ({error})",
                        expected="a whole .nii.gz", do=again) from error
    if data is None:
        raise CaseError(path, found=f"more than {most} bytes when unpacked",
                        expected="the number that its header promises", do="the file is damaged or no image: " + again)
    return data


def read_header(path: str | Path, data: bytes | None = None, *, several: bool = False) -> nib.Nifti1Header:
    """The header of a single-file NIfTI, unrepaired but checked: 3-D, positive sizes, numbers per voxel.

    Further axes of length 1 do not count: (X, Y, Z, 1) is 3-D.

    Args:
        path: The file.
        data: Its uncompressed bytes, if they are already read; else only the first bytes are read.
        several: Whether several volumes along a fourth axis are fine.

    Raises:
        CaseError: With what is wrong.
    """
    path = Path(path)
    if data is None:
        data = _first_bytes(path, 540)
    if len(data) < 348:
        raise CaseError(path, found=f"{len(data)} bytes", expected="a NIfTI file (its header alone has 348 bytes)",
                        do="copy or download the file again")
    kind = nib.Nifti2Header if 540 in (int.from_bytes(data[:4], order) for order in ("little", "big")) \
        else nib.Nifti1Header
    try:
        header = kind(data[: kind.template_dtype.itemsize], check=False)
        magic = header["magic"].item()
        dims = [int(n) for n in header["dim"]]
        dtype, offset = header.get_data_dtype(), int(header["vox_offset"])
    except Exception as error:  # a damaged header makes nibabel raise a dozen kinds of error
        raise CaseError(path, found=f"a NIfTI header that makes no sense ({error})", expected="a NIfTI-1 or -2 header",
                        do="convert or download the file again") from error
    if not magic.startswith((b"n+1", b"n+2")):
        raise CaseError(path, found=f"a header with the signature {magic!r}", expected="a single-file NIfTI (n+1, n+2)",
                        do="convert the file to .nii.gz, for example with dcm2niix or nibabel")
    rank, shape = dims[0], tuple(dims[1:4])
    more = [n for n in dims[4: 1 + rank] if n != 1]
    if not 3 <= rank <= 7 or len(more) > several or (more and more[0] < 1):
        full = "x".join(str(n) for n in dims[1: 1 + min(max(rank, 0), 7)])
        raise CaseError(path, found=f"{rank} dimensions ({full})", expected="one 3-D volume per file",
                        do="split the file into single volumes, for example with nibabel.funcs.four_to_three; all "
                           "scans of a study in one file are read with a dataset.json beside them (layout msd)")
    if min(shape) < 1 or offset < kind.sizeof_hdr:
        raise CaseError(path, found=f"the shape {shape} and voxels from byte {offset} on",
                        expected=f"three positive sizes and voxels after the {kind.sizeof_hdr} bytes of the header",
                        do="convert or download the file again")
    if dtype.kind not in "iuf":
        raise CaseError(path, found=f"voxels of type {dtype}", expected="one real number per voxel",
                        do="convert the file to int16 or float32")
    zooms = np.abs(header["pixdim"][1:4].astype(float))
    if not np.isfinite(zooms).all() or zooms.min() <= 0:
        raise CaseError(path, found=f"the voxel size {' x '.join(f'{z:g}' for z in zooms)} mm",
                        expected="three sizes above 0", do="correct pixdim in the header or convert the file again")
    return header


def grid_shape(header: nib.Nifti1Header) -> tuple[int, int, int]:
    """Number of voxels along the three axes."""
    return tuple(int(n) for n in header["dim"][1:4])


def volumes_in(header: nib.Nifti1Header) -> int:
    """Number of volumes along further axes; 1 for a 3-D file."""
    return math.prod(int(n) for n in header["dim"][4: 1 + int(header["dim"][0])])


def spacing_of(header: nib.Nifti1Header, path: str | Path) -> tuple[float, float, float]:
    """Voxel size in mm, which the affine and pixdim have to agree on.

    Raises:
        CaseError: They do not: then nobody can know how large the voxels are.
    """
    with _quiet_nibabel(), np.errstate(all="ignore"):
        affine = np.asarray(header.get_best_affine(), dtype=float)
    by_affine = np.linalg.norm(affine[:3, :3], axis=0)
    by_pixdim = np.abs(header["pixdim"][1:4].astype(float))
    if np.isfinite(affine).all() and not np.allclose(by_affine, by_pixdim, rtol=SAME_SIZE):
        form = "sform" if int(header["sform_code"]) > 0 else "qform"
        raise CaseError(path, expected="one voxel size",
                        found=f"voxels of {_sizes(by_affine)} mm in its {form} and {_sizes(by_pixdim)} mm in pixdim",
                        do="find out which is right and correct the other, for example with nibabel (set_sform, "
                           "set_zooms)")
    return tuple(float(s) for s in by_affine)


def _sizes(sizes: Sequence[float]) -> str:
    return " x ".join(f"{s:.4g}" for s in sizes)


def _first_bytes(path: Path, count: int) -> bytes:
    zipped = False
    try:
        with path.open("rb") as file:
            first = file.read(64)
        zipped = first[:2] == b"\x1f\x8b"
        _check_is_there(path, first)
        with (gzip.open(path) if zipped else path.open("rb")) as file:
            return file.read(count)
    except (OSError, EOFError, zlib.error) as error:
        found = f"a truncated or corrupt gzip stream ({error})" if zipped \
            else f"a file that cannot be read ({getattr(error, 'strerror', None) or error})"
        raise CaseError(path, found=found, expected="a readable NIfTI file",
                        do="check the path and the permissions, or copy the file again") from error


@contextmanager
def _quiet_nibabel() -> Iterator[None]:
    """nibabel says on stderr what it repairs in a header; what matters of it is checked here."""
    before = imageglobals.logger.disabled
    imageglobals.logger.disabled = True
    try:
        yield
    finally:
        imageglobals.logger.disabled = before


def read_nifti(path: str | Path, *, is_label: bool = False) -> Volume:
    """Read one 3-D volume; intensities are scaled by the header's slope and intercept.

    Args:
        path: The file.
        is_label: A segmentation takes its geometry from the scans, so its own voxel size may be wrong.

    Returns:
        Volume with `data` of shape (X, Y, Z) in nibabel's array order.

    Raises:
        CaseError: Truncated, corrupt, not 3-D, zero or contradictory voxel size, no usable affine, NaN or Inf voxels.
    """
    path = Path(path)
    header = read_header(path)
    if not is_label:
        spacing_of(header, path)
    voxels, affine = _read(path, header)
    return Volume(path, voxels.reshape(grid_shape(header)), affine)


def read_channels(path: str | Path, channels: Sequence[int], *, of: int | None = None) -> list[Volume]:
    """Read some volumes of a 4-D file, which is unpacked once.

    Args:
        path: The file.
        channels: Which of them, from 0.
        of: How many there must be; None: at least those asked for.

    Raises:
        CaseError: As in `read_nifti`, or another number of volumes.
    """
    path = Path(path)
    header = read_header(path, several=True)
    volumes = volumes_in(header)
    if (of is not None and volumes != of) or volumes <= max(channels):
        raise CaseError(path, found=f"{volumes} volumes", expected=f"{of or max(channels) + 1}, one a channel",
                        do="compare the file with the channels that dataset.json names")
    spacing_of(header, path)
    voxels, affine = _read(path, header)
    voxels = voxels.reshape((*grid_shape(header), volumes), order="F")
    return [Volume(path, voxels[..., channel], affine) for channel in channels]


def _read(path: Path, header: nib.Nifti1Header) -> tuple[np.ndarray, np.ndarray]:
    """All voxels of a file and its affine."""
    shape = (*grid_shape(header), volumes_in(header))
    promised = math.prod(shape) * header.get_data_dtype().itemsize
    offset = int(header["vox_offset"])
    if promised > MOST_BYTES:
        raise CaseError(path, found=f"a header that promises {promised / 2**30:.1f} GB of voxels ({shape[:3]})",
                        expected=f"at most {MOST_BYTES / 2**30:.0f} GB",
                        do="the header is damaged: convert or download the file again")
    data = read_bytes(path, offset + promised)
    length = len(data) - offset
    if length != promised:
        raise CaseError(path, found=f"{length} bytes of voxels",
                        expected=f"{promised} bytes for the shape {shape[:3]} and type {header.get_data_dtype()}",
                        do="the file is truncated or its header is wrong: copy, download or convert it again")
    kind = nib.Nifti2Image if isinstance(header, nib.Nifti2Header) else nib.Nifti1Image
    try:
        with _quiet_nibabel(), np.errstate(all="ignore"):
            image = kind.from_bytes(data)
            voxels = np.asanyarray(image.dataobj)
            affine = np.asarray(image.affine, dtype=float)
    except Exception as error:  # as above: many kinds of error for one thing to say
        raise CaseError(path, found=f"a NIfTI file that nibabel cannot read ({error})", expected="a valid NIfTI file",
                        do="convert or download the file again") from error
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-9:
        raise CaseError(path, found="an affine with a zero voxel size, NaN or Inf", expected="an invertible affine",
                        do="correct the sform or qform, or convert the file again")
    if voxels.dtype.kind == "f":
        bad = int(voxels.size - np.isfinite(voxels).sum())
        if bad:
            raise CaseError(path, found=f"{bad} NaN or Inf voxels", expected="finite numbers",
                            do="find out where they come from, or replace them by the background value")
    return voxels, affine


def internal_label(values: np.ndarray, labels: Mapping[int, int], file: str | Path) -> np.ndarray:
    """Translate a mask's file values to internal labels.

    Masks stored as scaled floats read back as 0.99999997, so values are rounded, never truncated.

    Args:
        values: Numbers of any real type and shape.
        labels: File value -> internal label, a property of the layout.
        file: Named in the error.

    Returns:
        uint8 of the same shape.

    Raises:
        CaseError: Listing the values that the layout does not know.
    """
    whole = np.rint(values) if values.dtype.kind == "f" else values
    known = sorted(labels)
    scheme = f"only the label values {', '.join(map(str, known))}"
    do = "check that this is the segmentation and that the layout is the right one"
    if values.dtype.kind == "f":
        apart = float(np.abs(values - whole).max())
        if apart > ROUNDING:
            raise CaseError(file, found=f"label values up to {apart:.2f} away from a whole number", expected=scheme,
                            do="an interpolated mask? resample masks with nearest neighbour; " + do)
    low, high = int(whole.min()), int(whole.max())
    # Counting is ten times faster than sorting; the wide range of a scan mistaken for a mask is sorted.
    if 0 <= low and high < 1 << 16:
        present = np.flatnonzero(sum(np.bincount(part.astype(np.uint16).ravel(), minlength=high + 1)
                                     for part in _slabs(whole)))
    else:
        present = np.unique(whole)
    unknown = [int(v) for v in present if int(v) not in labels]
    if unknown:
        more = f" and {len(unknown) - 8} more" if len(unknown) > 8 else ""
        raise CaseError(file, found=f"unknown label values {', '.join(map(str, unknown[:8]))}{more}",
                        expected=scheme, do=_what_happened(present, labels) or do)
    table = np.zeros(max(known) + 1, np.uint8)
    for value, label in labels.items():
        table[value] = label
    result = np.empty(whole.shape, np.uint8)
    for part, translated in zip(_slabs(whole), _slabs(result), strict=True):
        translated[...] = table[part.astype(np.intp)]
    return result


def _slabs(array: np.ndarray) -> Iterator[np.ndarray]:
    """Views of a few slices each: an index of 8 bytes for each voxel of 512^3 would be a gigabyte."""
    return (array[..., first : first + SLAB] for first in range(0, array.shape[-1], SLAB))


def _what_happened(present: np.ndarray, labels: Mapping[int, int]) -> str | None:
    """What was done to a label of large values (MyoPS writes 200 to 2221) that now has small ones."""
    values, known = {int(v) for v in present} - {0}, set(labels) - {0}
    if values <= {v % 256 for v in known} | known:
        return f"values above 255 were wrapped around by storing them in 8 bits ({sorted(values)}): write the label " \
               "again as int16"
    if min(known) > 6 and max(values) <= 6 and min(values) > 0:
        return "a converted label: which numbering? Copies differ, so take the original file, or convert it back"
    return None


def save_label(path: str | Path, internal: np.ndarray, affine: np.ndarray, labels: Mapping[int, int],
               like: str | Path | None = None) -> Path:
    """Write an internal label map as a NIfTI of whole numbers in the layout's own label values, atomically.

    Args:
        path: Ends in .nii or .nii.gz.
        internal: uint8 (X, Y, Z) of internal labels.
        affine: (4, 4).
        labels: File value -> internal label; where two file values share a label the first is written.
        like: A NIfTI file on the same grid whose header (units, sform and qform codes) is kept.

    Raises:
        ValueError: A label the layout has no file value for, or a shape other than that of `like`.
    """
    back: dict[int, int] = {}
    for value, label in labels.items():
        back.setdefault(label, value)
    internal = np.asarray(internal)
    unknown = sorted(set(np.unique(internal).tolist()) - set(back))
    if unknown:
        raise ValueError(f"{path}: internal labels {unknown} have no file value; the layout knows {sorted(back)}")
    # MyoPS labels go up to 2221.
    table = np.zeros(max(back) + 1, np.uint8 if max(back.values()) < 256 else np.int16)
    for label, value in back.items():
        table[label] = value
    header = None
    if like is not None:
        header = read_header(like, several=True).copy()
        shape = grid_shape(header)
        if shape != internal.shape:
            raise ValueError(f"{path}: label of shape {internal.shape} on the grid of {like}, which has {shape}")
        header.set_data_dtype(table.dtype)
        header.set_slope_inter(1, 0)
        header["cal_min"] = header["cal_max"] = 0
    kind = nib.Nifti2Image if isinstance(header, nib.Nifti2Header) else nib.Nifti1Image
    with atomic_path(path) as partial:
        nib.save(kind(table[internal], affine, header), partial)
    return Path(path)
