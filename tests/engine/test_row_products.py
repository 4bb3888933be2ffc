"""A row of a product has the same bits in any company, or the shards go one by one."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from bonafide.engine import batch_invariance
from bonafide.engine.batch_invariance import by_rows, least_rows
from bonafide.forward.overlap import Aside


def model():
    return nn.Sequential(nn.Linear(96, 64), nn.Linear(64, 2))


def test_what_this_machine_says_is_one_of_the_tried_and_stays():
    found = least_rows(model(), 300, Aside())
    assert found in (0, *batch_invariance.TRIED)
    assert least_rows(model(), 300, Aside()) == found


@settings(max_examples=40)
@given(st.integers(1, 200), st.integers(0, 100))
def test_a_row_has_the_same_bits_among_any_others(count, start):
    """Of any rows where this machine allows it; of whole shards everywhere."""
    least = least_rows(model(), 300, Aside())
    torch.manual_seed(1)
    rows, matrix = torch.randn(300, 96), torch.randn(96, 64)
    part = slice(start, start + count) if least else slice(100, 200)
    whole = by_rows(torch.mm, rows, matrix, [100, 100, 100], least)
    assert torch.equal(by_rows(torch.mm, rows[part], matrix, [len(rows[part])], least), whole[part])
    assert (whole - rows @ matrix).abs().max() <= 1e-4


def test_where_it_is_not_so_every_shard_is_multiplied_for_itself():
    seen = []

    def product(part, matrix, out=None):
        seen.append(len(part))
        return torch.mm(part, matrix, out=out)

    rows, matrix = torch.randn(9, 5), torch.randn(5, 3)
    assert (by_rows(product, rows, matrix, [4, 0, 5], 0) - rows @ matrix).abs().max() <= 1e-5
    assert seen == [4, 0, 5]
    seen.clear()
    by_rows(product, rows, matrix, [4, 0, 5], 16)
    by_rows(product, rows, matrix, [9], 0)
    assert seen == [16, 9]
    assert by_rows(product, rows[:0], matrix, [0], 16).shape == (0, 3)


def test_a_product_that_depends_on_the_number_of_rows_is_found_out(monkeypatch):
    real = torch.mm
    monkeypatch.setattr(torch, "mm", lambda a, b, **options: real(a, b, **options) * (1 + 1e-6 * (len(a) % 2)))
    assert least_rows(model(), 300, Aside()) == 0
