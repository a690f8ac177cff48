"""The published split and tables of hearts, and folds in which every patient is tested once."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest

from dmaf_lite.data.missing import missing_table, published_rates, read_table, realised_rates, write_table
from dmaf_lite.data.protocols import PASSION_TRAIN, folds, passion_split
from dmaf_lite.spec import MYOPS

NAMES = [f"myops_training_{number}" for number in range(101, 126)]
TRAIN = passion_split(NAMES)["train"]


def table(c0: float, lge: float, t2: float):
    return missing_table(TRAIN, {"C0": c0, "LGE": lge, "T2": t2}, spec=MYOPS, seed=0, method="published")


def test_the_published_split_is_disjoint_and_whole():
    split = passion_split(NAMES)
    assert len(split["train"]) == 20 and split["test"] == [f"myops_training_{n}" for n in (107, 111, 115, 117, 120)]
    assert sorted(split["train"] + split["test"]) == NAMES
    with pytest.raises(ValueError, match="expected exactly those"):
        passion_split(NAMES[:-1])


def test_table_357_has_the_published_rates_by_patient_and_by_slice():
    found = table(0.3, 0.5, 0.7)
    assert realised_rates(found).tolist() == pytest.approx([0.20, 0.45, 0.60])
    slices = dict(zip(range(101, 126), map(int, "5336333355253554635635344"), strict=True))
    weights = np.array([slices[int(n)] for n in PASSION_TRAIN])
    assert weights.sum() == 80, "80 training slices, as published"
    missing = [float(weights[~found[m].to_numpy()].sum() / 80) for m in MYOPS.modalities]
    assert missing == pytest.approx([0.20, 0.425, 0.675])
    assert found.all(axis=1).sum() == 3 and found.any(axis=1).all()


def test_the_six_tables_are_one_with_its_columns_permuted():
    base = table(0.3, 0.5, 0.7)
    for rates in permutations((0.3, 0.5, 0.7)):
        found = table(*rates)
        for modality, rate in zip(MYOPS.modalities, rates, strict=True):
            original = {0.3: "C0", 0.5: "LGE", 0.7: "T2"}[rate]
            assert found[modality].tolist() == base[original].tolist()
    assert published_rates("mr537") == {"C0": 0.5, "LGE": 0.3, "T2": 0.7}


def test_other_rates_and_other_patients_are_refused():
    with pytest.raises(ValueError, match=r"rates 0\.3, 0\.5 and 0\.7"):
        table(0.2, 0.5, 0.7)
    with pytest.raises(ValueError, match="expected exactly those"):
        missing_table(NAMES[:20], {"C0": 0.3, "LGE": 0.5, "T2": 0.7}, spec=MYOPS, seed=0, method="published")


def test_the_exact_method_and_the_file_format_serve_hearts(tmp_path):
    exact = missing_table(TRAIN, {"C0": 0.3, "LGE": 0.5, "T2": 0.7}, spec=MYOPS, seed=0)
    assert exact.sum().tolist() == [14, 10, 6] and exact.any(axis=1).all()
    write_table(tmp_path / "t.csv", exact, spec=MYOPS)
    assert read_table(tmp_path / "t.csv", spec=MYOPS).equals(exact)


def test_every_patient_is_tested_once_with_all_visits():
    names = [*NAMES, "BraTS-MET-00001-000", "BraTS-MET-00001-001"]
    parts = folds(names, count=5, seed=3)
    assert sorted(n for part in parts for n in part["test"]) == sorted(names)
    for part in parts:
        assert sorted(part["train"] + part["test"]) == sorted(names) and 5 <= len(part["test"]) <= 7
        assert len({"BraTS-MET-00001-000", "BraTS-MET-00001-001"} & set(part["test"])) in (0, 2)
    assert parts == folds(names[::-1], count=5, seed=3) and parts != folds(names, count=5, seed=4)
    with pytest.raises(ValueError, match="5 folds need 5 patients or more, each fold tests its own; found 3"):
        folds(NAMES[:3], count=5)
    with pytest.raises(ValueError, match="expected 2 or more"):
        folds(NAMES, count=1)
