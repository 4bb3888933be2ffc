"""Kneser-Ney against its law (probabilities sum to 1), a plain reading of the formula, and known figures."""

import hashlib
import json
from collections import Counter
from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from bonafide.evaluation import ngrams

SHAKESPEARE = Path(__file__).parents[2] / "data/tinyshakespeare.jsonl"
FIRST_NINE_TENTHS = 1_003_854
SYMBOLS = 4
documents = st.lists(st.lists(st.integers(0, SYMBOLS - 1), max_size=12), min_size=1, max_size=6)


def flat(documents):
    ids = np.array([symbol for document in documents for symbol in document], dtype=np.int64)
    return ids, np.cumsum([0, *map(len, documents)])


@given(documents, st.lists(st.integers(0, SYMBOLS - 1), max_size=5), st.integers(1, 4))
def test_probabilities_sum_to_one_after_any_context_at_every_order(training, context, highest):
    model = ngrams.fit(*flat(training), SYMBOLS, highest)
    ends = flat([[*context, symbol] for symbol in range(SYMBOLS)])
    last = ngrams.nats(model, *ends)[:, ends[1][1:] - 1]
    np.testing.assert_allclose(np.exp(-last).sum(axis=1), 1, rtol=1e-12)


@given(documents, documents)
def test_no_context_reaches_into_another_document(training, asked):
    model = ngrams.fit(*flat(training), SYMBOLS, 3)
    whole = ngrams.nats(model, *flat(asked))
    alone = [ngrams.nats(model, *flat([document])) for document in asked]
    np.testing.assert_array_equal(whole, np.concatenate(alone, axis=1))


def test_a_bigram_model_is_the_formula_read_aloud():
    training = [list(map(int, text)) for text in ("0110100110010110", "0001123", "3120", "2210012310")]
    model, pairs, before = ngrams.fit(*flat(training), SYMBOLS, 2), Counter(), Counter()
    for text in training:
        pairs.update(zip([SYMBOLS, *text], text, strict=False))
    for _, last in pairs:
        before[last] += 1
    taken = [ngrams._discounts(np.array(list(counts.values()))) for counts in (before, pairs)]

    def probability(counts, rest, taken):
        total = sum(counts.values())
        spare = sum(taken[min(count, 3) - 1] for count in counts.values()) / total
        return [
            (counts[w] - taken[min(counts[w], 3) - 1] if counts[w] else 0) / total + spare * rest[w]
            for w in range(SYMBOLS)
        ]

    single = probability(before, [1 / SYMBOLS] * SYMBOLS, taken[0])
    after_one = probability(Counter({w: n for (u, w), n in pairs.items() if u == 1}), single, taken[1])
    asked = flat([[1, w] for w in range(SYMBOLS)])
    np.testing.assert_allclose(np.exp(-ngrams.nats(model, *asked)[1, 1::2]), after_one, rtol=1e-12)


def test_characters_that_the_alphabet_lacks_are_one_symbol():
    ids, offsets = ngrams.spell(["abz", "", "京b"], ["a", "b"])
    assert ids.tolist() == [0, 1, 2, 2, 1]
    assert offsets.tolist() == [0, 3, 3, 5]


def test_shakespeare_has_the_bits_a_character_that_it_has():
    """nanoGPT's split. With one discount of 0.75 for all counts the 6-gram has 2.220, as published prototypes do."""
    text = "".join(json.loads(line)["text"] for line in SHAKESPEARE.read_text(encoding="utf-8").splitlines())
    assert hashlib.sha256(text.encode()).hexdigest().startswith("86c4e6aa9db7c042")  # the file, whole and in order
    alphabet = sorted(set(text))
    train, test = (ngrams.spell([part], alphabet) for part in (text[:FIRST_NINE_TENTHS], text[FIRST_NINE_TENTHS:]))
    model = ngrams.fit(*train, len(alphabet), 8)
    bits = ngrams.nats(model, *test).mean(axis=1) / np.log(2)
    np.testing.assert_allclose(bits, [4.829, 3.583, 2.940, 2.480, 2.252, 2.197, 2.188, 2.192], atol=5e-4)
    assert ngrams.best_order(model, *test) == 7
