"""quality/duplicates.py: equal and nearly equal texts."""

import random

import numpy as np
import pyarrow as pa
import pytest
from datasketch import MinHash
from hypothesis import given
from hypothesis import strategies as st

from bonafide.quality.duplicates import (
    PERMUTATIONS,
    RECALL,
    bands,
    find_exact,
    find_near,
    jaccard,
    normalise,
    shingles,
    sign,
)

WORDS = ["".join(random.Random(i).choices("abcdefghijklmnopqrstuvwxyz", k=2 + i % 8)) for i in range(2000)]


def column(values):
    return pa.chunked_array([pa.array(values, pa.string())])


def sentence(chance):
    return " ".join(chance.choices(WORDS, k=20))


def test_normalising_removes_what_a_reader_would_not_call_a_difference():
    texts = column(["Ｇreat  Phone\n", "great phone", "GREAT\u00a0PHONE", "Straße ﬁn", "strasse fin", " ", "", None])
    assert normalise(texts).to_pylist() == ["great phone"] * 3 + ["strasse fin"] * 2 + [None] * 3


def test_of_equal_rows_the_first_of_the_lowest_order_stays():
    texts, labels = column(["a", "a", "a", "b", "b"]), column(["x"] * 5)
    repeated, conflicting = find_exact(texts, labels, np.array([3, 0, 0, 1, 1]))
    assert repeated.tolist() == [True, False, True, False, True]
    assert not conflicting.any()


def test_of_rows_with_the_same_text_and_other_labels_all_conflict_and_null_takes_no_part():
    texts = column(["a", "a", "a", "b", None, None, "c", "c"])
    labels = column(["x", "y", "x", "x", "x", "y", "x", None])
    repeated, conflicting = find_exact(texts, labels, np.zeros(8, dtype=np.int64))
    assert conflicting.tolist() == [True] * 3 + [False] * 5
    assert repeated.tolist() == [False, False, True] + [False] * 5


small = st.lists(
    st.tuples(st.sampled_from("abc"), st.sampled_from(["x", "y", None]), st.integers(0, 2)), min_size=0, max_size=12
)


@given(small)
def test_exact_duplicates_are_those_of_the_definition(rows):
    texts, labels = column([t for t, _, _ in rows]), column([label for _, label, _ in rows])
    repeated, conflicting = find_exact(texts, labels, np.array([o for _, _, o in rows], dtype=np.int64))
    for i, (text, label, order) in enumerate(rows):
        same = [(o, j) for j, (t, other, o) in enumerate(rows) if (t, other) == (text, label)]
        others = {other for t, other, _ in rows if t == text and other is not None}
        assert repeated[i] == (label is not None and (order, i) != min(same))
        assert conflicting[i] == (label is not None and len(others) > 1)


def test_near_duplicates_are_found_across_splits_and_only_there():
    chance = random.Random(1)
    train = [sentence(chance) for _ in range(400)]
    test = [f"{text} indeed" for text in train[:50]] + [sentence(chance) for _ in range(50)]
    same_split = [f"{train[100]} again"]
    near = find_near([*train, *same_split, *test], np.array([1] * 401 + [0] * 100), 0.8)
    assert near.rows.tolist() == list(range(50))
    assert near.partners.tolist() == list(range(401, 451))


@pytest.mark.parametrize("similarity", [0.5, 0.65, 0.8])
def test_what_is_found_is_what_comparing_all_pairs_finds(similarity):
    chance = random.Random(2)
    texts = []
    for _ in range(60):
        words = sentence(chance).split()
        texts += [" ".join(w if chance.random() > k / 40 else chance.choice(WORDS) for w in words) for k in range(5)]
    texts = sorted(set(texts))
    ranks = np.array([chance.randint(0, 2) for _ in texts])
    sets = [shingles(text) for text in texts]
    truth = {
        i
        for i in range(len(texts))
        if any(ranks[j] < ranks[i] and jaccard(sets[i], sets[j]) >= similarity for j in range(len(texts)))
    }
    near = find_near(texts, ranks, similarity)
    found = set(near.rows.tolist())
    assert found <= truth
    assert len(truth) > 20
    assert len(found) >= 0.97 * len(truth)
    for row, partner in zip(near.rows.tolist(), near.partners.tolist(), strict=True):
        assert ranks[partner] < ranks[row]
        assert jaccard(sets[row], sets[partner]) >= similarity


def test_variants_of_one_template_are_found_without_comparing_all_pairs():
    texts = [f"order number {i * 37 % 10007} arrived late and the box was damaged again" for i in range(3000)]
    ranks = np.array([int(i % 10 > 0) for i in range(3000)])
    sets = [shingles(text) for text in texts]
    tests = [i for i in range(3000) if ranks[i] == 0]
    truth = {i for i in range(3000) if ranks[i] and any(jaccard(sets[i], sets[j]) >= 0.8 for j in tests)}
    found = set(find_near(texts, ranks, 0.8).rows.tolist())
    assert found <= truth
    assert len(found) >= 0.97 * len(truth)


def test_short_texts_have_themselves_as_shingle():
    assert shingles("abc") == {"abc"}
    near = find_near(["good", "bad", "ok phone", "good phone", "good phone!"], np.array([1, 1, 1, 0, 1]), 0.8)
    assert near.rows.tolist() == [4]


def test_very_long_texts_are_compared_by_their_beginning():
    chance = random.Random(3)
    long = " ".join(sentence(chance) for _ in range(120))
    near = find_near([long, long[:-1] + "x" * 100_000], np.array([0, 1]), 0.8)
    assert near.rows.tolist() == [1]


def test_signatures_estimate_the_jaccard_similarity_as_datasketch_does():
    chance = random.Random(4)
    words = [sentence(chance).split() for _ in range(60)]
    texts = [" ".join(w[:k]) for w in words for k in (14, 20)]
    signatures = sign(texts)
    errors = []
    for i in range(0, len(texts), 2):
        true = jaccard(shingles(texts[i]), shingles(texts[i + 1]))
        errors.append((signatures[i] == signatures[i + 1]).mean() - true)
    reference = MinHash(num_perm=PERMUTATIONS)
    reference.update_batch([s.encode() for s in shingles(texts[0])])
    assert reference.hashvalues.dtype == signatures.dtype
    assert abs(np.mean(errors)) < 0.02
    assert np.std(errors) < 0.06


@given(st.floats(0.5, 1))
def test_bands_find_a_pair_at_the_threshold_with_the_promised_probability(similarity):
    count, rows = bands(similarity)
    assert count * rows <= PERMUTATIONS
    assert 1 - (1 - similarity**rows) ** count >= RECALL


@pytest.mark.slow
def test_the_result_does_not_depend_on_the_number_of_processes():
    chance = random.Random(5)
    texts = [sentence(chance) for _ in range(55_000)]
    texts += [f"{text} x" for text in texts[:1000]]
    ranks = np.array([1] * 55_000 + [0] * 1000)
    alone, together = find_near(texts, ranks, 0.8, processes=1), find_near(texts, ranks, 0.8, processes=2)
    assert len(alone.rows) >= 995
    assert alone.rows.tolist() == together.rows.tolist()
    assert alone.partners.tolist() == together.partners.tolist()
