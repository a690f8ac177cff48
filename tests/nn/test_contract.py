"""Packed pairs: only what is there, in a known order, and back."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dmaf_lite.nn.contract import Features, Pairs, _kept


@st.composite
def availability(draw):
    rows, columns = draw(st.integers(1, 5)), draw(st.integers(1, 4))
    bits = draw(st.lists(st.integers(1, 2**columns - 1), min_size=rows, max_size=rows))
    return torch.tensor([[bool(b >> m & 1) for m in range(columns)] for b in bits])


@given(availability())
@settings(max_examples=60)
def test_pairs_list_exactly_what_is_there(available):
    pairs = Pairs.of(available)
    listed = list(zip(pairs.study.tolist(), pairs.modality.tolist(), strict=True))
    expected = [(b, m) for m in range(pairs.M) for b in range(pairs.B) if available[b, m]]
    assert listed == expected
    for m, (start, stop) in enumerate(pairs.blocks):
        assert (pairs.modality[start:stop] == m).all() and stop - start == int(available[:, m].sum())


@given(availability())
@settings(max_examples=60)
def test_dense_and_packed_are_inverse_and_missing_is_exactly_the_fill(available):
    pairs = Pairs.of(available)
    values = torch.randn(pairs.P, 3, 2)
    dense = pairs.to_dense(values, fill=-7.0)
    assert torch.equal(pairs.from_dense(dense), values)
    assert (dense[~available] == -7.0).all()
    assert torch.allclose(pairs.sum_by_study(values), pairs.to_dense(values).sum(1), atol=1e-6)


@given(availability(), st.randoms(use_true_random=False))
@settings(max_examples=40)
def test_select_gives_the_rows_asked_for(available, random):
    pairs = Pairs.of(available)
    values = torch.arange(pairs.P).float().reshape(-1, 1, 1, 1, 1)
    features = Features([values], pairs)
    study = [random.randrange(pairs.B) for _ in range(4)]
    wanted = torch.stack([available[s].clone() for s in study])
    for row in wanted:  # drop one scan where more than one is there
        if row.sum() > 1:
            row[int(row.nonzero()[0])] = False
    chosen = features.select(wanted, torch.tensor(study))
    full = pairs.to_dense(values, fill=-1.0)
    for value, s, m in zip(chosen.levels[0], chosen.pairs.study, chosen.pairs.modality, strict=True):
        assert torch.equal(value, full[study[int(s)], int(m)])


def test_select_of_the_same_mask_is_free():
    available = torch.tensor([[True, False], [True, True]])
    features = Features([torch.randn(3, 1, 1, 1, 1)], Pairs.of(available))
    assert features.select(available.clone()) is features


def test_what_was_not_encoded_cannot_be_decoded():
    features = Features([torch.randn(1, 1, 1, 1, 1)], Pairs.of(torch.tensor([[True, False]])))
    with pytest.raises(ValueError, match="modality 1 of study 0 was not encoded"):
        features.select(torch.tensor([[True, True]]))


@pytest.mark.parametrize("bad", [torch.zeros(2, 3).bool(), torch.ones(2, 3), torch.ones(3).bool()])
def test_a_bad_availability_table_is_refused(bad):
    with pytest.raises(ValueError, match=r"bool\[B, M\]|no modality at all"):
        Pairs.of(bad)


def test_the_error_names_the_study_without_any_scan():
    with pytest.raises(ValueError, match=r"study \[1\]"):
        Pairs.of(torch.tensor([[True, False], [False, False]]))


def test_selected_rows_keep_the_channels_last():
    levels = [torch.randn(4, 3, 5, 6, 7).contiguous(memory_format=torch.channels_last_3d)]
    features = Features(levels, Pairs.of(torch.ones(1, 4, dtype=torch.bool)))
    chosen = features.select(torch.tensor([[False, True, False, True]]))
    assert torch.equal(chosen.levels[0], levels[0][[1, 3]])
    assert chosen.levels[0].is_contiguous(memory_format=torch.channels_last_3d)


@pytest.mark.parametrize(("wanted", "copied"), [([0, 1, 1, 0], False), ([1, 0, 0, 0], False), ([1, 0, 1, 0], True)])
def test_rows_that_follow_one_another_are_not_copied(wanted, copied):
    level = torch.randn(8, 3, 4, 4, 4).contiguous(memory_format=torch.channels_last_3d)
    features = Features([level], Pairs.of(torch.ones(2, 4, dtype=torch.bool)))
    chosen = features.select(torch.tensor([wanted] * 2, dtype=torch.bool)).levels[0]
    assert torch.equal(chosen, level[[2 * m + b for m in range(4) if wanted[m] for b in range(2)]])
    same_memory = chosen.untyped_storage().data_ptr() == level.untyped_storage().data_ptr()
    assert same_memory is not copied


def test_a_table_seen_before_is_listed_once():
    """What a GPU is given: the same pairs, and the very same tensors the second time."""
    available = torch.tensor([[True, False, True], [False, True, False]])
    with torch.inference_mode():
        kept = _kept(tuple(map(tuple, available.tolist())), torch.device("cpu"))
    assert _kept(tuple(map(tuple, available.tolist())), torch.device("cpu")) is kept
    pairs = Pairs.of(available)
    for name in ("available", "study", "modality", "row", "counts", "available_on_device"):
        assert torch.equal(getattr(kept, name), getattr(pairs, name)), name
    assert not kept.study.is_inference()


def test_pairs_of_several_leave_lonely_scans_out():
    available = torch.tensor([[True, False, True], [False, True, False], [True, True, True]])
    kept, rows = Pairs.of(available).of_several
    assert kept.study.tolist() == [0, 2, 2, 0, 2] and kept.modality.tolist() == [0, 0, 1, 2, 2]
    assert rows.tolist() == [0, 1, 3, 4, 5] and kept.available.sum(1).tolist() == [2, 0, 3]
