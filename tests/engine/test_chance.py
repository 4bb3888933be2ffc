"""The GPU's dropout, on the CPU: the hash is what numpy computes, and looks like chance in every direction."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bonafide.engine import dropout as chance
from bonafide.engine.dropout import column_words, drop, hashed, row_words
from bonafide.engine.step_context import Dropout, Layout

pytestmark = pytest.mark.usefixtures("one_thread")

CPU = torch.device("cpu")
KEY, ROWS, WIDTH = 5, 4096, 256  # a million elements: a share is known to 0.0005
words = st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=9)


def by_numpy(rows, columns):
    found = rows.numpy().view(np.uint64)[:, None] + columns.numpy().view(np.uint64)
    for factor in chance.FACTORS:
        found = found * np.uint64(factor % 2**64)
        found ^= found >> np.uint64(32)
    return found.view(np.int64)


@given(words, words)
def test_the_hash_is_that_of_numpy(rows, columns):
    rows, columns = (torch.tensor(part, dtype=torch.int64) for part in (rows, columns))
    assert (hashed(rows, columns).numpy() == by_numpy(rows, columns)).all()


def test_words_are_pinned():
    """Other words are other weights: numpy and torch must not change them unseen."""
    rows, columns = row_words([2, 1], KEY, 3, CPU), column_words(1, 2, CPU)
    assert hashed(rows, columns).tolist() == [
        [3742863267924445286, -3765877837116281350],
        [3861899453339909057, 3653133928626264868],
        [8471579360086066394, -5320264367534832661],
    ]


def dropped(p=0.1, key=KEY, shard=0, site=1, rows=ROWS, width=WIDTH):
    """Where an element is dropped, scaled to mean 0 and variance 1, (rows, width)."""
    gone = drop(torch.ones(rows, width), p, row_words([rows], key, shard, CPU), site) == 0
    return (gone.double().numpy() - p) / (p * (1 - p)) ** 0.5


def deviations(products):
    """The mean of numbers whose mean should be 0, in standard deviations of it."""
    return abs(products.sum()) / products.size**0.5


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_the_share_that_is_dropped_is_p_in_all_in_rows_and_in_columns(p):
    gone = dropped(p)
    assert deviations(gone) < 4
    for axis in (0, 1):
        sums = gone.sum(axis) / gone.shape[axis] ** 0.5
        assert sums.var() == pytest.approx(1, abs=5 * (2 / len(sums)) ** 0.5)


def test_what_stays_is_scaled_up():
    kept = drop(torch.ones(ROWS, WIDTH), 0.1, row_words([ROWS], KEY, 0, CPU), 1)
    assert kept[kept != 0].unique().tolist() == pytest.approx([1 / 0.9], rel=1e-4)


@pytest.mark.parametrize("p", [0.1, 0.5])
def test_neighbours_are_independent(p):
    """Elements of one word, of neighbouring words, rows and columns; also four at the corners of a rectangle."""
    gone = dropped(p)
    for down in (0, 1, 2, 64):
        for right in (0, 1, 2, 3, 4, 8, 64):
            below, beside, across = gone[down:], gone[:, right:], gone[down:, right:]
            here = gone[: ROWS - down, : WIDTH - right]
            if down or right:
                assert deviations(here * across) < 4.5, (down, right)
            if down and right:
                assert deviations(here * below[:, : WIDTH - right] * beside[: ROWS - down] * across) < 4.5


@pytest.mark.parametrize("change", [{"key": 6}, {"key": 2**63 - 1}, {"shard": 1}, {"site": 2}, {"site": 0}])
def test_sites_shards_and_keys_are_independent(change):
    for p in (0.1, 0.5):
        assert deviations(dropped(p) * dropped(p, **change)) < 4


def test_all_values_of_an_element_are_as_frequent():
    lanes = hashed(row_words([ROWS], KEY, 0, CPU), column_words(1, WIDTH // 4, CPU)).view(torch.int16)
    for lane in range(4):
        counts = np.bincount((lanes[:, lane::4].numpy().view(np.uint16) >> 8).ravel(), minlength=256)
        expected = lanes.numel() / 4 / 256
        assert ((counts - expected) ** 2 / expected).sum() < 255 + 5 * (2 * 255) ** 0.5


@given(st.lists(st.integers(0, 6), min_size=4, max_size=4), st.integers(0, 2**63 - 1), st.sampled_from([1, 3, 4, 33]))
def test_a_shard_has_the_same_chance_wherever_it_lies(sizes, key, width):
    whole = drop(torch.ones(sum(sizes), width), 0.5, row_words(sizes, key, 0, CPU), 2)
    for first, last in ((0, 2), (2, 4), (3, 4)):
        before, count = sum(sizes[:first]), sum(sizes[first:last])
        part = drop(torch.ones(count, width), 0.5, row_words(sizes[first:last], key, first, CPU), 2)
        assert torch.equal(part, whole[before : before + count])


def test_a_queued_layout_drops_by_it_and_a_derivative_of_itself():
    layout = Layout()
    layout.queued = True
    layout.set([1, 2, 2, 3, 5, 6], [0, 2, 3, 3, 6], KEY, 0)
    dropout = Dropout(0.5, 1, layout)
    for x in (torch.randn(1, 19, 6), torch.randn(6, 1, 6)):
        x.requires_grad_()
        y = dropout(x)
        y.sum().backward()
        sizes = layout.sizes(x)
        assert torch.equal(y.flatten(0, 1), drop(x.detach().flatten(0, 1), 0.5, row_words(sizes, KEY, 0, CPU), 1))
        assert torch.equal(y, x * x.grad)
        assert (x.grad == 0).any()
    assert dropout.eval()(x) is x
    half = Dropout(0.5, 1, layout)(torch.ones(19, 6, dtype=torch.bfloat16))
    assert half.dtype == torch.bfloat16
    assert half.unique().tolist() == [0, 2]
