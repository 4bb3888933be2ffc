"""What params of a masked language model contradict each other is said in a line."""

import pytest
from ruamel.yaml import YAML

from bonafide.params.load import load_params
from bonafide.project.errors import InputError
from tests.project import ROOT

BASE = {"source": "base", "revision": "", "sha256": {}}
CASES = {
    "model: null, so train.architecture must": {"train.architecture": None},
    "tokenize.vocabulary: base, but model is null": {"tokenize.vocabulary": "base"},
    "whose train.architecture must be null": {"model": BASE},
    "tokenize.vocabulary: bpe, but a base model": {
        "model": BASE,
        "train.architecture": None,
        "tokenize.vocabulary": "bpe",
    },
    "tokenize.max_length: 600 is above train.architecture.positions": {"tokenize.max_length": 600},
    "tokenize.next_sentence: needs train.architecture.kind: bert": {"tokenize.next_sentence": True},
    "mask_replace_prob + random_replace_prob: above 1": {"tokenize.random_replace_prob": 0.3},
    "tokenize.mlm_probability: Input should be greater than 0": {"tokenize.mlm_probability": 0},
    "heads: 3 cannot share a width of 256": {"train.architecture.heads": 3},
    "train.shards: 4 cannot be shared by machine.processes": {"machine.processes": 8},
}


def load(folder, changes):
    yaml = YAML(typ="safe", pure=True)
    tree = yaml.load((ROOT / "recipes/bert_mlm.yaml").read_text())
    for name, value in changes.items():
        *sections, key = name.split(".")
        inner = tree
        for section in sections:
            inner = inner[section]
        inner[key] = value
    path = folder / "params.yaml"
    with path.open("w") as file:
        yaml.dump(tree, file)
    return load_params(path)


@pytest.mark.parametrize("words", CASES)
def test_a_contradiction_is_one_line(words, tmp_path):
    with pytest.raises(InputError) as refused:
        load(tmp_path, CASES[words])
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)


def test_all_may_be_masked_and_pairs_told_by_a_bert(tmp_path):
    all_masked = {"tokenize.mask_replace_prob": 1.0, "tokenize.random_replace_prob": 0.0}
    load(tmp_path, all_masked | {"tokenize.next_sentence": True, "train.architecture.kind": "bert"})
