"""What a masked language model has to beat: its own base as it came, the neighbours of a token, how common it is.

The neighbours are counted on train. With l and r the tokens on both sides of w, taken as independent given w,

    p(w | l, r) = p(w | l) p(w | r) / p(w), divided by the sum over all w

where each of the three is counted with absolute discounting (Ney et al. 1994): what is taken from a count is given out
as the shorter context says, and in the end evenly. A neighbour that is hidden itself tells nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.sparse import csr_array

from bonafide.forward import language_modelling
from bonafide.pretrained import heads
from bonafide.pretrained.model_files import is_there
from bonafide.project.arrays import Arrays, Floats, Ints
from bonafide.project.paths import BASE_MODEL
from bonafide.protocol import Outputs, Split, System
from bonafide.tasks.masked_lm import model as own
from bonafide.tasks.masked_lm.model import by_document

BASELINES = (  # whoever goes on with a base has it already
    System("base", "the base", "the base model as it came"),
    System("neighbours", "the neighbours", "what stands between two tokens most often, by train's counts"),
    System("unigram", "unigram", "how common each token is in train"),
)
HEAD = "MASKED_LM"
DISCOUNT = 0.75  # of each count: Kneser and Ney's own, to which results are not sensitive
CELLS = 4_000_000  # probabilities held at once: 32 MB


def predict(splits: Mapping[str, Split], params: Any) -> dict[str, dict[str, Outputs]]:  # noqa: ARG001
    """The sums of each document, (n,) of FIELDS, by each baseline, on every split but train."""
    examples = {name: split.examples for name, split in splits.items() if name != "train"}
    counts = count(splits["train"].examples)
    return {
        **frozen(examples),
        "neighbours": {name: between(counts, found) for name, found in examples.items()},
        "unigram": {name: alone(counts, found) for name, found in examples.items()},
    }


def frozen(examples: Mapping[str, Arrays]) -> dict[str, dict[str, Outputs]]:
    """The base model, if there is one with a head that was trained."""
    if not is_there(BASE_MODEL):
        return {}
    model, info = heads.build(heads.read_config(BASE_MODEL, HEAD), HEAD, BASE_MODEL)
    if info["missing_keys"]:
        return {}
    language_modelling.enable(model)
    return {"base": {name: own.predict(model, found) for name, found in examples.items()}}


@dataclass(frozen=True)
class Counts:
    """Probabilities of v tokens."""

    unigram: Floats
    """(v,)"""
    after: "Conditional"
    """By the token on the left."""
    before: "Conditional"
    """By the token on the right."""


@dataclass(frozen=True)
class Conditional:
    """p(w | c) = gains[c, w] + backoffs[c] p(w), for v tokens, the edge of a document, v, and what is hidden, v + 1."""

    gains: csr_array
    """(v + 2, v)"""
    backoffs: Floats
    """(v + 2,)"""

    def rows(self, contexts: Ints, unigram: Floats) -> Floats:
        """The probabilities of all tokens after each context, (n, v)."""
        found: Floats = self.gains[contexts].toarray() + self.backoffs[contexts, None] * unigram
        return found


def count(train: Arrays) -> Counts:
    """Unigrams, and neighbours on both sides; an edge of a document is the neighbour of its first and last token."""
    tokens, vocabulary = np.asarray(train["input_ids"], dtype=np.int64), int(train["special"][3])
    counts = np.bincount(tokens, minlength=vocabulary)
    spread = DISCOUNT * np.count_nonzero(counts) / len(tokens) / vocabulary
    unigram = np.maximum(counts - DISCOUNT, 0) / len(tokens) + spread
    left, right = sides(tokens, train["offsets"], vocabulary)
    return Counts(unigram, conditional(left, tokens, vocabulary), conditional(right, tokens, vocabulary))


def sides(tokens: Ints, offsets: Ints, edge: int) -> tuple[Ints, Ints]:
    """The token left of each, and right, (tokens,) each; at the end of a document `edge`."""
    left, right = np.roll(tokens, 1), np.roll(tokens, -1)
    known = offsets[offsets < len(tokens)]
    left[known], right[known - 1] = edge, edge
    return left, right


def conditional(contexts: Ints, tokens: Ints, vocabulary: int) -> Conditional:
    """Of pairs of a context and a token, (n,) each."""
    shape = vocabulary + 2, vocabulary
    pairs = csr_array((np.ones(len(tokens)), (contexts, tokens)), shape=shape)  # equal ones are added
    pairs.sum_duplicates()
    totals, kinds = np.asarray(pairs.sum(axis=1)), np.diff(pairs.indptr)
    known = np.maximum(totals, 1)
    pairs.data = (pairs.data - DISCOUNT) / np.repeat(known, kinds)
    return Conditional(pairs, np.where(totals > 0, DISCOUNT * kinds / known, 1.0))


def between(counts: Counts, examples: Arrays) -> Outputs:
    """What both neighbours of each hidden token say, by document."""
    tokens, hidden = np.asarray(examples["input_ids"], dtype=np.int64), examples["hidden"]
    v = len(counts.unigram)
    seen = tokens.copy()
    seen[hidden] = v + 1
    left, right = (side[hidden] for side in sides(seen, examples["offsets"], v))
    nats, hits = np.empty(len(hidden)), np.empty(len(hidden))
    for start in range(0, len(hidden), size := max(1, CELLS // v)):
        part = slice(start, start + size)
        scores = counts.after.rows(left[part], counts.unigram) * counts.before.rows(right[part], counts.unigram)
        scores /= counts.unigram
        truth = tokens[hidden[part]]
        nats[part] = np.log(scores.sum(axis=1)) - np.log(scores[np.arange(len(truth)), truth])
        hits[part] = scores.argmax(axis=1) == truth
    return sum_up(examples, nats, hits)


def alone(counts: Counts, examples: Arrays) -> Outputs:
    """What the counts of single tokens say, by document."""
    truth = examples["input_ids"][examples["hidden"]]
    return sum_up(examples, -np.log(counts.unigram[truth]), truth == counts.unigram.argmax())


def sum_up(examples: Arrays, nats: Floats, hits: Any) -> Outputs:
    """The sums of each document, of its hidden tokens' (h,); no baseline tells pairs."""
    none = np.zeros(len(nats))
    document = np.searchsorted(examples["offsets"], examples["hidden"], side="right") - 1
    return by_document(np.stack([nats, none + 1, hits, none, none], axis=1), document, len(examples["ids"]))
