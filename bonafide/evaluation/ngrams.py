"""Interpolated modified Kneser-Ney over sequences of symbols: the n-gram model that any language model has to beat.

Chen and Goodman (1999), equations 21 to 27. With c the count of an n-gram of the highest order, and below it the number
of distinct symbols that come before it, the probability of symbol w after context u, u' being u without its first, is

    p(w | u) = (c(u w) - D(c(u w))) / c(u .) + g(u) p(w | u')

The discounts D of counts 1, 2 and 3 or more are of the counts of counts, g(u) is what they took, and the probability of
no context is interpolated with the uniform one, so that all sum to 1 over the vocabulary. The start of a document is a
symbol like any other in contexts and is never predicted: no context reaches into another document.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from bonafide.project.arrays import Bools, Floats, Ints

FALLBACK = np.array([0.5, 1.0, 1.5])  # discounts where a text is too small to tell, as KenLM's --discount_fallback


@dataclass(frozen=True)
class Counts:
    """What is known of the n-grams of one order by one way of counting."""

    gains: Floats
    """Of each n-gram: its discounted count as a share of its context's, (n-grams,)."""
    backoffs: Floats
    """Of each context: the share that goes to the shorter one, g(u), (contexts,); 1 where nothing followed it."""


@dataclass(frozen=True)
class Order:
    """All n-grams of one order in the training text."""

    keys: Ints
    """(n-grams,) ascending: number of the context among those of the order below, times the symbols, plus the last."""
    raw: Counts
    """By how often they are there: for a model whose highest order this is."""
    continuations: Counts
    """By how many different symbols come before them: for the models of higher order."""


@dataclass(frozen=True)
class KneserNey:
    """The models of all orders up to the highest, that of unigrams first."""

    orders: list[Order]
    vocabulary: int
    """Symbols, by their ids from 0; the start of a document is the next number."""


def fit(ids: Ints, offsets: Ints, vocabulary: int, highest: int) -> KneserNey:
    """Count the n-grams of documents: ids (symbols,) below `vocabulary`, of document i from offsets[i] to [i + 1]."""
    symbols, counted = _lay_out(ids, offsets, vocabulary, highest)
    found, orders, shorter = _number(symbols, vocabulary, highest + 1), [], 1
    for (keys, places), (_, longer) in pairwise(found):
        contexts, ends = keys // (vocabulary + 1), places[counted]
        _, once = np.unique(longer[counted], return_index=True)  # where each n-gram of one more symbol is first
        raw, distinct = (np.bincount(at, minlength=len(keys)) for at in (ends, ends[once]))
        orders.append(Order(keys, _discount(raw, contexts, shorter), _discount(distinct, contexts, shorter)))
        shorter = len(keys)
    return KneserNey(orders, vocabulary)


def nats(model: KneserNey, ids: Ints, offsets: Ints) -> Floats:
    """The surprise at each symbol, -ln p, by the models of each order: (orders, symbols)."""
    symbols, counted = _lay_out(ids, offsets, model.vocabulary, len(model.orders))
    shorter, found = np.full(len(symbols), 1 / model.vocabulary), []
    for order, (contexts, places) in zip(model.orders, _find(model, symbols), strict=True):
        found.append(-np.log(_interpolate(order.raw, contexts, places, shorter)[counted]))
        shorter = _interpolate(order.continuations, contexts, places, shorter)
    return np.stack(found)


def is_known(model: KneserNey, ids: Ints, offsets: Ints) -> Bools:
    """Whether each symbol ends an n-gram of each order that training had, (orders, symbols)."""
    symbols, counted = _lay_out(ids, offsets, model.vocabulary, len(model.orders))
    return np.stack([places[counted] >= 0 for _, places in _find(model, symbols)])


def spell(texts: Sequence[str], alphabet: Sequence[str]) -> tuple[Ints, Ints]:
    """Texts as `ids` and `offsets`: the place of each character in an ascending alphabet, its length for any other."""
    characters, known = np.array(list("".join(texts)), dtype=np.str_), np.array(alphabet, dtype=np.str_)
    places = np.minimum(np.searchsorted(known, characters), len(known) - 1)
    ids = np.where(known[places] == characters, places, len(known))
    return ids, np.concatenate(([0], np.cumsum([len(text) for text in texts], dtype=np.int64)))


def per_document(nats: Floats, offsets: Ints) -> Floats:
    """Sums (..., documents) of what each symbol has, (..., symbols)."""
    before = np.concatenate([np.zeros((*nats.shape[:-1], 1)), np.cumsum(nats, axis=-1)], axis=-1)
    sums: Floats = before[..., offsets[1:]] - before[..., offsets[:-1]]
    return sums


def best_order(model: KneserNey, ids: Ints, offsets: Ints) -> int:
    """The order, from 1, with the least surprise at documents that are not the test's."""
    return int(nats(model, ids, offsets).sum(axis=1).argmin()) + 1


def _lay_out(ids: Ints, offsets: Ints, start: int, highest: int) -> tuple[Ints, Bools]:
    """The documents, each behind as many starts as the longest context has symbols, and which symbols are theirs."""
    before = (np.arange(len(offsets) - 1) + 1) * highest
    places = np.arange(len(ids)) + np.repeat(before, np.diff(offsets))
    symbols = np.full(len(ids) + highest * (len(offsets) - 1), start, dtype=np.int64)
    symbols[places] = ids
    counted = np.zeros(len(symbols), dtype=np.bool_)
    counted[places] = True
    return symbols, counted


def _number(symbols: Ints, vocabulary: int, highest: int) -> list[tuple[Ints, Ints]]:
    """Of each order: the keys of its n-grams, and which of them ends at each symbol, (symbols,), -1 where none can."""
    context, found = np.zeros(len(symbols), dtype=np.int64), []
    for _ in range(highest):
        places = np.full(len(symbols), -1, dtype=np.int64)
        whole = context >= 0
        keys, places[whole] = np.unique((context * (vocabulary + 1) + symbols)[whole], return_inverse=True)
        found.append((keys, places))
        context = np.concatenate(([-1], places[:-1]))
    return found


def _find(model: KneserNey, symbols: Ints) -> Iterator[tuple[Ints, Ints]]:
    """Of each order: which of its contexts stands before each symbol, and which of its n-grams ends there, or -1."""
    contexts = np.zeros(len(symbols), dtype=np.int64)
    for order in model.orders:
        places = _look_up(order.keys, np.where(contexts >= 0, contexts * (model.vocabulary + 1) + symbols, -1))
        yield contexts, places
        contexts = np.concatenate(([-1], places[:-1]))


def _discount(counts: Ints, contexts: Ints, shorter: int) -> Counts:
    """`counts` (n-grams,) less their discounts; `contexts` (n-grams,) are numbers of n-grams of the order below."""
    taken = np.concatenate(([0.0], _discounts(counts)))[np.minimum(counts, 3)]
    total = np.bincount(contexts, weights=counts, minlength=shorter)
    followed = np.maximum(total, 1)
    backoffs = np.where(total > 0, np.bincount(contexts, weights=taken, minlength=shorter) / followed, 1.0)
    return Counts((counts - taken) / followed[contexts], backoffs)


def _discounts(counts: Ints) -> Floats:
    """What is taken from counts of 1, 2, and 3 or more (Chen and Goodman, equation 26)."""
    n = np.bincount(np.minimum(counts, 5), minlength=6)[1:5].astype(np.float64)  # n-grams that were there 1 to 4 times
    if not n.all():
        return FALLBACK
    ranks = np.arange(1, 4)
    found: Floats = ranks - (ranks + 1) * n[0] / (n[0] + 2 * n[1]) * n[1:] / n[:-1]
    return found if (found > 0).all() else FALLBACK


def _look_up(keys: Ints, wanted: Ints) -> Ints:
    """The place of each among ascending keys, -1 where it is not there."""
    places = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[places] == wanted, places, -1)


def _interpolate(counts: Counts, contexts: Ints, places: Ints, shorter: Floats) -> Floats:
    """The probability of each symbol, from that after the shorter context; -1 stands for what training lacked."""
    backoffs = np.where(contexts >= 0, counts.backoffs[contexts], 1.0)
    found: Floats = np.where(places >= 0, counts.gains[places], 0.0) + backoffs * shorter
    return found
