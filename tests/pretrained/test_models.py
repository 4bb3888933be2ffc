"""Any text model: every type of transformers' mapping is walked in miniature, and each fault's kind has its test."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoTokenizer, pipeline

from bonafide.datasets import ragged
from bonafide.engine.shards.dropout import ShardedDropout
from bonafide.forward.inference import predict_all
from bonafide.forward.packing import pad
from bonafide.params.sections import Model
from bonafide.pretrained import tokenizer
from bonafide.pretrained.dry_run import check_loads, positions
from bonafide.pretrained.padding import reads_padding, separate
from bonafide.project.errors import InputError
from bonafide.project.files import sha256
from bonafide.project.paths import BASE_MODEL, MODEL, TOKENIZED
from bonafide.sources.base_model import fetch_base_model
from bonafide.tasks.classification import base
from bonafide.tasks.classification import model as classifier
from bonafide.tasks.classification import train as training
from bonafide.training.saved_model import SavedModelCheck
from bonafide.training.vocabulary_pruning import PrunedVocabulary
from dev import models, zoo
from tests.shard_inputs import sharded

pytestmark = pytest.mark.usefixtures("one_thread")

TEXTS = models.texts()
LABELS = ["negative", "positive"]


def build(name, folder="base", **changes):
    """A base model of a type, in miniature."""
    zoo.build_base(Path(folder), name, TEXTS, **changes)
    return Path(folder)


def tokens(folder, texts=TEXTS, most=40):
    ids, _ = tokenizer.encode(texts, tokenizer.load(folder), most)
    return ragged.pack(ids, np.arange(len(ids)) % 2, [str(i) for i in range(len(ids))])


# Every type, all the way


@pytest.mark.slow
@pytest.mark.parametrize("case", models.CASES)
def test_what_is_validated_is_what_stock_transformers_loads(case):
    found = models.quietly(case)
    assert found.row in models.PAGE.read_text(encoding="utf-8"), "run: make models"
    if found.batches == models.REFUSED:
        assert found.why
        assert "\n" not in found.why
        return
    assert found.batches in (models.PACKED, models.PADDED, models.ALONE)
    assert found.apart <= (models.PACKED_BOUND if found.batches == models.PACKED else models.BOUND)
    assert found.spread > 2 * models.BOUND  # else nothing would have been seen


@pytest.mark.slow
def test_the_page_has_every_case_and_few_are_refused():
    page = models.PAGE.read_text(encoding="utf-8")
    named = re.findall(r"^\| (.+?) \| (packed|padded|refused)", page, re.MULTILINE)
    assert sorted(case for case, _ in named) == sorted(models.CASES)
    assert sum(how == "refused" for _, how in named) <= 5
    assert set(zoo.TYPES) | set(zoo.NO_TEXTS) == set(zoo.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES)


PARTS = [
    {"trainable": "head"},
    {"trainable": "lora"},
    {"frozen_layers": 1},
    {"gradient_checkpointing": True},
    {"accumulation": 2, "exact": False},
]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # peft's
@pytest.mark.parametrize("recipe", PARTS, ids=str)
@pytest.mark.parametrize("name", ["albert", "bart", "deberta-v2", "gpt2", "mpt", "t5gemma", "xlm", "xlnet", "zamba"])
def test_every_way_to_train_works_or_is_refused_in_one_line(name, recipe):
    found = models.quietly(name, **recipe)
    if found.batches == models.LATE:
        assert re.match(r"train\.\w+: ", found.why)
        assert "\n" not in found.why
    else:
        assert found.apart <= models.BOUND


# The vocabulary is cut only where that changes nothing


@pytest.mark.parametrize("name", ["bert", "roberta", "gpt2", "llama", "albert", "t5", "bart", "mbart", "fnet"])
def test_the_vocabulary_is_cut_only_where_no_logit_changes(name):
    folder = build(name)
    model = training.build_model(folder, LABELS, 0.0).eval()
    texts, rows = tokens(folder), np.arange(4)
    with torch.no_grad():
        expected = model(**pad(texts, rows, model).inputs).logits
        table = model.get_input_embeddings().num_embeddings
        vocabulary = PrunedVocabulary(model, [texts])
        found = model(**pad(vocabulary.translate(texts), rows, model).inputs).logits
    assert torch.equal(found, expected)
    assert (model.get_input_embeddings().num_embeddings < table) == (name not in ("t5", "bart", "mbart"))
    vocabulary.restore()
    with torch.no_grad():
        assert torch.equal(model(**pad(texts, rows, model).inputs).logits, expected)


@pytest.mark.parametrize("name", ["gpt2", "bert"])
def test_a_model_that_compares_ids_keeps_its_whole_table(name):
    folder = build(name)
    model = training.build_model(folder, LABELS, 0.0).eval()
    whole = model.forward

    def forward(input_ids, **rest):
        output = whole(input_ids=input_ids, **rest)
        output.logits = output.logits + input_ids.max()
        return output

    model.forward = forward
    before = model.get_input_embeddings().weight
    vocabulary = PrunedVocabulary(model, [tokens(folder)])
    assert model.get_input_embeddings().weight.shape == before.shape
    assert vocabulary.translate(tokens(folder)).input_ids.max() > 0


# What is validated is what is saved


def validated(name, monkeypatch):
    """A model in training, and its base's validation split on disk."""
    folder = build(name, str(BASE_MODEL))
    tokenizer.settle(folder)
    texts = tokens(folder)
    ragged.write(TOKENIZED / "validation", texts.arrays)
    return training.build_model(folder, LABELS, 0.0), texts


@pytest.mark.parametrize("name", ["bert", "gpt2", "t5"])
def test_a_saved_model_with_other_words_is_found_out(name, monkeypatch):
    model, texts = validated(name, monkeypatch)
    sample = SavedModelCheck(model, texts, training)
    model.save_pretrained(MODEL)
    sample.check()
    with torch.no_grad():
        model.get_input_embeddings().weight.copy_(model.get_input_embeddings().weight.flip(0))
    model.save_pretrained(MODEL)
    message = r"^models/model: row \d+: the saved model gives 0\.\d{4} where the model in training gave 0\.\d{4}: "
    with pytest.raises(InputError, match=message):
        sample.check()


# Chance


def test_dropout_of_other_rows_is_torchs_own():
    x, dropout = torch.ones(7, 4), torch.nn.Dropout(0.5)
    with sharded([2, 3], [0, 2]) as context, ShardedDropout(dropout, context).active():
        torch.manual_seed(5)
        found = dropout(x)
        torch.manual_seed(5)
        assert torch.equal(found, torch.dropout(x, 0.5, train=True))
        context.exact = True
        with pytest.raises(InputError, match=r"^\(7, 4\): .* set train.exact to false$"):
            dropout(x)


# A fresh head


@pytest.mark.parametrize("name", ["bert", "gpt2", "bart", "xlnet"])
@pytest.mark.parametrize("old", [{"num_labels": 2}, {"num_labels": 3}, {"num_labels": 1, "problem_type": "regression"}])
def test_a_head_is_as_fresh_as_if_there_had_been_none(name, old):
    weights = []
    for number, options in enumerate(({}, {"head": True, **old})):
        folder = build(name, f"base{number}", **options)
        torch.manual_seed(3)
        model = training.build_model(folder, LABELS, 0.1)
        assert model.config.problem_type in (None, "single_label_classification")
        head = {n: p for n, p in model.named_parameters() if not n.startswith(f"{model.base_model_prefix}.")}
        weights.append(head)
    assert weights[0].keys() == weights[1].keys()
    assert all(torch.equal(p, weights[1][n]) for n, p in weights[0].items() if "embed" not in n)


def test_a_model_of_several_labels_a_text_becomes_one_of_a_single_label(tmp_path):
    folder = build("distilbert", head=True, num_labels=2, problem_type="multi_label_classification")
    model = training.build_model(folder, LABELS, 0.1)
    model.save_pretrained(MODEL)
    AutoTokenizer.from_pretrained(folder).save_pretrained(MODEL)
    given = pipeline("text-classification", model=str(MODEL), top_k=None)(["good film"])[0]
    assert sum(one["score"] for one in given) == pytest.approx(1, abs=1e-6)
    assert {one["label"] for one in given} == set(LABELS)


# Padding


@pytest.mark.parametrize("name", ["gpt2", "llama", "mistral", "opt"])
def test_a_decoder_without_a_token_to_pad_with_gets_one_that_is_saved(name):
    folder = build(name)
    assert AutoTokenizer.from_pretrained(folder).pad_token_id is None
    tokenizer.settle(folder)
    settled = AutoTokenizer.from_pretrained(folder)
    assert settled.pad_token_id == settled.eos_token_id
    training.build_model(folder, LABELS, 0.0).save_pretrained(MODEL)
    assert AutoConfig.from_pretrained(MODEL).pad_token_id == settled.pad_token_id
    settled.save_pretrained(MODEL)
    classify = pipeline("text-classification", model=str(MODEL), top_k=None)
    alone, batch = (classify(TEXTS[:5], batch_size=size) for size in (1, 5))
    for one, other in zip(alone, batch, strict=True):
        assert {x["label"]: x["score"] for x in one} == pytest.approx({x["label"]: x["score"] for x in other}, abs=1e-5)


def test_a_tokenizer_that_pads_has_its_files_left_alone():
    folder = build("bert")
    before = {path.name: sha256(path) for path in folder.iterdir()}
    tokenizer.settle(folder)
    assert {path.name: sha256(path) for path in folder.iterdir()} == before


def edit_json(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize(("name", "declared", "settled"), [("gpt2", "left", "right"), ("xlnet", "right", "left")])
def test_a_tokenizer_pads_where_the_model_is_trained_to(name, declared, settled):
    folder = build(name)
    edit_json(folder / "tokenizer_config.json", padding_side=declared)
    tokenizer.settle(folder)
    assert AutoTokenizer.from_pretrained(folder).padding_side == settled


def test_a_head_that_looks_for_padding_looks_for_the_tokenizers(tmp_path):
    folder = build("gemma")  # its tokenizer pads with 0
    edit_json(folder / "config.json", pad_token_id=3)
    assert training.build_model(folder, LABELS, 0.0).config.pad_token_id == 0
    folder = build("roberta", "other")  # its positions count from the padding of the config
    edit_json(folder / "config.json", pad_token_id=3)
    assert training.build_model(folder, LABELS, 0.0).config.pad_token_id == 3


@pytest.mark.parametrize("name", ["fnet", "convbert", "t5gemma", "mobilebert"])
def test_a_text_beside_longer_ones_gets_what_it_gets_alone(name):
    folder = build(name)
    texts = tokens(folder, TEXTS[:8])
    probe = tokenizer.probe(folder)
    model = training.build_model(folder, LABELS, 0.0).eval()
    assert reads_padding(model, probe)
    assert separate(model, probe)
    with torch.no_grad():
        beside = model(**pad(texts, np.arange(8), model).inputs).logits
        alone = torch.cat([model(**pad(texts, np.array([row]), model).inputs).logits for row in range(8)])
    assert torch.allclose(beside, alone, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["bert", "gpt2", "bart", "xlnet"])
def test_most_models_know_their_padding(name):
    folder = build(name)
    assert not separate(training.build_model(folder, LABELS, 0.0), tokenizer.probe(folder))


def test_a_sparse_attention_that_gives_up_at_the_first_short_batch_is_whole_from_the_start():
    model = training.build_model(build("big_bird"), LABELS, 0.0)
    assert model.config.attention_type == "original_full"


# Positions

POSITIONS = {"bert": 64, "roberta": 62, "xlm-roberta": 63, "bart": 64, "opt": 64, "gpt2": 64, "t5": 200, "xlnet": 200}
POSITIONS |= {"longformer": 62, "funnel": 200, "mpnet": 62, "nystromformer": 64, "llama": 64}


@pytest.mark.parametrize(
    ("name", "most"),
    list(POSITIONS.items()),
)
def test_the_most_tokens_are_those_that_the_model_takes(name, most):
    folder = build(name)
    found = positions(folder, classifier.HEAD, 200)
    assert found == most
    text = tokens(folder, ["good film " * 200], found)
    model = training.build_model(folder, LABELS, 0.0)
    assert np.isfinite(predict_all(model, text, classifier.probabilities)).all()


# Tokenizers of Python alone


@pytest.mark.parametrize(("name", "python"), [("roberta", "PhobertTokenizer"), ("bert", "BertJapaneseTokenizer")])
def test_a_python_tokenizer_is_cut_and_counted_as_a_fast_one(name, python):
    folder = build(name, python=python)
    check_loads(folder, classifier.HEAD)
    processor = tokenizer.load(folder)
    assert not processor.is_fast
    cut, lengths = tokenizer.encode(TEXTS[:9], processor, 12)
    whole, same = tokenizer.encode(TEXTS[:9], processor, 10_000)
    assert lengths.tolist() == same.tolist() == [len(ids) for ids in whole]
    assert max(lengths) > 12
    assert all(len(c) == min(12, len(w)) and c[-1] == w[-1] for c, w in zip(cut, whole, strict=True))


# What fetch refuses, and what it takes


def refuse(folder, message):
    before = {path.name: sha256(path) for path in folder.iterdir()}
    with pytest.raises(InputError, match=message) as refusal:
        fetch_base_model(Model(source=str(folder), revision="", sha256=before), BASE_MODEL, base.check)
    assert "\n" not in str(refusal.value)
    assert not BASE_MODEL.exists()


@pytest.mark.parametrize("name", ["flaubert", "xlm", "rembert", "canine", "t5", "gpt2", "xlnet"])
def test_widths_under_any_name_are_taken(name):
    folder = build(name)
    hashes = {path.name: sha256(path) for path in folder.iterdir()}
    found = fetch_base_model(Model(source=str(folder), revision="", sha256=hashes), BASE_MODEL, base.check)
    assert found["architecture"] == AutoConfig.from_pretrained(folder).model_type


def test_a_trained_head_of_any_size_is_taken():
    folder = build("bert", head=True, num_labels=7)
    edit_json(folder / "config.json", id2label={"0": "a", "1": "b"}, label2id={"a": 0, "b": 1})
    check_loads(folder, classifier.HEAD)


def test_a_tokenizer_whose_package_is_not_there_is_refused_by_the_packages_name():
    folder = build("bert", python="BertJapaneseTokenizer")
    edit_json(folder / "tokenizer_config.json", word_tokenizer_type="mecab")
    refuse(folder, r"^base model: its tokenizer needs a package that is not there: .*fugashi")


def test_an_architecture_that_classifies_no_texts_is_refused():
    folder = build("bert")
    edit_json(folder / "config.json", model_type="vit")
    refuse(folder, r"vit has no sequence classification in transformers")


def test_an_architecture_that_trains_on_whole_positions_only_is_refused():
    refuse(build("reformer"), r"^base model: reformer cannot be trained on texts alone: ValueError: If training,")


def test_weights_of_fewer_layers_are_refused():
    folder = build("bert")
    edit_json(folder / "config.json", num_hidden_layers=3)
    refuse(folder, r"^base model: not the weights of a bert: 16 lack, bert\.encoder\.layer\.2\.")


def test_a_config_that_the_library_does_not_read_is_refused():
    folder = build("bert")
    edit_json(folder / "config.json", hidden_size="wide")
    refuse(folder, r"^base model: config.json: transformers does not read it \(")


def test_a_config_that_cannot_be_built_is_refused():
    folder = build("bert")
    edit_json(folder / "config.json", num_attention_heads=5)
    refuse(folder, r"^base model: bert cannot be built: ValueError: The hidden size \(32\)")
