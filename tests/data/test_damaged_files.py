"""200 damaged NIfTI files: 200 clear errors, no traceback, the good cases are prepared, twice the same."""

import gzip
import warnings

import nibabel as nib
import numpy as np
import pytest
from tiny import load_script, tiny_images, write_tiny_case

from dmaf_lite.data.cohort import Cohort, prepare_cohort

SHAPE = (12, 14, 10)
GOOD = [f"BraTS20_Training_{i:03d}" for i in range(901, 904)]


def header(offset, kind, value):
    """Damage: overwrite a header field of the uncompressed file."""
    def change(raw, rng):
        value_now = value(rng) if callable(value) else value
        data = np.array(value_now, kind).tobytes()
        return raw[:offset] + data + raw[offset + len(data):]
    return change


def voxels(function):
    """Damage: change the voxels and write a proper file around them."""
    def change(raw, rng):
        image = nib.Nifti1Image.from_bytes(raw)
        return nib.Nifti1Image(function(np.asarray(image.dataobj), rng), image.affine).to_bytes()
    return change


def some(data, rng, value):
    """A float copy in which a few voxels have the value."""
    changed = data.astype(np.float32)
    changed.flat[rng.integers(0, data.size, rng.integers(1, 9))] = value
    return changed


def flip(packed, rng):
    where = int(rng.integers(len(packed) // 3, 2 * len(packed) // 3))
    return packed[:where] + bytes([packed[where] ^ int(rng.integers(1, 256))]) + packed[where + 1:]


def flip_checksum(packed, rng):
    return packed[:-8] + bytes([packed[-8] ^ int(rng.integers(1, 256))]) + packed[-7:]


def cut(data, rng):
    return data[: int(rng.integers(1, len(data)))]


# name: (which file, damage before compressing, damage after compressing, compress?)
SCAN, MASK, ANY = ("flair", "t1ce", "t1", "t2"), ("seg",), ("flair", "t1ce", "t1", "t2", "seg")
DAMAGES = {
    "truncated gzip": (ANY, None, cut, True),
    "truncated, not compressed": (ANY, lambda raw, rng: raw[: int(rng.integers(2, len(raw)))], None, False),
    "empty": (ANY, None, lambda packed, rng: b"", True),
    "text": (ANY, None, lambda packed, rng: b"<html>404 not found</html>" * int(rng.integers(1, 60)), True),
    "flipped bits in the stream": (ANY, None, flip, True),
    "wrong checksum": (ANY, None, flip_checksum, True),
    "bytes after the end": (ANY, lambda raw, rng: raw + bytes(int(rng.integers(1, 99))), None, False),
    "no signature": (ANY, header(344, "S4", b"abc"), None, True),
    "no dimensions": (ANY, header(40, "<i2", lambda rng: [0, 0, 0, 0]), None, True),
    "huge dimensions": (ANY, header(42, "<i2", lambda rng: rng.integers(20000, 32000, 3)), None, True),
    "negative dimension": (ANY, header(44, "<i2", lambda rng: -rng.integers(1, 99)), None, True),
    "fewer voxels than bytes": (ANY, header(46, "<i2", lambda rng: rng.integers(1, 10)), None, True),
    "more voxels than bytes": (ANY, header(42, "<i2", lambda rng: rng.integers(13, 99)), None, True),
    "unknown voxel type": (ANY, header(70, "<i2", lambda rng: rng.integers(3000, 9000)), None, True),
    "voxels start beyond the end": (ANY, header(108, "<f4", lambda rng: rng.integers(10**5, 10**6)), None, True),
    "zero voxel size": (ANY, header(80, "<f4", 0), None, True),
    "affine of NaN": (ANY, header(280, "<f4", [np.nan] * 4), None, True),
    "flat affine": (ANY, header(280, "<f4", [0] * 4), None, True),
    "four dimensions": (ANY, voxels(lambda d, rng: np.stack([d] * int(rng.integers(2, 5)), -1)), None, True),
    "NaN": (ANY, voxels(lambda d, rng: some(d, rng, np.nan)), None, True),
    "Inf": (ANY, voxels(lambda d, rng: some(d, rng, rng.choice([np.inf, -np.inf]))), None, True),
    "constant": (SCAN, voxels(lambda d, rng: np.full_like(d, rng.integers(0, 99))), None, True),
    "mask in the scan's place": (SCAN, voxels(lambda d, rng: (d > rng.integers(200, 400)).astype(np.uint8)),
                                 None, True),
    "unknown label": (MASK, voxels(lambda d, rng: np.where(d == 4, rng.choice([3, 5, 9, 200]), d).astype(np.uint8)),
                      None, True),
    "scan in the mask's place": (MASK, voxels(lambda d, rng: tiny_images(int(rng.integers(99)), SHAPE)[0]["T1"]),
                                 None, True),
}


@pytest.fixture(scope="module")
def damaged(tmp_path_factory):
    """A cohort of 200 cases with one damaged file each and three good ones: (folder, case -> damaged file)."""
    folder, files = tmp_path_factory.mktemp("damaged"), {}
    for number in range(200):
        kind = list(DAMAGES)[number % len(DAMAGES)]
        which, before, after, compress = DAMAGES[kind]
        rng = np.random.default_rng(number)
        name = f"BraTS20_Training_{number:03d}"
        case = write_tiny_case(folder, name, seed=number, shape=SHAPE)
        path = case / f"{name}_{rng.choice(which)}.nii.gz"
        raw = gzip.decompress(path.read_bytes())
        raw = before(raw, rng) if before else raw
        data = gzip.compress(raw, mtime=0) if compress else raw
        path.write_bytes(after(data, rng) if after else data)
        files[name] = path
    for name in GOOD:
        write_tiny_case(folder, name, shape=SHAPE)
    return folder, files


def test_every_damaged_file_gives_one_clear_error(damaged, tmp_path, capfd):
    folder, files = damaged
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        report = prepare_cohort(folder, tmp_path / "s", layout="brats2020", workers=0)
    assert len(files) == 200 and set(report.failed) == set(files), set(files) - set(report.failed)
    assert report.prepared == GOOD == Cohort(tmp_path / "s").names
    for name, path in files.items():
        error = report.failed[name]
        assert f"{path}: found " in error and "; expected " in error, error
        assert error.count("\n") == 0 and len(error) < 600 and "Traceback" not in error, error
    output = "".join(capfd.readouterr())
    assert "Traceback" not in output and "pixdim" not in output, "nibabel's own remarks are not printed"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert prepare_cohort(folder, tmp_path / "t", layout="brats2020", workers=0).failed == report.failed


def test_the_script_ends_with_a_summary_and_a_non_zero_exit(damaged, tmp_path, capsys):
    folder, files = damaged
    prepare = load_script("prepare_cohort").main
    status = prepare([str(folder), str(tmp_path / "s"), "--layout", "brats2020", "--workers", "0"])
    output = capsys.readouterr().out
    assert status == 1 and "3 prepared, 0 there already, 200 failed" in output and "Traceback" not in output
    assert all(f"failed {name}: " in output for name in files)
