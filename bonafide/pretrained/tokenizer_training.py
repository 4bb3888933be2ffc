"""A tokenizer made from a train split: the same texts give the same bytes, whatever the threads and hash seeds.

Ids: 0 pad, 1 eos, 2 unk (3 mask, 4 cls, 5 sep where `masks`), then reserved ones that no text has, then pieces. Texts
are composed (NFC) and nothing else: NFKC, which is usual, would turn the wide marks of a Chinese text into narrow ones,
in a fifth of its sentences, and what a model then writes matches no reference.
"""

import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from bonafide.project.errors import InputError
from bonafide.project.files import write_json, write_text

PAD, EOS, UNKNOWN, MASK, FIRST, SEPARATOR = "<pad>", "</s>", "<unk>", "<mask>", "<cls>", "<sep>"
RESERVED = 64
"""Ids that are kept free: a model's vocabulary can then be added to without its other ids changing."""
MIN_PAIRS = 2  # times that two pieces must stand side by side to be merged
NAMES = {"pad_token": PAD, "eos_token": EOS, "unk_token": UNKNOWN}
MASK_NAMES = {"mask_token": MASK, "cls_token": FIRST, "sep_token": SEPARATOR}


def train_bpe(texts: Sequence[str], size: int, reserved: int = RESERVED, *, masks: bool = False) -> Tokenizer:
    """Byte pair encoding (Sennrich et al. 2016) of `size` ids in all, each mark of punctuation a piece of its own.

    A space is written as ▁ before its word. Every character of `texts` is a piece, so that nothing of them is unknown;
    raise InputError where `size` has no room for them.
    """
    special = special_tokens(reserved, masks=masks)
    alphabet = {mark for text in texts for mark in unicodedata.normalize("NFC", text) if mark != " "} | {"▁"}
    least = len(special) + len(alphabet)
    if size < least:
        raise InputError(
            f"params.yaml: tokenize.vocabulary_size: {size} is below {least}: {len(special)} special tokens and the "
            f"{len(alphabet)} characters of train"
        )
    tokenizer = Tokenizer(models.BPE(unk_token=UNKNOWN))
    words = pre_tokenizers.Metaspace()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([words, pre_tokenizers.Punctuation("isolated")])
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.normalizer = normalizers.NFC()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=special,
        initial_alphabet=sorted(alphabet),
        min_frequency=MIN_PAIRS,
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return finish(tokenizer, masks=masks)


def train_characters(texts: Iterable[str], reserved: int = RESERVED, *, masks: bool = False) -> Tokenizer:
    """Each character of `texts` a piece, blanks and line ends too, in the order of their code points."""
    marks = sorted({mark for text in texts for mark in unicodedata.normalize("NFC", text)})
    vocabulary = {piece: place for place, piece in enumerate([*special_tokens(reserved, masks=masks), *marks])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    tokenizer.decoder = decoders.Fuse()
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.add_special_tokens(special_tokens(reserved, masks=masks))
    return finish(tokenizer, masks=masks)


def special_tokens(reserved: int, *, masks: bool) -> list[str]:
    """Those that no text is cut into, in the order of their ids."""
    named = [*NAMES.values(), *(MASK_NAMES.values() if masks else ())]
    return [*named, *(f"<reserved_{number}>" for number in range(reserved))]


def finish(tokenizer: Tokenizer, *, masks: bool) -> Tokenizer:
    """Put eos behind a text; of a masked language model, cls before it and sep behind it and its second part.

    What a text writes like a special token is text: `</s>` in it ends nothing. Not so where masks are read: they are
    what people write to have filled in.
    """
    one, two = (f"{FIRST} $A {SEPARATOR}", f"$B:1 {SEPARATOR}:1") if masks else (f"$A {EOS}", f"$B {EOS}")
    ids = [(name, tokenizer.token_to_id(name)) for name in (EOS, FIRST, SEPARATOR) if tokenizer.token_to_id(name)]
    tokenizer.post_processor = processors.TemplateProcessing(single=one, pair=f"{one} {two}", special_tokens=ids)
    tokenizer.encode_special_tokens = not masks
    return tokenizer


def save(tokenizer: Tokenizer, folder: Path, max_length: int) -> None:
    """Write what AutoTokenizer reads without a network: tokenizer.json and tokenizer_config.json."""
    masks = tokenizer.token_to_id(MASK) is not None
    config: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        **NAMES,
        **(MASK_NAMES if masks else {}),
        "model_max_length": max_length,
        "model_input_names": ["input_ids", "attention_mask"],
        "padding_side": "right",
        "clean_up_tokenization_spaces": False,
        "split_special_tokens": not masks,
    }
    write_text(folder / "tokenizer.json", tokenizer.to_str(pretty=True) + "\n")
    write_json(folder / "tokenizer_config.json", config)
