"""What is hidden is so by its document, its place in it and the epoch alone, and as much of it as was asked for."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bonafide.datasets.masked_texts import SHOWN, for_evaluation, for_training
from bonafide.datasets.masking import choose
from bonafide.project.randomness import counted_uniform, hashed_keys

CLS, SEP, MASK, SIZE = 0, 1, 2, 50
lengths = st.lists(st.integers(0, 40), min_size=1, max_size=8)


def cut(sizes, room):
    from bonafide.tasks.masked_lm.encode import cut

    return cut(np.append(0, np.cumsum(sizes)), room)


def split(sizes, *, room=10, shares=(0.3, 0.8, 0.1), pairs=False, names=None, seed=0):
    """A split of documents of so many tokens, of which one in ten cannot be hidden."""
    rng = np.random.default_rng(seed)
    offsets = np.append(0, np.cumsum(sizes)).astype(np.int64)
    tokens = rng.integers(4, SIZE, offsets[-1]).astype(np.int32)
    names = names or [f"row {number}" for number in range(len(sizes))]
    hideable = rng.random(offsets[-1]) < 0.9
    keys = hashed_keys(names, 0)
    document = np.repeat(np.arange(len(sizes)), sizes)
    arrays = {
        "input_ids": tokens,
        "offsets": offsets,
        "texts": cut(sizes, room),
        "hideable": hideable,
        "hidden": choose(keys[document], np.arange(len(tokens)) - offsets[document], offsets, hideable, 0.3),
        "special": np.array([CLS, SEP, MASK, SIZE]),
        "shares": np.array(shares),
        "keys": keys,
        "ids": np.array(names),
    }
    return arrays | ({"ends": tokens % 5 == 0} if pairs else {})


def without(arrays, row):
    """The same split without a row."""
    low, high = arrays["offsets"][row], arrays["offsets"][row + 1]
    kept = np.r_[0:low, high : len(arrays["input_ids"])]
    removed = {name: arrays[name][kept] for name in ("input_ids", "hideable", "ends") if name in arrays}
    removed |= {name: np.delete(arrays[name], row) for name in ("ids", "keys")}
    texts, offsets = arrays["texts"], arrays["offsets"]
    inside = (texts[:-1] >= low) & (texts[:-1] < high)
    moved = np.where(texts >= high, texts - (high - low), texts)
    removed["texts"] = moved[np.append(~inside, True)]
    removed["offsets"] = np.delete(np.where(offsets >= high, offsets - (high - low), offsets), row)
    hidden = arrays["hidden"][(arrays["hidden"] < low) | (arrays["hidden"] >= high)]
    removed["hidden"] = np.where(hidden >= high, hidden - (high - low), hidden)
    return removed | {name: arrays[name] for name in ("special", "shares")}


def told(texts):
    """What each text reads and is asked, by its document's id."""
    found = {}
    for row in range(len(texts)):
        at = slice(texts.offsets[row], texts.offsets[row + 1])
        part = (texts.input_ids[at].tolist(), texts.targets[at].tolist())
        found.setdefault(str(texts.ids[row]), []).append(part)
    return found


@given(lengths, st.integers(1, 12))
def test_each_token_is_in_one_text(sizes, room):
    texts, offsets = cut(sizes, room), np.append(0, np.cumsum(sizes))
    assert texts[0] == 0
    assert texts[-1] == offsets[-1]
    parts = np.diff(texts)
    assert ((parts > 0) & (parts <= room)).all()
    assert np.isin(offsets, texts).all(), "no text has tokens of two documents"
    assert len(parts) == sum(-(-size // room) for size in sizes)


@given(lengths, st.floats(0.05, 0.9), st.integers(0, 5))
def test_as_many_are_hidden_as_are_asked_for(sizes, share, seed):
    arrays = split(sizes, shares=(share, 0.8, 0.1), seed=seed)
    texts = for_training(arrays, seed, 1)
    hideable = np.add.reduceat(np.append(arrays["hideable"], False), arrays["texts"][:-1]) if len(texts) else []
    expected = [max(1, round(share * n)) if n else 0 for n in np.asarray(hideable).tolist()]
    assert texts.units.tolist() == expected if len(texts) else True


@given(lengths, st.integers(0, 3))
def test_special_and_unknown_tokens_are_never_hidden_and_the_rest_stands_as_it_was(sizes, seed):
    arrays = split(sizes, seed=seed)
    for texts in (for_training(arrays, seed, 1), for_evaluation(arrays)):
        ids = np.where(texts.targets == SHOWN, texts.input_ids, texts.targets)
        assert (ids[texts.offsets[:-1]] == CLS).all()
        assert (ids[texts.offsets[1:] - 1] == SEP).all()
        inside = np.ones(len(ids), dtype=bool)
        inside[texts.offsets[:-1]] = inside[texts.offsets[1:] - 1] = False
        assert ids[inside].tolist() == arrays["input_ids"].tolist()
        assert not (texts.targets[inside] != SHOWN)[~arrays["hideable"]].any()


@given(lengths, st.integers(0, 3), st.data())
def test_what_is_hidden_of_a_document_depends_on_no_other(sizes, seed, data):
    arrays = split(sizes, seed=seed)
    row = data.draw(st.integers(0, len(sizes) - 1))
    for draw in (for_evaluation, lambda part: for_training(part, 3, 2)):
        whole, rest = told(draw(arrays)), told(draw(without(arrays, row)))
        whole.pop(f"row {row}", None)
        assert rest.keys() == whole.keys()
        for name, texts in rest.items():
            assert [targets for _, targets in whole[name]] == [targets for _, targets in texts]


def test_each_epoch_and_seed_hides_others_and_the_same_again():
    arrays = split([40] * 20)
    first = for_training(arrays, 1, 1)
    again = for_training(arrays, 1, 1)
    assert np.array_equal(first.targets, again.targets)
    assert np.array_equal(first.input_ids, again.input_ids)
    for seed, epoch in ((1, 2), (2, 1)):
        assert (for_training(arrays, seed, epoch).targets != first.targets).mean() > 0.2


def test_of_the_hidden_ones_as_many_are_masked_and_replaced_as_params_say():
    arrays = split([400] * 100, room=400, shares=(0.15, 0.8, 0.1))
    texts = for_training(arrays, 1, 1)
    hidden = texts.targets != SHOWN
    shown, truth = texts.input_ids[hidden], texts.targets[hidden]
    masked, same = shown == MASK, shown == truth
    assert masked.mean() == pytest.approx(0.8, abs=0.02)
    assert same.mean() == pytest.approx(0.1, abs=0.02)
    others = shown[~masked & ~same]
    assert set(others.tolist()) <= set(np.unique(arrays["input_ids"]).tolist())
    assert len(np.unique(others)) == len(np.unique(arrays["input_ids"])), "any token of train"


def test_evaluation_hides_all_behind_the_mask():
    texts = for_evaluation(split([100] * 5))
    assert (texts.input_ids[texts.targets != SHOWN] == MASK).all()


def test_places_are_hidden_alike():
    keys = np.repeat(hashed_keys([str(n) for n in range(4000)], 0), 20)
    counters, offsets = np.tile(np.arange(20), 4000), np.arange(0, 80001, 20)
    hidden = choose(keys, counters, offsets, np.ones(80000, dtype=bool), 0.25)
    assert np.bincount(counters[hidden]) / 4000 == pytest.approx(0.25, abs=0.03)


def test_draws_are_those_of_splitmix64():
    published = [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]  # of seed 0, in Vigna's C code
    drawn = counted_uniform(np.zeros(3, dtype=np.uint64), np.arange(3))
    assert drawn.tolist() == [(bits >> 11) / 2**53 for bits in published]


def test_pairs_are_cut_behind_sentences_and_half_of_them_are_another_documents():
    arrays = split([30] * 400, room=30, pairs=True)
    texts = for_training(arrays, 1, 1)
    asked = texts.labels != SHOWN
    assert asked.mean() > 0.9
    assert texts.labels[asked].mean() == pytest.approx(0.5, abs=0.08)
    ids = np.where(texts.targets == SHOWN, texts.input_ids, texts.targets)
    for row in np.flatnonzero(asked).tolist():
        part = ids[texts.offsets[row] : texts.offsets[row + 1]]
        second = int(texts.seconds[row])
        assert part[second - 1] == SEP
        assert part[second - 2] % 5 == 0
        own = arrays["input_ids"][row * 30 : row * 30 + 30].tolist()
        assert part[1 : second - 1].tolist() == own[: second - 2]
        is_own = part[second:-1].tolist() == own[second - 2 :]
        assert is_own == (texts.labels[row] == 0)
        assert len(part) <= 33


def test_pairs_of_evaluation_ask_for_no_tokens_and_of_a_single_document_there_are_none():
    texts = for_evaluation(split([30] * 50, room=30, pairs=True))
    asked = texts.labels != SHOWN
    assert asked.any()
    assert texts.units[asked].sum() == 0
    assert texts.units[~asked].min() > 0
    assert (for_evaluation(split([30], pairs=True)).labels == SHOWN).all()


def test_some_rows_taken_are_those_rows():
    texts = for_evaluation(split([30, 7, 12], pairs=True))
    taken = texts.take([2, 0])
    assert told(taken)["row 0"][-1] == told(texts)["row 0"][0]
    assert taken.lengths.tolist() == texts.lengths[[2, 0]].tolist()
    assert taken.units.tolist() == texts.units[[2, 0]].tolist()
