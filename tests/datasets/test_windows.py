"""Every token is predicted once, from its own document; what epochs differ in is a function of (seed, epoch, row)."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from bonafide.datasets.windows import for_evaluation, for_training

documents = st.lists(st.integers(0, 70), min_size=1, max_size=8)
contexts = st.integers(2, 17)


def split(lengths, context):
    offsets = np.cumsum([0, *lengths])
    ids = np.arange(100, 100 + offsets[-1], dtype=np.int32)
    names = np.array([f"row {place}" for place in range(len(lengths))])
    characters = np.array(lengths, dtype=np.int64)
    arrays = {"input_ids": ids, "offsets": offsets, "ids": names, "characters": characters}
    return arrays | {"context": np.array([context])}


def counted(windows):
    return [at for row in range(len(windows)) for at in range(windows.counted[row], windows.ends[row])]


@given(documents, contexts)
def test_evaluation_counts_each_token_once_with_half_a_context_before_it(lengths, context):
    windows = for_evaluation(split(lengths, context))
    assert sorted(counted(windows)) == list(range(sum(lengths)))
    starts = windows.offsets[windows.documents]
    assert (windows.lengths <= context).all()
    assert (windows.begins >= starts).all()
    seen = windows.counted - windows.begins
    assert ((windows.begins == starts) | (seen >= context // 2)).all()


@given(documents, contexts, st.integers(0, 9), st.integers(1, 9))
def test_training_reads_each_token_once_an_epoch_in_as_many_windows(lengths, context, seed, epoch):
    whole = for_evaluation(split(lengths, context))
    windows, next_one = (for_training(whole, seed, number) for number in (epoch, epoch + 1))
    assert counted(windows) == list(range(sum(lengths)))
    assert (windows.lengths <= context).all()
    assert (windows.lengths > 0).all()
    np.testing.assert_array_equal(windows.units, windows.lengths)
    np.testing.assert_array_equal(windows.documents, next_one.documents)


def test_documents_are_cut_anew_each_epoch_and_the_same_whatever_is_beside_them():
    both, one = (for_evaluation(split(lengths, 16)) for lengths in ([100, 300], [100]))
    first, second, other = (for_training(both, 1, 1), for_training(both, 1, 2), for_training(both, 2, 1))
    assert first.begins.tolist() != second.begins.tolist()
    assert first.begins.tolist() != other.begins.tolist()
    alone = for_training(one, 1, 1)
    assert first.begins[: len(alone)].tolist() == alone.begins.tolist()


def test_a_document_that_fits_is_one_window():
    windows = for_training(for_evaluation(split([16, 5, 0, 17], 16)), 1, 1)
    assert windows.documents.tolist() == [0, 1, 3, 3]
    assert windows.lengths[:2].tolist() == [16, 5]


def test_a_token_is_predicted_from_the_one_before_it_and_the_first_from_the_start():
    windows = for_evaluation(split([5, 3], 4))
    rows = np.arange(len(windows))
    positions, within = windows.positions(rows)
    read = windows.read(positions, rows, start=7)
    assert windows.input_ids[positions].tolist() == [100, 101, 102, 103, 102, 103, 104, 105, 106, 107]
    assert read.tolist() == [7, 100, 101, 102, 101, 102, 103, 7, 105, 106]
    assert within.tolist() == [0, 1, 2, 3, 0, 1, 2, 0, 1, 2]
    assert windows.take([1]).units.tolist() == [1]


def test_sums_of_windows_are_of_their_documents():
    windows = for_evaluation(split([5, 0, 3], 4))
    assert windows.sum_by_document(windows.units[:, None].astype(float)).tolist() == [[5], [0], [3]]
