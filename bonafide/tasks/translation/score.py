"""How a translation is measured: BLEU and chrF as sacrebleu has them, and what a model says of the true target.

The columns of the sums are BLEU_SUMS, CHRF_SUMS and OWN_SUMS. Every metric is a function of the sums, so that intervals
and tests are of a corpus's score and not of a mean over sentences.
"""

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from bonafide.project.arrays import Floats
from bonafide.protocol import Facts, Metric, Outputs, Targets

METRICS = (
    Metric("bleu", "BLEU", higher_is_better=True, unit="BLEU"),
    Metric("chrf", "chrF", higher_is_better=True),
    Metric("exact_match", "exact match", higher_is_better=True),
    Metric("nats_per_token", "nats a target token", higher_is_better=False),
    Metric("token_accuracy", "token accuracy", higher_is_better=True),
    Metric("length_error", "length off the references'", higher_is_better=False),
    Metric("unfinished", "share without an end", higher_is_better=False),
    Metric("repeats", "share with repeats", higher_is_better=False),
    Metric("numerals_kept", "numerals kept", higher_is_better=True),
)
RATE = None  # exact match is a rate of few rows: slices are read by BLEU
TARGET = "target"
FIELDS = ("text", "nats", "tokens", "hits", "ended")
"""Of outputs: the translation; the surprise at the true target, its tokens, and how many of them a model that is given
those before puts first; whether the translation came to an end. NaN where a system has none of these."""

BLEU_SUMS = slice(0, 10)
"""Tokens of the output and of the target; n-grams of 1 to 4 tokens that match; those of the output."""
CHRF_SUMS = slice(10, 28)
"""For n-grams of 1 to 6 characters: those of the output, those of the target, those that match."""
OWN_SUMS = slice(28, 37)
"""1; is the target; has a loop that the target lacks; numerals of the target; those that are kept; the four FIELDS."""

TOKENIZERS = {"zh": "zh"} | dict.fromkeys(("ja", "th", "lo", "my", "km"), "char")
"""sacrebleu's by language; 13a for all others: it would take a sentence without spaces for one word."""
LOOP = re.compile(r"(?<!\S)(\S+(?: \S+){0,7}?)(?: \1){2,}(?!\S)")
"""One to eight tokens three times in succession."""
THOUSANDS = re.compile(r"(?<=\d),(?=\d{3})")


def settings(params: Any) -> Facts:
    """The tokenizer, and sacrebleu's signatures, by which others see whether their scores compare with these."""
    from sacrebleu.metrics.bleu import BLEU
    from sacrebleu.metrics.chrf import CHRF

    tokenizer = TOKENIZERS.get(params.task.target_language, "13a")
    found = {"BLEU": BLEU(tokenize=tokenizer, references=[[""]]), "chrF2": CHRF(references=[[""]])}
    return {"tokenizer": tokenizer, "signatures": [f"{name}|{one.get_signature()}" for name, one in found.items()]}


def comparable(outputs: Outputs, settings: Facts) -> tuple[Outputs, Facts]:
    """As they are; both are scored by one version of sacrebleu, whatever the signatures say."""
    return outputs, {"tokenizer": settings["tokenizer"]}


def row_sums(targets: Targets, outputs: Outputs, settings: Facts) -> Floats:
    """What each row adds to the sums, (n, 37), from texts (n,) and outputs (n,) of FIELDS; NaN where these have NaN.

    Raises ValueError unless outputs are translations.
    """
    from sacrebleu.metrics.bleu import BLEU
    from sacrebleu.metrics.chrf import CHRF

    if outputs.dtype.names != FIELDS or not all(isinstance(text, str) for text in outputs["text"]):
        raise ValueError("no translations")
    texts, truth = outputs["text"].tolist(), targets.tolist()
    found = BLEU(tokenize=settings["tokenizer"], force=True), CHRF()
    parts = [one._extract_corpus_statistics(texts, [truth]) for one in found]  # noqa: SLF001 - public is the score alone
    parts.append([counts(*pair, found[0].tokenizer) for pair in zip(texts, truth, strict=True)])
    return np.hstack([*map(np.array, parts), np.column_stack([outputs[name] for name in FIELDS[1:]])])


def counts(text: str, target: str, tokenizer: Callable[[str], str]) -> tuple[int, ...]:
    """The first five columns of OWN_SUMS."""
    numbers, loops = numerals(target), LOOP.search(tokenizer(text)) and not LOOP.search(tokenizer(target))
    return 1, text == target, bool(loops), numbers.total(), (numbers & numerals(text)).total()


def numerals(text: str) -> Counter[str]:
    """The numbers that are written in digits, of any width, 1,000 as 1000."""
    return Counter(re.findall(r"\d+", THOUSANDS.sub("", unicodedata.normalize("NFKC", text))))


def metrics(sums: Floats, settings: Facts) -> dict[str, Floats]:  # noqa: ARG001
    """Each metric (...) of sums (..., 37), BLEU and chrF of 100; NaN where there is nothing of what is measured.

    `length_error` is by how much the ratio of BLEU's tokens to the references' is off 1; `repeats` the share of rows
    with a loop that the target lacks; `numerals_kept` the share of the target's numbers in digits that the output has.
    """
    rows, exact, loops, numbers, kept, nats, tokens, hits, ended = np.moveaxis(sums[..., OWN_SUMS], -1, 0)
    return {
        "bleu": bleu(sums[..., BLEU_SUMS]),
        "chrf": chrf(sums[..., CHRF_SUMS]),
        "exact_match": exact / rows,
        "nats_per_token": ratio(nats, tokens, tokens > 0),
        "token_accuracy": ratio(hits, tokens, tokens > 0),
        "length_error": abs(ratio(sums[..., 0], sums[..., 1], sums[..., 1] > 0) - 1),
        "unfinished": 1 - ended / rows,
        "repeats": loops / rows,
        "numerals_kept": ratio(kept, numbers, numbers > 0),
    }


def ratio(part: Floats, whole: Floats, where: Any, otherwise: float = math.nan) -> Floats:
    """`part` of `whole`, and `otherwise` elsewhere."""
    found: Floats = np.divide(part, whole, out=np.full(np.shape(part), otherwise), where=where)
    return found


def bleu(sums: Floats) -> Floats:
    """BLEU (...) of sums (..., 10), to the bit what sacrebleu's `corpus_score` says.

    100 x brevity x the geometric mean of four precisions (Papineni et al. 2002); where none of an order match, there
    match 1/2, 1/4, ... of an n-gram, halved for each such order (sacrebleu's smoothing `exp`); 0 where no word matches.
    """
    length, reference, matches, totals = sums[..., 0], sums[..., 1], sums[..., 2:6], sums[..., 6:]
    halved = 2.0 ** np.cumsum(matches == 0, axis=-1)
    smoothed = np.where(matches > 0, totals, halved * totals)
    precisions = ratio(np.where(matches > 0, 100 * matches, 100.0), smoothed, totals > 0, 0.0)
    excess = ratio(reference, length, matches.any(axis=-1), math.inf)
    found: Floats = brevity_and_mean(excess, *np.moveaxis(precisions, -1, 0))
    return found


@partial(np.vectorize, otypes=[np.float64])
def brevity_and_mean(excess: float, *precisions: float) -> float:
    """A corpus's score, in Python's floats as sacrebleu's: numpy's exp and log may differ in the last bit."""
    if not all(precisions):
        return 0.0
    mean = math.exp(sum(map(math.log, precisions)) / len(precisions))
    return math.exp(min(0.0, 1 - excess)) * mean


def chrf(sums: Floats) -> Floats:
    """chrF2 (...) of sums (..., 18), to the bit what sacrebleu's `corpus_score` says.

    100 x F2 of precision and recall, each a mean over the orders that both sides have (Popovic 2015).
    """
    ours, theirs, matching = np.moveaxis(sums.reshape(*sums.shape[:-1], -1, 3), -1, 0)
    there = (ours > 0) & (theirs > 0)
    orders = there.sum(axis=-1)
    precision, recall = (
        ratio(np.cumsum(ratio(matching, side, there, 0.0), axis=-1)[..., -1], orders, orders > 0, 0.0)
        for side in (ours, theirs)
    )
    return 100 * ratio(5 * precision * recall, 4 * precision + recall, precision + recall > 0, 0.0)
