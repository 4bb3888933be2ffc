"""stages/fetch.py on images: a folder by class, a folder with a table, one of CIFAR's archives by URL."""

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bonafide.params.load import load_params
from bonafide.params.pins import Link
from bonafide.project.errors import InputError
from bonafide.project.files import sha256
from bonafide.project.paths import RAW_TABLE, SOURCES
from stages.fetch import fetch
from tests.file_server import serve
from tests.sources.images import cifar_archives
from tests.sources.images.made_images import put

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def params(source, slices=(), sample=1, downloads=(), **columns):
    given = load_params(ROOT / "recipes/cifar10_mlp.yaml")
    data = replace(
        given.data, source=source, slices=list(slices), sample=sample, downloads=list(downloads), columns=columns
    )
    return replace(given, data=data)


def facts():
    return json.loads(SOURCES.read_text(encoding="utf-8"))


def test_a_folder_by_class_and_split_becomes_the_raw_table(capsys):
    paths = ["test/cat/c.png", "train/cat/a.png", "train/cat/b.png", "train/dog/a.png"]
    made = [put(f"data/pets/{path}") for path in paths]
    put("data/pets/README.md")
    metrics = fetch(params("data/pets", id="id", image="image", label="label", split="split"))
    table = pq.read_table(RAW_TABLE)
    assert table.schema.field("image").type == pa.large_binary()
    assert table.to_pydict() == {
        "id": paths,
        "image": made,
        "label": ["cat", "cat", "cat", "dog"],
        "split": ["test", "train", "train", "train"],
    }
    assert metrics["fetch/rows"] == 4
    assert facts()["data"] == {
        "source": "data/pets",
        "sha256": sha256(RAW_TABLE),
        "rows": 4,
        "columns": ["id", "image", "label", "split"],
        "files": [
            {"file": "test/cat/", "rows": 1, "form": "images"},
            {"file": "train/cat/", "rows": 2, "form": "images"},
            {"file": "train/dog/", "rows": 1, "form": "images"},
        ],
        "types": {"id": "text", "image": "image", "label": "text", "split": "text"},
        "left_aside": {"columns": [], "files": ["README.md"]},
    }
    assert "fetch: data/pets: not read: README.md\n" in capsys.readouterr().err


def test_a_folder_with_a_table_keeps_its_slices_and_a_sample_of_its_groups():
    rows = "".join(f"img/{row}.png,cat,{row // 2},night\n" for row in range(40))
    made = [put(f"data/pets/img/{row}.png") for row in range(40)]
    put("data/pets/t.csv", f"file,animal,burst,light\n{rows}")
    fetch(params("data/pets", ["light"], 0.5, image="file", label="animal", group="burst"))
    table = pq.read_table(RAW_TABLE)
    assert table.column_names == ["id", "image", "label", "group", "light"]
    assert 4 < table.num_rows < 36
    for row in table.to_pylist():
        assert row["image"] == made[int(row["id"]) - 1]
        assert table["group"].to_pylist().count(row["group"]) == 2
    assert facts()["data"]["left_aside"] == {"columns": [], "files": []}


def test_an_archive_of_cifar_comes_by_url_and_is_the_same_as_the_other_form():
    Path("data").mkdir()
    shutil.copy(ROOT / "data/download.py", "data")
    tables = []
    for name, members in {
        "binary": cifar_archives.cifar100_binary(),
        "python": cifar_archives.cifar100_python(),
    }.items():
        content = cifar_archives.pack(f"cifar-100-{name}.tar.gz", members).read_bytes()
        with serve({f"cifar-100-{name}.tar.gz": content}) as address:
            link = Link(url=f"{address}/file/cifar-100-{name}.tar.gz", sha256=hashlib.sha256(content).hexdigest())
            columns = {"id": "id", "image": "image", "label": "label", "split": "split"}
            fetch(params("data/download.py", ["coarse_label"], downloads=[link], **columns))
        tables.append(RAW_TABLE.read_bytes())
        assert [file["rows"] for file in facts()["data"]["files"]] == [4, 4]
        left = facts()["data"]["left_aside"]
        assert left == {"columns": ["filename"] if name == "python" else [], "files": []}
    assert tables[0] == tables[1]
    assert pq.read_table(RAW_TABLE).column_names == ["id", "image", "label", "split", "coarse_label"]


def test_a_damaged_archive_of_a_loader_is_named_without_the_place_it_came_to():
    Path("data").mkdir()
    shutil.copy(ROOT / "data/download.py", "data")
    with serve({"c.tar.gz": b"<html>"}) as address:
        link = Link(url=f"{address}/file/c.tar.gz", sha256=hashlib.sha256(b"<html>").hexdigest())
        with pytest.raises(InputError, match=r"^c.tar.gz: not a readable archive: is it whole\?$"):
            fetch(params("data/download.py", downloads=[link]))


def test_a_path_in_place_of_the_url_is_one_line():
    cifar_archives.pack("cifar.tgz", cifar_archives.cifar10_binary())
    fetch(params("cifar.tgz", image="image", label="label", split="split"))
    assert pq.read_table(RAW_TABLE).num_rows == 12
    assert facts()["data"]["files"][0] == {"file": "data_batch_1.bin", "rows": 4, "form": "CIFAR-10, binary"}


def test_a_text_task_reads_no_archive():
    cifar_archives.pack("cifar.tgz", cifar_archives.cifar10_binary())
    texts = load_params(ROOT / "params.yaml")
    with pytest.raises(InputError, match=r"^cifar.tgz: not a table"):
        fetch(replace(texts, data=replace(texts.data, source="cifar.tgz", downloads=[])))
