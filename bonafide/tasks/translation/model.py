"""A translator: an encoder-decoder of transformers, the search for what it writes, and what it says of the truth."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bonafide.forward import pairs
from bonafide.forward.inference import load as load_model
from bonafide.forward.inference import predict_all
from bonafide.forward.pairs import Pairs
from bonafide.forward.token_losses import nats_and_hits
from bonafide.generation.beam import Hypothesis, best, search
from bonafide.pretrained import tokenizer
from bonafide.project.arrays import Arrays, Floats

SEARCHED = 64  # sources that are searched together: what fits in a core's cache with 4 beams
OUTPUTS = np.dtype([("text", object), *((name, np.float64) for name in ("nats", "tokens", "hits", "ended"))])
"""The translation; of the target, given token by token, the surprise in nats, the tokens and how many of them were the
first guess; 1 where the translation came to its end, 0 where it was cut."""


@dataclass(frozen=True)
class Translator:
    """A trained model and its tokenizer."""

    model: Any
    processor: Any

    def read(self, ids: Sequence[Any]) -> list[str]:
        """Token ids as people read them."""
        texts: list[str] = self.processor.batch_decode(ids, skip_special_tokens=True)
        return [text.strip() for text in texts]


def load(folder: Path) -> Translator:
    """A trained model that takes packed batches if it can, and padded ones if not."""
    model = stock(folder)
    pairs.enable(model)
    return Translator(model, tokenizer.load(folder))


def stock(folder: Path) -> Any:
    """A trained model as transformers loads it."""
    from transformers import AutoModelForSeq2SeqLM

    return load_model(AutoModelForSeq2SeqLM, folder)


def predict(translator: Translator, examples: Arrays) -> npt.NDArray[Any]:
    """What it writes for each source, and what it says of each target: (n,) of `OUTPUTS`."""
    split = Pairs(**examples)
    sums = predict_all(translator.model, split, outputs, pairs.make_batch)
    texts, chosen = translate(translator, sources(split))
    found = np.zeros(len(split), dtype=OUTPUTS)
    found["text"], found["ended"] = texts, [one.ended for one in chosen]
    found["nats"], found["hits"], found["tokens"] = sums[:, 0], sums[:, 1], split.units
    return found


def outputs(model: Any, batch: Any) -> Floats:
    """Of each target: nats and the tokens that were the first guess, (n, 2) float64."""
    return nats_and_hits(model(**batch.inputs), batch)


def sources(split: Pairs) -> list[list[int]]:
    """The token ids of each source."""
    return [ids.tolist() for ids in np.split(split.source_ids, split.source_offsets[1:-1])]


def translate(translator: Translator, ids: Sequence[Sequence[int]]) -> tuple[list[str], list[Hypothesis]]:
    """The best translation of each source, as the model's generation_config.json says: as people read it, and whole."""
    penalty = translator.model.generation_config.length_penalty
    chosen = [best(found, penalty) for found in hypotheses(translator.model, ids)]
    return translator.read([one.tokens for one in chosen]), chosen


def hypotheses(model: Any, ids: Sequence[Sequence[int]]) -> list[list[Hypothesis]]:
    """What the search finds for each source, for any length penalty to choose from."""
    settings = model.generation_config
    return search(model, ids, beams=settings.num_beams, max_new=lambda _tokens: settings.max_new_tokens, batch=SEARCHED)
