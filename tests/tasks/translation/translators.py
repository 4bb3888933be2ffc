"""Encoder-decoders in miniature, pretrained in name only, and a project's folders to train them in."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
import transformers

from bonafide.datasets import ragged
from bonafide.params.load import load_params
from bonafide.pretrained import tokenizer_training
from bonafide.project.paths import BASE_MODEL, TOKENIZED
from bonafide.tasks.translation import encode, train
from bonafide.tasks.translation.params import Architecture, Decoding
from tests.tasks.jobs import sentences

RECIPE = load_params(Path(__file__).parents[3] / "recipes/translation.yaml")
ROWS = sentences(120)
TABLE = pa.table({name: [row[name] for row in ROWS] for name in ("source", "target")} | {"id": [*map(str, range(120))]})
SIZES = Architecture(kind="marian", width=32, layers=2, heads=2, feed_forward=64, positions=40)
BART = {"d_model": 32, "max_position_embeddings": 40, "dropout": 0.1}
BART |= {f"{side}_{name}": 2 for side in ("encoder", "decoder") for name in ("layers", "attention_heads")}
BART |= {"encoder_ffn_dim": 64, "decoder_ffn_dim": 64}
T5 = {"d_model": 32, "d_kv": 16, "d_ff": 64, "num_layers": 2, "num_heads": 2}
KINDS = {"marian": BART, "bart": BART, "mbart": BART, "m2m_100": BART, "t5": T5}


def params(**sections):
    """The recipe with other values in some sections."""
    small = {"tokenize": {"vocabulary_size": 200, "max_length": 24}}
    small["train"] = {"architecture": SIZES, "decoding": Decoding(beams=2, length_penalties=[1.0], tried_rows=9)}
    changed = {name: small.get(name, {}) | sections.get(name, {}) for name in {*small, *sections}}
    return replace(RECIPE, **{name: replace(getattr(RECIPE, name), **values) for name, values in changed.items()})


def pretrained(kind, folder):
    """A base model of transformers' architecture `kind` with random weights, and a tokenizer that fits it."""
    if kind == "mbart":
        words = sorted({mark for row in ROWS for side in ("source", "target") for mark in row[side]} - {" "})
        pieces = [*("<s>", "<pad>", "</s>", "<unk>"), "▁", *words]
        codes = transformers.models.mbart.tokenization_mbart.FAIRSEQ_LANGUAGE_CODES
        processor = transformers.MBartTokenizer(vocab=[(piece, -1.0) for piece in [*pieces, *codes, "<mask>"]])
        processor.save_pretrained(folder)
        ids = {"pad_token_id": 1, "eos_token_id": 2, "bos_token_id": 0, "decoder_start_token_id": 2}
    else:
        texts = [row[side] for row in ROWS for side in ("source", "target")]
        tokenizer_training.save(tokenizer_training.train_bpe(texts, 200), folder, 40)
        ids = {"pad_token_id": 0, "eos_token_id": 1, "decoder_start_token_id": 0}
        processor = transformers.AutoTokenizer.from_pretrained(folder)
    config = transformers.AutoConfig.for_model(kind, vocab_size=len(processor), **KINDS[kind], **ids)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        transformers.AutoModelForSeq2SeqLM.from_config(config).save_pretrained(folder)
    return folder


def tokenize(found):
    """data/tokenized as the stage leaves it, of 100 rows to train on and 20 for validation."""
    processor = encode.prepare(BASE_MODEL, TABLE, found, TOKENIZED)
    for name, rows in {"train": TABLE.slice(0, 100), "validation": TABLE.slice(100)}.items():
        ragged.write(TOKENIZED / name, encode.encode(rows, processor, found)[0])
    return processor


def save_trained(folder, steps=120):
    """A model from nothing, of some seconds' training by torch alone, with its tokenizer, as train leaves it."""
    processor = tokenize(params())
    torch.manual_seed(1)
    found = train.build(params()).train()
    optimizer = torch.optim.AdamW(found.parameters(), lr=0.005, weight_decay=0)
    split = train.examples(TOKENIZED / "train")
    for step in range(steps):
        rows = np.random.default_rng(step).permutation(len(split))[:16]
        batch = train.collate(split, rows, found)
        loss = train.cross_entropy(found(**batch.inputs), batch).sum() / sum(batch.counts)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    found.save_pretrained(folder)
    processor.save_pretrained(folder)
