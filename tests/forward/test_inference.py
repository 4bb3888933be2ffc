"""The batches of a split."""

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from bonafide.forward.inference import BATCH, TOKENS, cuts


@given(st.lists(st.integers(1, 20_000), min_size=1, max_size=400).map(sorted))
def test_no_batch_is_larger_than_it_may_be_and_none_could_have_one_more(lengths):
    edges = [0, *cuts(np.array(lengths)), len(lengths)]
    parts = [lengths[begin:end] for begin, end in pairwise(edges)]
    assert [length for part in parts for length in part] == lengths
    for part, following in zip(parts, [*parts[1:], []], strict=True):
        assert part
        assert len(part) == 1 or (len(part) <= BATCH and len(part) * part[-1] <= TOKENS)
        assert not following or len(part) == BATCH or (len(part) + 1) * following[0] > TOKENS


def test_texts_of_128_tokens_go_by_128():
    assert cuts(np.full(300, 128)) == [128, 256]
