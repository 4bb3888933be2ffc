"""Pairs to arrays: a vocabulary of train alone, ends that stay, languages by a tokenizer's own codes."""

import numpy as np
import pyarrow as pa
import pytest

from bonafide.project.errors import InputError
from bonafide.project.paths import BASE_MODEL, TOKENIZED
from bonafide.tasks.translation import encode
from tests.tasks.translation.translators import ROWS, TABLE, params, pretrained


def texts(processor, arrays, side):
    parts = np.split(arrays[f"{side}_ids"], arrays[f"{side}_offsets"][1:-1])
    return [processor.decode(part, skip_special_tokens=True) for part in parts]


@pytest.mark.parametrize("vocabulary", ["bpe", "characters"])
def test_pairs_come_back_from_their_ids_and_end(vocabulary):
    found = params(tokenize={"vocabulary": vocabulary, "max_length": 60})
    processor = encode.prepare(BASE_MODEL, TABLE, found, TOKENIZED)
    arrays, facts = encode.encode(TABLE, processor, found)
    for side in ("source", "target"):
        assert texts(processor, arrays, side) == TABLE[side].to_pylist()
        ends = arrays[f"{side}_ids"][arrays[f"{side}_offsets"][1:] - 1]
        assert (ends == processor.eos_token_id).all()
        assert (arrays[f"{side}_ids"] == processor.eos_token_id).sum() == len(TABLE)
    assert facts["rows"] == 120
    assert facts["source_truncated"] == facts["target_unknown_rate"] == 0


def test_what_train_lacks_is_unknown_and_counted():
    found = params()
    processor = encode.prepare(BASE_MODEL, TABLE, found, TOKENIZED)
    _, facts = encode.encode(pa.table({"source": ["he"], "target": ["龘龘"], "id": ["1"]}), processor, found)
    assert facts["target_unknown_rate"] == pytest.approx(2 / facts["target_tokens"])
    assert facts["source_unknown_rate"] == 0


def test_long_texts_are_cut_before_their_end_token_and_counted():
    found = params(tokenize={"max_length": 5})
    processor = encode.prepare(BASE_MODEL, TABLE, found, TOKENIZED)
    arrays, facts = encode.encode(TABLE, processor, found)
    lengths = np.diff(arrays["source_offsets"])
    assert lengths.max() == 5
    assert facts["source_truncated"] == sum(len(processor(row["source"])["input_ids"]) > 5 for row in ROWS) > 0
    assert (arrays["source_ids"][arrays["source_offsets"][1:] - 1] == processor.eos_token_id).all()


def test_the_same_table_gives_the_same_bytes():
    found, first = params(), []
    for _ in range(2):
        encode.prepare(BASE_MODEL, TABLE, found, TOKENIZED)
        first.append([(path.name, path.read_bytes()) for path in sorted(TOKENIZED.rglob("*.json"))])
    assert first[0] == first[1]


def test_a_vocabulary_that_is_too_small_is_refused():
    with pytest.raises(InputError, match=r"vocabulary_size: 100 is below"):
        encode.prepare(BASE_MODEL, TABLE, params(tokenize={"vocabulary_size": 100}), TOKENIZED)


def test_languages_are_a_tokenizers_own_codes():
    pretrained("mbart", BASE_MODEL)
    found = params(tokenize={"vocabulary": "base", "max_length": 40})
    processor = encode.prepare(BASE_MODEL, TABLE, found, TOKENIZED)
    assert processor.model_max_length == 40
    assert not (TOKENIZED / "processor/generation_config.json").exists()  # lest train copy it over the model's
    arrays, _ = encode.encode(TABLE, processor, found)
    behind = arrays["source_ids"][arrays["source_offsets"][1:] - 1]
    assert set(processor.convert_ids_to_tokens(np.unique(behind))) == {"en_XX"}
    ends = arrays["target_ids"][arrays["target_offsets"][1:] - 1]
    assert (ends == processor.eos_token_id).all()  # the code of zh_CN is what the decoder starts with
    assert texts(processor, arrays, "target") == TABLE["target"].to_pylist()
    with pytest.raises(InputError, match="its tokenizer has no language 'xx', but ar_AR, cs_CZ"):
        encode.prepare(
            BASE_MODEL,
            TABLE,
            params(task={"target_language": "xx"}, tokenize={"vocabulary": "base", "max_length": 40}),
            TOKENIZED,
        )


def test_longer_texts_than_a_base_model_has_positions_for_are_refused():
    pretrained("bart", BASE_MODEL)
    with pytest.raises(InputError, match=r"max_length: 41 is above the base model's 40 positions"):
        encode.prepare(BASE_MODEL, TABLE, params(tokenize={"vocabulary": "base", "max_length": 41}), TOKENIZED)


def test_a_prefix_stands_before_each_source():
    found = params(tokenize={"prefix": "he "})
    processor = encode.prepare(BASE_MODEL, TABLE, found, TOKENIZED)
    arrays, _ = encode.encode(TABLE, processor, found)
    assert texts(processor, arrays, "source") == [f"he {row['source']}" for row in ROWS]
