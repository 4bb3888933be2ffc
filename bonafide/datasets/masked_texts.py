"""Texts with hidden tokens, laid out as a masked language model reads them, in one part or in two.

They are made of a split's arrays, of n documents with t tokens:

input_ids  (t,) int32, without special tokens, one document after another
offsets    (n + 1,) int64, where each begins
texts      (m + 1,) int64, where each text begins: a document has one or several, and every token is in one
hideable   (t,) bool: neither a special token nor an unknown one
hidden     (h,) int64, ascending: the tokens that evaluation hides
ends       (t,) bool, whether a sentence ends with the token; only where the model learns which part follows another
special    (4,) int64: the token before a text, the one behind each part, the mask, and the vocabulary's size
shares     (3,) float64 of what training hides: how much, and of that behind the mask, and behind another token
keys       (n,) uint64 that evaluation's draws hang on: of the document's text
ids        (n,) of the rows
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from bonafide.datasets.masking import Keys, Tokens, choose, disguise, owners
from bonafide.project.arrays import Arrays, Ints
from bonafide.project.randomness import counted_uniform, hashed_keys

FIELDS = ("nats", "masked", "hits", "next_hits", "next_pairs")  # what is summed over texts
SHOWN = -1  # the target of a token that is not hidden, and the label of a text that is no pair
SPLIT, LABEL, PARTNER, DRAWS = 0, 1, 2, 3  # what is drawn for a text, and how many draws it has


@dataclass(frozen=True, eq=False)
class Texts:
    """Texts as a model reads them, with their special tokens."""

    input_ids: Tokens
    """(tokens,) with hidden tokens replaced, one text after another."""
    offsets: Ints
    """(n + 1,)"""
    targets: Tokens
    """(tokens,) what is hidden there, or SHOWN."""
    documents: Ints
    """(n,) which document of the split each is of, or its first part."""
    ids: npt.NDArray[np.str_]
    """(n,) that document's id."""
    seconds: Ints
    """(n,) the place in the text where its second part begins; its length where it has one part."""
    labels: Ints
    """(n,) 0 where the second part follows the first, 1 where it is another document's, SHOWN where it is not asked."""
    arrays: Arrays
    """What all of them are made of."""

    def __len__(self) -> int:
        """The number of texts."""
        return len(self.labels)

    @cached_property
    def lengths(self) -> Ints:
        """Tokens per text, (n,)."""
        return np.diff(self.offsets)

    @cached_property
    def units(self) -> Ints:
        """Hidden tokens per text, (n,)."""
        return np.add.reduceat(self.targets != SHOWN, self.offsets[:-1], dtype=np.int64)

    @cached_property
    def are_parted(self) -> bool:
        """Whether any has a second part."""
        return bool((self.seconds < self.lengths).any())

    def take(self, rows: Sequence[int] | Ints) -> "Texts":
        """Texts `rows` alone, in that order."""
        rows = np.asarray(rows, dtype=np.int64)
        at, offsets = run(self.offsets[rows], self.lengths[rows]), np.append(0, np.cumsum(self.lengths[rows]))
        of_text = {name: getattr(self, name)[rows] for name in ("documents", "ids", "seconds", "labels")}
        return replace(self, input_ids=self.input_ids[at], targets=self.targets[at], offsets=offsets, **of_text)


class Parts(NamedTuple):
    """Where the parts of m texts lie in a split's tokens."""

    first: Ints
    """(m,) where the first begins."""
    first_length: Ints
    second: Ints
    second_length: Ints
    """(m,) 0 where there is none."""
    labels: Ints
    """As in Texts."""


def for_evaluation(arrays: Arrays) -> Texts:
    """A split's texts with the tokens hidden that evaluation hides; then its pairs, whole, where those are learned."""
    shown, targets = np.array(arrays["input_ids"]), np.full(len(arrays["input_ids"]), SHOWN, dtype=np.int32)
    if "ends" not in arrays:
        return lay_out(arrays, *hide(arrays, shown, targets), whole(arrays))
    halves, pairs = pair(arrays, arrays["keys"])
    asked = np.flatnonzero(pairs.labels != SHOWN)
    plain = lay_out(arrays, shown, targets, pairs).take(asked)
    return join(lay_out(arrays, *hide(arrays, shown, targets), halves), plain)


def hide(arrays: Arrays, shown: Tokens, targets: Tokens) -> tuple[Tokens, Tokens]:
    """Both with what evaluation hides."""
    shown, targets, hidden = shown.copy(), targets.copy(), arrays["hidden"]
    targets[hidden], shown[hidden] = shown[hidden], arrays["special"][2]
    return shown, targets


def for_training(arrays: Arrays, seed: int, epoch: int) -> Texts:
    """The same texts with other tokens hidden, and other pairs, by (seed, epoch, row id)."""
    tokens, offsets = np.asarray(arrays["input_ids"]), arrays["offsets"]
    document = np.repeat(np.arange(len(arrays["ids"])), np.diff(offsets))
    names = [f"{epoch} {name}" for name in arrays["ids"].tolist()]
    keys, counters = hashed_keys(names, seed)[document], np.arange(len(tokens)) - offsets[document]
    share, masked, replaced = arrays["shares"].tolist()
    hidden = choose(keys, counters, arrays["texts"], arrays["hideable"], share)
    ordinary = np.unique(tokens[arrays["hideable"]])
    shown = disguise(tokens, hidden, keys, counters, int(arrays["special"][2]), ordinary, (masked, replaced))
    targets = np.full(len(tokens), SHOWN, dtype=np.int32)
    targets[hidden] = tokens[hidden]
    pairs = pair(arrays, hashed_keys([f"pair {name}" for name in names], seed))[1] if "ends" in arrays else None
    return lay_out(arrays, shown, targets, pairs or whole(arrays))


def whole(arrays: Arrays) -> Parts:
    """Texts in one part."""
    lengths, none = np.diff(arrays["texts"]), np.zeros(len(arrays["texts"]) - 1, dtype=np.int64)
    return Parts(arrays["texts"][:-1], lengths, none, none, none + SHOWN)


def pair(arrays: Arrays, keys: Keys) -> tuple[Parts, Parts]:
    """Texts cut in two behind a sentence, if they can be; and the same, half of them with another's second part.

    `keys` (n,) of the documents are what cut, label and partner hang on. The other's part is cut to the own one's
    length, so that length tells nothing. A text that cannot be cut is in one part, and no pair.
    """
    begins, lengths = arrays["texts"][:-1], np.diff(arrays["texts"])
    document = owners(arrays["offsets"], begins)
    number = np.arange(len(begins)) - np.searchsorted(begins, arrays["offsets"][document])
    split, label, partner = (counted_uniform(keys[document], number * DRAWS + draw) for draw in (SPLIT, LABEL, PARTNER))
    cuts = cut_places(arrays, split)
    firsts = np.where(cuts > 0, cuts - begins, lengths)
    halves = Parts(begins, firsts, cuts, lengths - firsts, np.full(len(begins), SHOWN, dtype=np.int64))
    others = partners(np.flatnonzero(cuts > 0), document, partner)
    labels = np.where((cuts == 0) | (others < 0), SHOWN, (label < 0.5).astype(np.int64))
    chosen = np.where(labels == 1, others, np.arange(len(begins)))
    seconds = np.minimum(halves.second_length[chosen], halves.second_length)
    return halves, Parts(begins, firsts, cuts[chosen], seconds, labels)


def cut_places(arrays: Arrays, drawn: npt.NDArray[np.float64]) -> Ints:
    """Of each text a place behind a sentence, as `drawn` (m,) from [0, 1) says, (m,); 0 where none lies inside it."""
    places = np.flatnonzero(arrays["ends"][:-1]) + 1
    text = owners(arrays["texts"], places)
    inside = places > arrays["texts"][text]
    places, counts = places[inside], np.bincount(text[inside], minlength=len(drawn))
    chosen = np.cumsum(counts) - counts + (drawn * counts).astype(np.int64)
    return np.where(counts > 0, np.append(places, 0)[np.minimum(chosen, len(places))], 0)


def partners(able: Ints, document: Ints, drawn: npt.NDArray[np.float64]) -> Ints:
    """For each text another of `able` (ascending), of another document, (m,); SHOWN where there is none."""
    first, behind = (np.searchsorted(document[able], document, side=side) for side in ("left", "right"))
    others = len(able) - (behind - first)
    chosen = (drawn * others).astype(np.int64)
    chosen += np.where(chosen >= first, behind - first, 0)
    return np.where(others > 0, np.append(able, SHOWN)[np.minimum(chosen, len(able))], SHOWN)


def lay_out(arrays: Arrays, shown: Tokens, targets: Tokens, parts: Parts) -> Texts:
    """Texts with their special tokens, of a split's tokens as they are shown and their targets, (t,) each."""
    before, behind, *_ = arrays["special"]
    lengths = parts.first_length + parts.second_length + 2 + (parts.second_length > 0)
    offsets = np.append(0, np.cumsum(lengths))
    seconds = np.where(parts.second_length > 0, parts.first_length + 2, lengths)
    input_ids, laid = np.full(offsets[-1], behind, dtype=np.int32), np.full(offsets[-1], SHOWN, dtype=np.int32)
    input_ids[offsets[:-1]] = before
    for place, begin, length in (
        (offsets[:-1] + 1, parts.first, parts.first_length),
        (offsets[:-1] + seconds, parts.second, parts.second_length),
    ):
        to, source = run(place, length), run(begin, length)
        input_ids[to], laid[to] = shown[source], targets[source]
    document = owners(arrays["offsets"], parts.first)
    return Texts(input_ids, offsets, laid, document, arrays["ids"][document], seconds, parts.labels, arrays)


def join(one: Texts, other: Texts) -> Texts:
    """The texts of both."""
    names = ("input_ids", "targets", "documents", "ids", "seconds", "labels")
    parts = {name: np.concatenate([getattr(one, name), getattr(other, name)]) for name in names}
    offsets = np.append(one.offsets, other.offsets[1:] + one.offsets[-1])
    return Texts(offsets=offsets, arrays=one.arrays, **parts)


def run(begins: Ints, lengths: Ints) -> Ints:
    """The numbers from each begin on, as many as its length, end to end."""
    ends = np.cumsum(lengths)
    return np.arange(ends[-1] if len(ends) else 0) + np.repeat(begins - ends + lengths, lengths)
