"""The tokenizer of a model folder, settled so that stock pipelines make the very batches that are trained on."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from bonafide.pretrained.model_files import read_object
from bonafide.project.arrays import Ints
from bonafide.project.errors import InputError
from bonafide.project.files import write_json

PROBE = ("it was a fine day", "fine words do not make a day", "it was a fine day, and then it rained for a week")
PROBE_LENGTH = 40
INPUTS = ("input_ids", "attention_mask")


def load(source: Path) -> Any:
    """The tokenizer in `source`, the fast one if there is one, with a token to pad with."""
    return _read_processor(source)[0]


def _read_processor(source: Path) -> tuple[Any, bool]:
    """The tokenizer, and whether its files name no token to pad with."""
    stats = [(path.name, path.stat()) for path in sorted(source.iterdir())]
    return _read(source.resolve(), tuple((name, stat.st_mtime_ns, stat.st_size) for name, stat in stats))


@lru_cache(maxsize=1)  # one of 250,000 words takes a second
def _read(source: Path, _files: tuple[tuple[str, int, int], ...]) -> tuple[Any, bool]:
    from transformers import AutoTokenizer  # 3 s, which validate need not pay

    with no_panic():
        processor = AutoTokenizer.from_pretrained(source, use_fast=True, local_files_only=True)
    lacks = processor.pad_token_id is None
    if lacks:
        processor.pad_token = _stand_in(processor)
    return processor, lacks


def _stand_in(processor: Any) -> str:
    """What to pad with where a tokenizer has no token for it: masked, and so any that is known."""
    found = filter(None, (processor.eos_token, processor.bos_token, processor.unk_token))
    return next(found, None) or str(processor.convert_ids_to_tokens(0))


def settle(folder: Path) -> None:
    """Have stock pipelines make the batches that are trained on: of ids and mask alone, padded on the right.

    A token to pad with is named where there is none. Left is where XLNet pads, whose head reads the last token.
    """
    from transformers import AutoConfig

    path, (processor, lacks) = folder / "tokenizer_config.json", _read_processor(folder)
    config, changes = AutoConfig.from_pretrained(folder, local_files_only=True), {}
    if lacks:
        changes["pad_token"] = processor.pad_token
    side = "left" if getattr(config, "summary_type", "") == "last" else "right"
    if processor.padding_side != side:
        changes["padding_side"] = side
    others = [
        name for name, value in processor("a").items() if name not in INPUTS and (any(value) or not _types(config))
    ]
    if others:
        changes["model_input_names"] = list(INPUTS)
    if changes:
        write_json(path, (read_object(path) if path.exists() else {}) | changes)


def _types(config: Any) -> bool:
    """Whether zeros for token types are what the model takes where it gets none: GPT-2 would add a word to each."""
    return bool(getattr(config, "type_vocab_size", 0))


def encode(texts: Sequence[str], processor: Any, max_length: int) -> tuple[list[list[int]], Ints]:
    """Token ids of each text, cut to `max_length` with the special tokens kept, and its uncut length, (n,) int64."""
    if not processor.is_fast:
        return _encode_slowly(list(texts), processor, max_length)
    rust = processor.backend_tokenizer
    rust.no_padding()
    rust.enable_truncation(max_length)
    special = rust.num_special_tokens_to_add(is_pair=False)
    with no_panic():
        encoded = rust.encode_batch(list(texts))
    rust.no_truncation()
    lengths = [len(e.ids) + sum(len(rest.ids) - special for rest in e.overflowing) for e in encoded]
    return [e.ids for e in encoded], np.array(lengths, dtype=np.int64)


@contextmanager
def no_panic() -> Iterator[None]:
    """Raise InputError where the Rust code of tokenizers gives up, of which Python sees no Exception."""
    try:
        yield
    except BaseException as error:
        if type(error).__name__ != "PanicException":
            raise
        words = "base model: tokenizer.json: the tokenizers library gives up on it"
        raise InputError(f"{words}: {' '.join(str(error).split()):.160}") from None


def encode_targets(texts: Sequence[str], processor: Any, max_length: int) -> tuple[list[list[int]], Ints]:
    """As `encode`, for what a model is to write: some mark the language of that."""
    return _encode_slowly(list(texts), processor, max_length, "text_target")


def _encode_slowly(
    texts: list[str], processor: Any, max_length: int, side: str = "text"
) -> tuple[list[list[int]], Ints]:
    """By a tokenizer that is Python: whole, and once more for those that are to be cut."""
    whole = processor(**{side: texts}, verbose=False)["input_ids"] if texts else []
    ids = [
        processor(**{side: text}, truncation=True, max_length=max_length)["input_ids"]
        if len(found) > max_length
        else found
        for text, found in zip(texts, whole, strict=True)
    ]
    return ids, np.array([len(found) for found in whole], dtype=np.int64)


def probe(source: Path) -> list[list[int]]:
    """Texts of different lengths, by the tokenizer in `source`."""
    return encode(PROBE, load(source), PROBE_LENGTH)[0]
