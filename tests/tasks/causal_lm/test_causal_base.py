"""A base model that goes on learning: checked at fetch, its tokenizer kept, its weights where training begins."""

import json
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
import transformers

from bonafide.pretrained import heads
from bonafide.project.errors import InputError
from bonafide.tasks.causal_lm import base, encode, train
from bonafide.tasks.causal_lm import model as own
from tests.tasks.causal_lm.tiny import CONTEXT, arrays, build, lines, processor


@pytest.fixture(params=["llama", "gpt2"])
def folder(request, tmp_path):
    build(processor(tmp_path / "base"), request.param).save_pretrained(tmp_path / "base")
    return tmp_path / "base"


def params(context=CONTEXT):
    return SimpleNamespace(tokenize=SimpleNamespace(vocabulary="base", context=context, end=True))


def test_a_base_model_is_taken_as_it_is(folder, tmp_path):
    base.check(folder)
    kept = encode.prepare(folder, pa.table({"text": lines(5)}), params(), tmp_path / "tokenized")
    examples = arrays(lines(10), kept, end=True)
    model = heads.pretrained(folder, train.HEAD, 0.5)[0].eval()
    own.enable(model)
    assert own.predict(model, examples).tolist() == own.predict(own.load(folder), examples).tolist()


def test_a_window_longer_than_its_positions_is_refused(folder, tmp_path):
    with pytest.raises(InputError, match=r"tokenize\.context: 17 is above the base model's 16 positions"):
        encode.prepare(folder, pa.table({"text": lines(5)}), params(CONTEXT + 1), tmp_path / "tokenized")


def test_no_base_model_is_right_too():
    base.check(None)


def test_a_tokenizer_of_more_tokens_than_the_model_has_is_refused(folder):
    path = folder / "tokenizer.json"
    tree = json.loads(path.read_text())
    tree["model"]["vocab"] |= {f"more {number}": 1000 + number for number in range(100)}
    path.write_text(json.dumps(tree))
    with pytest.raises(InputError, match="do not belong together"):
        base.check(folder)


def test_a_model_that_reads_with_an_encoder_is_refused(tmp_path):
    reader = processor(tmp_path)
    sizes = {"d_model": 32, "encoder_layers": 1, "decoder_layers": 1, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32}
    heads = {"encoder_attention_heads": 2, "decoder_attention_heads": 2, "max_position_embeddings": 32}
    config = transformers.BartConfig(vocab_size=len(reader), **sizes, **heads)
    transformers.BartForConditionalGeneration(config).save_pretrained(tmp_path)
    with pytest.raises(InputError):
        base.check(tmp_path)


def test_what_lies_beside_the_texts_is_counted(tmp_path):
    reader = processor(tmp_path)
    table = pa.table({"text": ["a king", "ghost é"], "id": ["x", "y"]})
    section = SimpleNamespace(tokenize=SimpleNamespace(context=CONTEXT, end=True))
    found, facts = encode.encode(table, reader, section)
    assert found["characters"].tolist() == [6, 7]
    assert found["bytes"].tolist() == [6, 8]
    assert np.diff(found["offsets"]).tolist() == [7, 8]
    assert found["input_ids"][[6, 14]].tolist() == [1, 1]
    assert facts["unknown_rate"] == pytest.approx(1 / 15)
