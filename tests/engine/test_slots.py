"""What shards are filled up to, and with what."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bonafide.engine.bucketing import fill, size, slots
from bonafide.engine.recipe import cut


@st.composite
def steps(draw):
    lengths = np.array(draw(st.lists(st.integers(1, draw(st.sampled_from([1, 3, 40, 512]))), min_size=1, max_size=80)))
    rows, cuts = cut(np.arange(len(lengths)), lengths, draw(st.sampled_from([1, 2, 4, 8])))
    return rows, lengths[rows], cuts, int(lengths.max()) + draw(st.integers(0, 5))


@given(steps())
def test_shards_are_filled_up_to_their_slots_by_texts_of_one_to_the_longest(step):
    rows, lengths, cuts, longest = step
    room = slots(lengths, cuts, longest)
    texts = fill(rows, lengths, cuts, room)
    assert texts.cuts.tolist() == [room.texts * n for n in range(len(cuts))]
    parts = texts.lengths.reshape(-1, room.texts)
    assert (parts.sum(axis=1) == room.tokens).all()
    assert (parts >= 1).all()
    assert (parts <= longest).all()
    assert texts.rows[texts.real].tolist() == rows.tolist()
    assert texts.lengths[texts.real].tolist() == lengths.tolist()
    assert not texts.rows[~texts.real].any()
    assert texts.real.reshape(parts.shape).sum(axis=1).tolist() == np.diff(cuts).tolist()


@given(steps(), st.data())
def test_a_shard_is_filled_alike_in_any_part_of_the_step(step, data):
    rows, lengths, cuts, longest = step
    room = slots(lengths, cuts, longest)
    whole = fill(rows, lengths, cuts, room)
    first = data.draw(st.integers(0, len(cuts) - 2))
    part = slice(cuts[first], cuts[first + 1])
    mine = fill(rows[part], lengths[part], cuts[first : first + 2] - cuts[first], room)
    its = slice(first * room.texts, (first + 1) * room.texts)
    assert mine.rows.tolist() == whole.rows[its].tolist()
    assert mine.lengths.tolist() == whole.lengths[its].tolist()


def test_texts_without_slots_stay_as_they_are():
    rows, lengths, cuts = np.array([3, 1]), np.array([2, 5]), np.array([0, 1, 2])
    texts = fill(rows, lengths, cuts, None)
    assert (texts.rows is rows, texts.lengths is lengths, texts.cuts is cuts) == (True, True, True)
    assert texts.real.all()


@pytest.mark.parametrize("count", [1, 7, 16, 17, 209, 835, 4096, 16_384, 65_537])
def test_sizes_are_few_and_near(count):
    assert count <= size(count, 16) <= count * 17 / 16
    assert size(size(count, 16), 16) == size(count, 16)
    assert len({size(n, 16) for n in range(1024, 2048)}) == 17


def test_random_steps_have_few_shapes_and_little_to_fill():
    """128 texts of 16 to 512 tokens in four shards: 4 % is filled."""
    chance = np.random.default_rng(0)
    found, real, filled = set(), 0, 0
    for _ in range(200):
        lengths = np.sort(chance.integers(16, 512, 128, endpoint=True))
        _, cuts = cut(np.arange(128), lengths, 4)
        room = slots(lengths, cuts, 512)
        found.add(room)
        real, filled = real + int(lengths.sum()), filled + 4 * room.tokens
    assert len(found) < 12
    assert filled / real < 1.06
