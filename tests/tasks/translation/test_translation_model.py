"""A translator as it is built, saved, loaded elsewhere, and asked one row at a time."""

import contextlib
import math
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from safetensors import safe_open

from bonafide.datasets import ragged
from bonafide.forward import pairs
from bonafide.forward.packed_attention import PACKED
from bonafide.forward.token_losses import cross_entropy
from bonafide.pretrained import tokenizer
from bonafide.project.errors import InputError
from bonafide.project.paths import BASE_MODEL, MODEL, TOKENIZED
from bonafide.tasks.translation import base, model, serve, train
from tests.tasks.translation.translators import KINDS, ROWS, params, pretrained, save_trained, tokenize

CONFIG = {"max_length": 24, "prefix": "", "min_characters": 1, "max_characters": 500, "mask": True}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A project's data and model."""
    folder = tmp_path_factory.mktemp("translator")
    with contextlib.chdir(folder):
        save_trained(MODEL)
    return folder


@pytest.fixture
def here(made):
    """The same in the working folder."""
    shutil.copytree(made, ".", dirs_exist_ok=True)


def first_batch(found):
    split = train.examples(TOKENIZED / "train")
    return pairs.make_batch(split, np.argsort(split.lengths, kind="stable"), found)


def test_a_fresh_model_guesses_and_drops_no_attention():
    tokenize(params())
    torch.manual_seed(1)
    found = train.build(params()).eval()
    batch = first_batch(found)
    with torch.no_grad():
        loss = cross_entropy(found(**batch.inputs), batch).sum() / sum(batch.counts)
    assert float(loss) == pytest.approx(math.log(found.config.vocab_size), rel=0.01)
    assert found.config.attention_dropout == 0
    assert found.config.dropout == found.config.activation_dropout == 0.3  # of the recipe


def test_a_smoothed_loss_is_that_of_a_target_shared_with_all_tokens():
    tokenize(params())
    found = train.build(params()).eval()
    batch = first_batch(found)
    with torch.no_grad():
        outputs = found(**batch.inputs)
        logits = outputs.logits.flatten(0, 1)
        logs = (logits if batch.counted is None else logits[batch.counted]).log_softmax(-1)
    expected = -(0.9 * logs.gather(1, batch.targets[:, None])[:, 0] + 0.1 * logs.mean(-1))
    assert float(cross_entropy(outputs, batch, 0.1).sum()) == pytest.approx(float(expected.sum()), rel=1e-6)


@pytest.mark.usefixtures("here")
def test_tied_weights_are_saved_once_and_the_search_with_them():
    with safe_open(MODEL / "model.safetensors", "np") as found:
        names = set(found.keys())
    assert "model.shared.weight" in names
    assert not any("embed_tokens" in name or "lm_head" in name for name in names)
    settings = model.stock(MODEL).generation_config
    assert (settings.num_beams, settings.max_new_tokens, settings.early_stopping) == (2, 24, True)
    assert (settings.decoder_start_token_id, settings.eos_token_id, settings.pad_token_id) == (0, 1, 0)
    assert settings.forced_eos_token_id is None


ELSEWHERE = """
import sys, numpy as np, torch
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer
torch.set_num_threads(int(sys.argv[1]))
model = AutoModelForSeq2SeqLM.from_pretrained("models/model", dtype="float32").eval()
tokenizer = AutoTokenizer.from_pretrained("models/model")
inputs = tokenizer(sys.argv[2:], return_tensors="pt", padding=True)
with torch.no_grad():
    logits = model(**inputs, decoder_input_ids=inputs["input_ids"]).logits
print(logits.numpy().tobytes().hex())
print(tokenizer.batch_decode(model.generate(**inputs), skip_special_tokens=True))
"""


@pytest.mark.slow  # another process imports transformers
@pytest.mark.usefixtures("here")
def test_another_process_with_transformers_alone_has_the_same_bits_and_translations():
    texts = [row["source"] for row in ROWS[:5]]
    threads = str(torch.get_num_threads())
    done = subprocess.run(
        [sys.executable, "-c", ELSEWHERE, threads, *texts], capture_output=True, text=True, check=True
    )
    found, translated = done.stdout.strip().splitlines()
    ours = model.stock(MODEL).eval()
    inputs = tokenizer.load(MODEL)(texts, return_tensors="pt", padding=True)
    with torch.no_grad():
        logits = ours(**inputs, decoder_input_ids=inputs["input_ids"]).logits
    assert logits.numpy().tobytes().hex() == found
    answers = serve.predict(serve.load(MODEL, CONFIG), [{"source": text} for text in texts])
    assert str(answers["text"].tolist()) == translated
    assert len(set(answers["text"])) > 1


@pytest.mark.usefixtures("here")
def test_a_row_alone_has_the_translation_that_it_has_among_others():
    reader = serve.load(MODEL, CONFIG)
    rows = [{"source": row["source"]} for row in ROWS]
    together, alone = serve.predict(reader, rows), np.concatenate([serve.predict(reader, [row]) for row in rows])
    assert together["text"].tolist() == alone["text"].tolist()
    assert together["log_probability"].tolist() == alone["log_probability"].tolist()


@pytest.mark.usefixtures("here")
def test_a_service_says_what_evaluate_says():
    found = model.predict(model.load(MODEL), ragged.read(TOKENIZED / "validation"))
    reader = serve.load(MODEL, CONFIG)
    rows = [{"source": row["source"]} for row in ROWS[100:]]
    answers = serve.answers(reader, serve.predict(reader, rows))
    assert answers["target"] == found["text"].tolist()
    assert (found["tokens"] >= found["hits"]).all()
    assert set(found["ended"]) <= {0, 1}
    nats = found["nats"].sum() / found["tokens"].sum()
    split = train.examples(TOKENIZED / "validation")
    sums = np.column_stack([found["nats"], found["hits"]])
    assert train.validation_metrics(split, sums)["nats_per_token"] == pytest.approx(nats)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (None, "row 1: a text is wanted, not null"),
        (3, "row 1: a text is wanted, not int"),
        (" ", "row 1: the text is blank"),
        ("x" * 501, "row 1: the text has 501 characters: the model was judged on texts of 1 to 500"),
        ("\ud800", "row 1: half of a surrogate pair is no character"),
    ],
)
def test_a_row_that_cannot_be_translated_is_named(row, reason):
    reader = serve.Reader(model.Translator(None, None), CONFIG)
    with pytest.raises(InputError, match=reason):
        serve.refuse(reader, [{"source": "a text"}, {"source": row}])


@pytest.mark.usefixtures("here")
def test_personal_data_of_a_request_are_masked():
    reader = serve.load(MODEL, CONFIG)
    found = serve.predict(reader, [{"source": text} for text in ("To bob@ex.io now.", "To [EMAIL] now.")])
    assert found["text"][0] == found["text"][1]


@pytest.mark.usefixtures("here")
def test_the_length_penalty_is_the_one_of_the_best_bleu_on_validation():
    penalties = [-2.0, 0.0, 2.0]
    found = train.choose_length_penalty(
        params(train={"decoding": params().train.decoding.__class__(beams=2, length_penalties=penalties, tried_rows=9)})
    )
    scores = {penalty: found[f"train/bleu/{penalty:g}"] for penalty in penalties}
    assert found["train/length_penalty"] == max(scores, key=scores.__getitem__)
    assert model.stock(MODEL).generation_config.length_penalty == found["train/length_penalty"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_pretrained_model_is_checked_built_packed_and_saved(kind):
    pretrained(kind, BASE_MODEL)
    base._try(BASE_MODEL)
    found = params(tokenize={"vocabulary": "base", "max_length": 30}, train={"architecture": None})
    processor = tokenize(found)
    ours = train.build(found)
    reason = train.enable(ours)
    assert reason == ("its attention takes position_bias" if kind == "t5" else "")
    assert (ours.config._attn_implementation == PACKED) == (not reason)
    batch = first_batch(ours)
    loss = cross_entropy(ours(**batch.inputs), batch, 0.1).sum() / sum(batch.counts)
    loss.backward()
    assert torch.isfinite(loss)
    ours.save_pretrained(MODEL)
    processor.save_pretrained(MODEL)
    translated = model.predict(model.load(MODEL), ragged.read(TOKENIZED / "validation"))
    assert len(translated) == 20
    assert np.isfinite(translated["nats"]).all()


def test_a_translation_by_mbart_begins_with_the_code_of_its_language():
    pretrained("mbart", BASE_MODEL)
    found = params(tokenize={"vocabulary": "base", "max_length": 30}, train={"architecture": None})
    processor = tokenize(found)
    ours = train.build(found)
    code = processor.convert_tokens_to_ids("zh_CN")
    assert ours.config.decoder_start_token_id == ours.generation_config.decoder_start_token_id == code
    assert ours.generation_config.forced_bos_token_id is None


def test_other_weights_and_other_architectures_are_refused():
    pretrained("t5", BASE_MODEL)
    config = (BASE_MODEL / "config.json").read_text()
    (BASE_MODEL / "config.json").write_text(config.replace('"num_layers": 2', '"num_layers": 3'))
    with pytest.raises(InputError, match=r"not the weights of a t5: .* lack, encoder"):
        base._try(BASE_MODEL)
    (BASE_MODEL / "config.json").write_text('{"model_type": "bert", "vocab_size": 10}')
    with pytest.raises(InputError, match="bert has no seq to seq causal lm in transformers"):
        base._try(BASE_MODEL)
