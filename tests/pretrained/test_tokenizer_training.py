"""Tokenizers that are trained: the same bytes always, texts that come back whole, and ids that stay free."""

import hashlib
import os
import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bonafide.pretrained.tokenizer import load
from bonafide.pretrained.tokenizer_training import RESERVED, save, train_bpe, train_characters
from bonafide.project.errors import InputError

ROOT = Path(__file__).parents[2]
TEXTS = [
    "Tom went to the market, and so did Mary.",
    "It's 3:30 (half past three).",
    "汤姆去了市场，玛丽也去了。",
    "你今天去市场吗？",
    "I don't know where the market is!",
] * 3
BPE, CHARACTERS = train_bpe(TEXTS, 220), train_characters(TEXTS)
SCRIPT = (
    "from tests.pretrained.test_tokenizer_training import TEXTS, train_bpe;import sys;"
    "sys.stdout.write(train_bpe(TEXTS * 200, 220).to_str())"
)


def bytes_of(**environment: str) -> str:
    command, env = [sys.executable, "-c", SCRIPT], os.environ | environment
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, check=True)
    return hashlib.sha256(done.stdout).hexdigest()


def test_the_same_texts_give_the_same_bytes_whatever_the_hash_seed_and_threads():
    first = bytes_of(PYTHONHASHSEED="1", RAYON_NUM_THREADS="1")
    assert first == bytes_of(PYTHONHASHSEED="2", RAYON_NUM_THREADS="4")


@pytest.mark.parametrize("tokenizer", [BPE, CHARACTERS])
@given(text=st.text(sorted({mark for text in TEXTS for mark in text})).map(str.strip))
def test_a_text_of_known_characters_comes_back(tokenizer, text):
    assert tokenizer.decode(tokenizer.encode(text).ids) == text


@pytest.mark.parametrize("tokenizer", [BPE, CHARACTERS])
@given(text=st.text())
def test_no_text_has_a_special_token_but_unknown_before_its_end(tokenizer, text):
    *ids, last = tokenizer.encode(text).ids
    assert last == 1
    assert all(i == 2 or i >= 3 + RESERVED for i in ids)


def test_ids_of_special_tokens_are_the_first_ones():
    masked = train_characters(TEXTS, reserved=2, masks=True)
    names = [masked.id_to_token(place) for place in range(8)]
    assert names == ["<pad>", "</s>", "<unk>", "<mask>", "<cls>", "<sep>", "<reserved_0>", "<reserved_1>"]
    assert BPE.id_to_token(2 + RESERVED) == f"<reserved_{RESERVED - 1}>"
    assert masked.encode("a", "b").type_ids == [0, 0, 0, 1, 1]


def test_punctuation_is_a_piece_of_its_own_and_keeps_its_width():
    assert [piece for piece in BPE.encode("market，吗？").tokens if piece in "，？,?"] == ["，", "？"]


def test_special_tokens_that_a_text_writes_are_text():
    assert BPE.encode("Tom </s> Mary").ids.count(1) == 1


def test_characters_keep_blanks_and_lines():
    found = train_characters(["a\n  b\t"])
    assert found.encode("\n  a").tokens == ["\n", " ", " ", "a", "</s>"]


def test_what_is_not_composed_is():
    assert train_characters(["é"]).encode(unicodedata.normalize("NFD", "é")).tokens == ["é", "</s>"]


def test_a_vocabulary_without_room_for_the_characters_is_refused():
    with pytest.raises(InputError, match=r"vocabulary_size: 80 is below \d+: 67 special tokens and the \d+ characters"):
        train_bpe(TEXTS, 80)


@pytest.mark.parametrize("tokenizer", [BPE, CHARACTERS, train_bpe(TEXTS, 220, masks=True)])
def test_auto_tokenizer_reads_it_without_a_network(tokenizer, tmp_path):
    save(tokenizer, tmp_path, 16)
    found = load(tmp_path)
    text = "Tom </s> 去了市场，吗？"
    assert found(text)["input_ids"] == tokenizer.encode(text).ids
    assert (found.pad_token_id, found.eos_token_id, found.unk_token_id) == (0, 1, 2)
    assert found.model_max_length == 16
    assert len(found(text, truncation=True, max_length=4)["input_ids"]) == 4
    assert found.decode(found("Tom, 去了吗？")["input_ids"], skip_special_tokens=True) == "Tom, 去了吗？"
