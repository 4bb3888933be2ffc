"""What there is to say and to show of a table's images, by their records (quality.images.image_faults)."""

from collections import Counter

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from bonafide.project.arrays import Bools
from bonafide.quality import figures
from bonafide.quality.checks import listed
from bonafide.quality.figures import Figure
from bonafide.quality.images.image_faults import numbers

SHOWN = 20  # kinds of images in the table
AS_THEY_ARE = "RGB"


def measured(table: pa.Table, records: pa.Table) -> pa.Table:
    """Columns about which stock expectations can be: no bytes of images, and null where nothing is known."""
    width, height = records["width"], records["height"]
    return pa.table(
        {
            "id": table["id"],
            "label": table["label"],
            "bytes": pc.binary_length(table["image"]),
            "format": records["format"],
            "mode": records["mode"],
            "width": width,
            "height": height,
            "shorter_side": pc.min_element_wise(width, height, skip_nulls=False),
            "longer_side": pc.max_element_wise(width, height, skip_nulls=False),
            "pixels": pc.multiply(width.cast(pa.int64()), height.cast(pa.int64())),
            "mean": records["mean"],
            "deviation": records["deviation"],
        }
    )


def facts(records: pa.Table) -> dict[str, str]:
    """Formats, sizes, and what was done to pixels: turned, converted."""
    decoded = records.filter(pc.is_valid(records["mean"]))
    sizes = [f"{w:,} x {h:,}" for w, h in zip(*(decoded[n].to_pylist() for n in ("width", "height")), strict=True)]
    converted = [mode for mode in decoded["mode"].to_pylist() if mode != AS_THEY_ARE]
    turned = pc.sum(pc.greater(decoded["orientation"], 1)).as_py() or 0
    return {
        "Formats": _counted(records["format"].drop_null().to_pylist()) or "none is known",
        "Pixels": _counted(sizes) or "none decode",
        "Turned as EXIF says": f"{turned:,}",
        "Converted to RGB": _counted(converted) or "0",
    }


def _counted(values: list[str]) -> str:
    return listed([f"{value} {n:,}" for value, n in Counter(values).most_common()])


def table_of_kinds(records: pa.Table) -> list[Figure]:
    """Formats, modes and sizes with their images; nothing where all are of one kind."""
    columns = [records[name].to_pylist() for name in ("format", "mode", "width", "height")]
    found = Counter(zip(*columns, strict=True))
    rows = [
        [form, mode, f"{width:,} x {height:,}", n]
        for (form, mode, width, height), n in found.most_common()
        if form is not None
    ]
    kinds = {"Format": "text", "Mode": "text", "Pixels": "text", "Images": "count"}
    table: Figure = {
        "kind": "table",
        "title": "Kinds of images",
        "columns": [{"title": title, "kind": kind} for title, kind in kinds.items()],
        "rows": rows[:SHOWN],
        "caption": f"As their headers say, the {SHOWN} most frequent of {len(rows):,} kinds. Modes are Pillow's: L is "
        "grey, P a palette, 1 black and white, A transparency (shown on white), I;16 grey of 16 bits (scaled to 8).",
    }
    return [table] if len(rows) > 1 else []


def charts(records: pa.Table, kept: Bools) -> list[Figure]:
    """Sizes, brightness, contrast, formats and modes of the images that are passed on, (n,) True."""
    found = records.filter(pa.array(kept))
    widths, heights = numbers(found, "width"), numbers(found, "height")
    sizes = [
        figures.histogram(f"{name} in pixels", values.tolist())
        for name, values in (("Width", widths), ("Height", heights))
        if len(values) and np.quantile(values, 0.99) > values.min()  # one bar says nothing that the facts do not
    ]
    kinds = pc.binary_join_element_wise(found["format"], found["mode"], " ")
    return [
        *sizes,
        figures.histogram("Brightness (mean of an image, 0 to 1)", numbers(found, "mean").tolist()),
        figures.histogram("Contrast (deviation within an image)", numbers(found, "deviation").tolist()),
        figures.column("Images by format and mode", kinds),
    ]
