"""A base model in miniature: a real BERT with random weights and a real WordPiece vocabulary, made in a second."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, normalizers, pre_tokenizers, processors
from tokenizers.models import WordPiece
from transformers import BertConfig, BertModel, BertTokenizer

from bonafide.project.files import sha256

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
MAX_LENGTH = 128


def vocabulary(texts: Sequence[str], words: int) -> list[str]:
    """The special tokens, every character as word start and as continuation, and the most frequent words."""
    normalizer, splitter = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    counts = Counter(
        word for text in texts for word, _ in splitter.pre_tokenize_str(normalizer.normalize_str(text)) if word
    )
    characters = sorted({character for word in counts for character in word})
    frequent = sorted((word for word in counts if len(word) > 1), key=lambda word: (-counts[word], word))[:words]
    return [*SPECIAL, *characters, *(f"##{character}" for character in characters), *frequent]


def wordpiece(vocab: dict[str, int]) -> Tokenizer:
    """BERT's tokenizer: lower-cased, CJK characters apart, [CLS] and [SEP] around."""
    tokenizer = Tokenizer(WordPiece(vocab, unk_token="[UNK]"))  # noqa: S106
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", vocab["[SEP]"]), ("[CLS]", vocab["[CLS]"]))
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.add_special_tokens(list(SPECIAL))
    return tokenizer


def build_tiny_model(folder: Path, texts: Sequence[str]) -> dict[str, str]:
    """Save a BERT of 2 layers and width 32 whose vocabulary covers `texts`; return file name: SHA-256.

    The same texts give the same bytes. The caller's random state is left as it was.
    """
    vocab = {token: index for index, token in enumerate(vocabulary(texts, words=500))}
    config = BertConfig(
        vocab_size=len(vocab),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=MAX_LENGTH,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        BertModel(config).save_pretrained(folder)
    tokenizer = BertTokenizer(tokenizer_object=wordpiece(vocab), model_max_length=MAX_LENGTH)
    tokenizer.save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(vocab) + "\n", encoding="utf-8")
    return {path.name: sha256(path) for path in sorted(folder.iterdir())}
