"""A few pairs, and what three systems might say of them."""

from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import torch
from transformers import GenerationConfig, MarianConfig, MarianMTModel

from bonafide.pretrained import tokenizer_training
from bonafide.protocol import Split
from bonafide.tasks.translation.score import FIELDS

SOURCES = [
    "I do not like rain.",
    "The train leaves at 7:30.",
    "He bought 3 books and 12 pens.",
    "She has never been there.",
    "Where is the station?",
    "Tom is my friend.",
    "This is all I know.",
    "Nobody came.",
]
TARGETS = [
    "我不喜欢下雨。",
    "火车7:30开。",
    "他买了3本书和12支笔。",
    "她从没去过那里。",
    "车站在哪里？",
    "汤姆是我的朋友。",
    "我只知道这些。",
    "没有人来。",
]
GOOD = [
    "我不喜欢雨。",
    "火车在7:30开。",
    "他买了3本书。",
    "她去过那里。",
    "车站在哪里？",
    "汤姆是我朋友。",
    "这是我知道的。",
    "没人来。",
]
POOR = ["雨", "", "他买书书书书。", "我不知道。", "车站", "Tom is my friend.", "的 的 的 的", "我没有人没有人没有人。"]
PARAMS = SimpleNamespace(
    seed=1,
    task=SimpleNamespace(source_language="en", target_language="zh"),
    evaluate=SimpleNamespace(bootstrap_samples=100),
)


def outputs(texts, nats=np.nan, tokens=np.nan, hits=np.nan, ended=np.nan):
    """Translations (n,) with the same numbers each."""
    kinds = [(name, object if name == "text" else float) for name in FIELDS]
    return np.array([(text, nats, tokens, hits, ended) for text in texts], dtype=kinds)


def split(sources=SOURCES, targets=TARGETS):
    """A split whose tokens are characters, by their code points, and an end."""
    ids = [f"r{i}" for i in range(len(sources))]
    table = pa.table({"id": ids, "source": sources, "target": targets, "group": ids})
    arrays = {"ids": np.array(ids)}
    for side, texts in (("source", sources), ("target", targets)):
        tokens = [[ord(mark) % 97 + 3 for mark in text] + [1] for text in texts]
        arrays[f"{side}_ids"] = np.array([token for row in tokens for token in row], dtype=np.int32)
        arrays[f"{side}_offsets"] = np.cumsum([0, *map(len, tokens)])
    return Split(table, arrays)


def save_model(folder, seed):
    """A Marian in miniature with weights of chance, and a tokenizer, as a training leaves them."""
    torch.manual_seed(seed)
    sides = {"layers": 2, "attention_heads": 2, "ffn_dim": 16}
    config = MarianConfig(
        vocab_size=140,
        d_model=8,
        max_position_embeddings=40,
        init_std=0.5,
        pad_token_id=0,
        eos_token_id=1,
        forced_eos_token_id=None,
        decoder_start_token_id=0,
        **{f"{side}_{name}": value for side in ("encoder", "decoder") for name, value in sides.items()},
    )
    model = MarianMTModel(config)
    model.generation_config = GenerationConfig(
        num_beams=2,
        length_penalty=1.0,
        early_stopping=True,
        max_new_tokens=9,
        pad_token_id=0,
        eos_token_id=1,
        decoder_start_token_id=0,
    )
    model.save_pretrained(folder)
    tokenizer_training.save(tokenizer_training.train_characters([*SOURCES, *TARGETS]), folder, 40)
