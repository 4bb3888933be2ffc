"""What a translation model has to beat: its own base, the most similar sentence that was translated, single words."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from bonafide.datasets.language import cutter, is_spaceless
from bonafide.pretrained.model_files import is_there
from bonafide.project.arrays import Ints
from bonafide.project.paths import BASE_MODEL, MODEL
from bonafide.protocol import Outputs, Split, System
from bonafide.tasks.translation import model

BASELINES = (
    System("base", "the base model", "the base model as it came, searched as ours"),
    System("nearest", "the nearest neighbour", "the translation of the most similar source that was trained on"),
    System("words", "word by word", "the likeliest translation of each word (IBM's model 1)"),
    System("copy", "copying", "the source as it is"),
)
SIMILARITIES = 10_000_000  # held at once: 80 MB
ROUNDS = 5  # of expectation and maximisation
MAX_LINKS = 30_000_000  # of a source word to a target word of its pair: 2 GB; the pairs after these teach no word


def predict(splits: Mapping[str, Split], params: Any) -> dict[str, dict[str, Outputs]]:  # noqa: ARG001
    """Each baseline's translations (n,) of each split but train; `base` only where there is a base model."""
    sources = {name: split.table["source"].to_pylist() for name, split in splits.items()}
    train, targets = sources.pop("train"), splits["train"].table["target"].to_pylist()
    found = {
        "nearest": nearest(train, targets, sources),
        "words": word_by_word(train, targets, sources),
        "copy": sources,
    }
    outputs = {system: {name: as_outputs(rows) for name, rows in by.items()} for system, by in found.items()}
    if is_there(BASE_MODEL):
        base = as_it_came()
        outputs["base"] = {name: model.predict(base, splits[name].examples) for name in sources}
    return outputs


def as_outputs(texts: Sequence[str]) -> Outputs:
    """Translations (n,) of a system that says nothing of the true targets."""
    found = np.full(len(texts), np.nan, dtype=model.OUTPUTS)
    found["text"] = texts
    return found


def as_it_came() -> Any:
    """The base model, with the trained one's tokenizer and search: where both start, how many beams, what penalty."""
    trained, base = model.load(MODEL), model.load(BASE_MODEL)
    base.model.generation_config = trained.model.generation_config
    base.model.config.decoder_start_token_id = trained.model.config.decoder_start_token_id
    return replace(base, processor=trained.processor)


def nearest(train: Sequence[str], targets: Sequence[str], sources: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """The target of the train source with the highest cosine of TF-IDF over 2 to 4 characters; of equals the first."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectorizer = TfidfVectorizer(analyzer="char", ngram_range=(2, 4), sublinear_tf=True)
    known = vectorizer.fit_transform(train).T.tocsr()
    found, size = {}, max(1, SIMILARITIES // len(train))
    for name, texts in sources.items():
        blocks = (vectorizer.transform(texts[start : start + size]) for start in range(0, len(texts), size))
        found[name] = [targets[row] for block in blocks for row in (block @ known).toarray().argmax(axis=1)]
    return found


def word_by_word(
    train: Sequence[str], targets: Sequence[str], sources: Mapping[str, Sequence[str]]
) -> dict[str, list[str]]:
    """Each source word's likeliest target word, whatever its case; a word that train lacks as it is."""
    cut, space = cutter(train), "" if is_spaceless(targets) else " "
    pairs = [
        (["", *cut(text.lower())], words) for text, words in zip(train, map(cutter(targets), targets), strict=True)
    ]
    links = np.cumsum([len(ours) * len(theirs) for ours, theirs in pairs])
    known = align(*zip(*pairs[: np.searchsorted(links, MAX_LINKS) + 1], strict=True))
    return {
        name: [space.join(known.get(word.lower(), word) for word in cut(text)) for text in texts]
        for name, texts in sources.items()
    }


def align(sources: Sequence[Sequence[str]], targets: Sequence[Sequence[str]]) -> dict[str, str]:
    """The likeliest target word of each source word by IBM's model 1 (Brown et al. 1993, 4.1); of equals the first.

    A target word comes from any source word of its pair, each as likely before it is seen; EM finds p(target | source)
    from a uniform one. The links of all pairs lie end to end, so that a round is three sums by key.
    """
    (names, ids, lengths), (words, wanted, counts) = number(sources), number(targets)
    each = np.repeat(lengths, counts)  # links of each target word
    ends = np.repeat(np.arange(len(wanted)), each)
    starts = np.repeat(np.cumsum(lengths) - lengths, counts) - (np.cumsum(each) - each)
    keys, links = np.unique(ids[np.arange(len(ends)) + starts[ends]] * len(words) + wanted[ends], return_inverse=True)
    given, likely = keys // len(words), np.ones(len(keys))
    for _ in range(ROUNDS):
        shares = likely[links]
        expected = np.bincount(links, shares / np.bincount(ends, shares)[ends])
        likely = expected / np.bincount(given, expected)[given]
    order = np.lexsort((-likely, given))
    best = keys[order[np.unique(given[order], return_index=True)[1]]]
    return {names[key // len(words)]: words[key % len(words)] for key in best.tolist()}


def number(texts: Sequence[Sequence[str]]) -> tuple[list[str], Ints, Ints]:
    """The different words, which of them each word is, end to end, and how many words each text has."""
    names, ids = np.unique([word for text in texts for word in text], return_inverse=True)
    return names.tolist(), ids, np.array([len(text) for text in texts])
