"""A masked language model: texts with hidden tokens in, what it says of the hidden ones out."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bonafide.datasets.masked_texts import FIELDS, SHOWN, Texts, for_evaluation, run
from bonafide.forward import language_modelling
from bonafide.forward.batch import Batch
from bonafide.forward.inference import load as load_model
from bonafide.forward.inference import predict_all
from bonafide.forward.token_losses import counted_logits, nats_and_hits
from bonafide.project.arrays import Arrays, Bools, Floats, Ints
from bonafide.protocol import Outputs

BOTH = "BertForPreTraining"  # the one class that also tells whether a part follows another
BEST = 5  # guesses for a hidden token


def load(folder: Path) -> Any:
    """A trained model that takes packed batches if it can, and padded ones if not."""
    model = stock(folder)
    language_modelling.enable(model)
    return model


def stock(folder: Path) -> Any:
    """A trained model as transformers loads it."""
    from transformers import AutoConfig, AutoModelForMaskedLM, AutoModelForPreTraining

    config = AutoConfig.from_pretrained(folder, local_files_only=True)
    return load_model(AutoModelForPreTraining if config.architectures == [BOTH] else AutoModelForMaskedLM, folder)


def predict(model: Any, examples: Arrays) -> Outputs:
    """The sums of each document, (n,) of FIELDS, float64."""
    texts = for_evaluation(examples)
    return by_document(predict_all(model, texts, outputs, collate), texts.documents, len(examples["ids"]))


def by_document(sums: Floats, documents: Ints, count: int) -> Outputs:
    """The sums of `count` documents, (count,) of FIELDS, from those of their texts (n, 5)."""
    totals = np.zeros((count, len(FIELDS)))
    np.add.at(totals, documents, sums)
    return np.array([tuple(row) for row in totals.tolist()], dtype=[(name, np.float64) for name in FIELDS])


def collate(texts: Texts, rows: Ints, model: Any) -> Batch:
    """A batch of texts `rows`, which ascend in length; the head is for hidden tokens only."""
    lengths = texts.lengths[rows]
    at = run(texts.offsets[rows], lengths)
    ids, targets = (flat[at].astype(np.int64) for flat in (texts.input_ids, texts.targets))
    places = at - np.repeat(texts.offsets[rows], lengths)
    types = {"token_type_ids": (places >= np.repeat(texts.seconds[rows], lengths)).astype(np.int64)}
    return language_modelling.make_batch(
        model,
        ids,
        lengths,
        targets != SHOWN,
        targets[targets != SHOWN],
        more=types if texts.are_parted else None,
        labels=texts.labels[rows],
    )


def outputs(model: Any, batch: Batch) -> Floats:
    """Of each text of a batch FIELDS, (n, 5) float64."""
    found = model(**batch.inputs)
    told, labels = nats_and_hits(found, batch), batch.labels.cpu().numpy()
    asked = right = labels != SHOWN
    if asked.any():
        right = asked & (found.seq_relationship_logits.argmax(dim=-1).cpu().numpy() == labels)
    columns = (told[:, 0], np.array(batch.counts), told[:, 1], right, asked)
    return np.stack(columns, axis=1).astype(np.float64)


class Told(NamedTuple):
    """What a model says of h hidden tokens."""

    nats: Floats
    """(h,) of the truth."""
    hits: Bools
    """(h,) whether the first guess is right."""
    guesses: Ints
    """(h, BEST) tokens, the likeliest first."""
    probabilities: Floats
    """(h, BEST) of these."""


def tell(model: Any, texts: Texts) -> Told:
    """What a model says of each hidden token of texts, in their order."""
    most = int(texts.units.max(initial=0))

    def view(model: Any, batch: Batch) -> Floats:
        logits = counted_logits(model(**batch.inputs), batch).double().log_softmax(dim=-1)
        best, truth = logits.topk(BEST), logits.gather(1, batch.targets[:, None])
        columns = [column.cpu().numpy() for column in (truth, best.indices, best.values.exp())]
        found = np.zeros((len(batch.counts), most, 1 + 2 * BEST))  # as many for each text
        found[np.arange(most) < np.array(batch.counts)[:, None]] = np.concatenate(columns, axis=1)
        return found

    found = predict_all(model, texts, view, collate)[np.arange(most) < texts.units[:, None]]
    guesses = found[:, 1 : 1 + BEST].astype(np.int64)
    return Told(-found[:, 0], guesses[:, 0] == texts.targets[texts.targets != SHOWN], guesses, found[:, 1 + BEST :])
