"""What is fuzzed: for each target some valid files, and the function of fetch, or of params, that reads one."""

import bz2
import gzip
import json
import lzma
from collections.abc import Callable
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from bonafide.params.load import load_params
from bonafide.params.sections import Data
from bonafide.pretrained.dry_run import check_loads
from bonafide.pretrained.model_files import check_model
from bonafide.sources.columns import arrange, wanted_columns
from bonafide.sources.data_source import read_source
from bonafide.tasks.classification.base import HEAD
from dev.zoo import build_base

ROOT = Path(__file__).parents[1]
DATA = load_params(ROOT / "params.yaml").data
BASES = ("bert", "gpt2", "t5")
Target = tuple[Callable[[Path], object], dict[str, list[bytes]]]
"""A function, and for each file name some valid content."""

ROWS: list[dict[str, Any]] = [{"text": f'a "text", {n}\nof é', "label": str(n % 2), "n": n} for n in range(40)]


def csv_file(delimiter: str = ",", end: str = "\n") -> bytes:
    """The rows, quoted."""
    lines = [f'"{row["text"]}"{delimiter}{row["label"]}'.replace(' "text"', ' ""text""') for row in ROWS]
    return end.join([f"text{delimiter}label", *lines, ""]).encode()


def parquet_file(**options: object) -> bytes:
    """The rows, with types of every kind."""
    table = pa.Table.from_pylist([{**row, "nested": {"a": [row["n"]]}, "float": row["n"] / 3} for row in ROWS])
    table = table.append_column("kind", table["label"].dictionary_encode())
    table = table.append_column("view", table["text"].cast(pa.string_view()))
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, **options)
    return bytes(sink.getvalue())


def read_table(path: Path) -> None:
    """What fetch does with a table."""
    data = Data(**vars(DATA) | {"source": path.name, "columns": {"text": "text", "label": "label"}, "slices": []})
    kinds = {"text": "text", "label": "category"}
    arrange(read_source(data, wanted_columns(data, kinds)).table, data, kinds)


def read_model(path: Path) -> None:
    """What fetch does with a base model in the folder of this file."""
    check_model(path.parent)
    check_loads(path.parent, HEAD)


def build_bases() -> None:
    """Base models in miniature, each a folder in the working one."""
    for name in BASES:
        Path(name).mkdir()
        build_base(Path(name), name, [row["text"] for row in ROWS])


def models(file: str) -> Target:
    """A target: a file of base models.

    These are made in a process of their own: a fork of one whose libraries have threads may wait for these for ever.
    """
    if not Path(BASES[0]).exists():
        maker = get_context("spawn").Process(target=build_bases)
        maker.start()
        maker.join()
    return read_model, {f"{name}/{file}": [Path(name, file).read_bytes()] for name in BASES}


def params() -> Target:
    """A target: params.yaml."""
    files = [(ROOT / name).read_bytes() for name in ("params.yaml", "recipes/smoke.yaml")]
    return load_params, {"params.yaml": files}


def tables() -> dict[str, Target]:
    """The targets of tables: the function of each, and for each file name some valid content."""
    text = csv_file()
    lines = "\n".join(json.dumps(row, ensure_ascii=False) for row in ROWS).encode()
    return {
        "csv": (
            read_table,
            {
                "t.csv": [text, csv_file(";", "\r\n"), b'text,label\n5" a,1\nb,0\n', text.decode().encode("utf-16")],
                "t.tsv": [csv_file("\t"), csv_file("\t", "\r"), b'text\tlabel\n"a\t1\nb"\t0\n'],
            },
        ),
        "packed": (
            read_table,
            {
                "t.csv.gz": [gzip.compress(text)],
                "t.csv.bz2": [bz2.compress(text)],
                "t.csv.xz": [lzma.compress(text)],
                "t.jsonl.zst": [pa.compress(lines, "zstd", asbytes=True)],
                "t.jsonl.lz4": [pa.compress(lines, "lz4", asbytes=True)],
            },
        ),
        "json": (
            read_table,
            {
                "t.jsonl": [lines, lines.decode().encode("utf-16-le")],
                "t.json": [json.dumps(ROWS, indent=1).encode(), json.dumps(ROWS).encode(), lines],
            },
        ),
        "parquet": (
            read_table,
            {
                "t.parquet": [
                    parquet_file(),
                    parquet_file(compression="gzip", data_page_version="2.0", row_group_size=7),
                    parquet_file(use_dictionary=False, compression="zstd", write_statistics=False),
                    parquet_file(compression="none", store_schema=False, version="1.0"),
                ]
            },
        ),
    }


TARGETS: dict[str, Callable[[], Target]] = {
    **{name: partial(tables().__getitem__, name) for name in tables()},
    "config": partial(models, "config.json"),
    "tokenizer": partial(models, "tokenizer.json"),
    "params": params,
}
