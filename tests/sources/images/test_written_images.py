"""What fetch writes of images: bytes that depend on the rows only, in row groups of a size that fits memory."""

import hashlib
import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from bonafide.sources.images import byte_columns
from bonafide.sources.images.byte_columns import ByteColumn, row_groups
from bonafide.sources.images.png import to_png
from bonafide.sources.sample import sample
from bonafide.sources.tables import ROW_GROUP, write_table

SIZES = st.lists(st.none() | st.integers(0, 40), max_size=60)


def images(sizes):
    return [None if size is None else bytes([row % 251]) * size for row, size in enumerate(sizes)]


def table(sizes, chunk=7):
    values = images(sizes)
    parts = [pa.array(values[at : at + chunk], pa.large_binary()) for at in range(0, len(values), chunk)]
    return pa.table(
        {"id": [str(row) for row in range(len(values))], "image": pa.chunked_array(parts, pa.large_binary())}
    )


@given(SIZES, st.integers(1, 100))
def test_a_column_that_grows_holds_what_was_added(sizes, chunk):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(byte_columns, "CHUNK", chunk)
        column = ByteColumn()
        for value in images(sizes):
            column.add(value)
        found = column.finish()
    assert found.type == pa.large_binary()
    assert found.to_pylist() == images(sizes)


@given(SIZES, st.integers(1, 100), st.integers(1, 20), st.integers(1, 9), st.integers(1, 9))
def test_row_groups_are_all_rows_in_order_and_depend_on_the_rows_only(sizes, chunk, most, first, second):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(byte_columns, "CHUNK", chunk)
        parts = [[*row_groups(table(sizes, size), most)] for size in (first, second)]
    assert [len(part) for part in parts[0]] == [len(part) for part in parts[1]]
    assert pa.concat_tables(parts[0]).equals(table(sizes))
    for part in parts[0]:
        held = [len(value or b"") for value in part["image"].to_pylist()]
        assert len(held) <= most
        assert sum(held[:-1]) < chunk


def test_a_table_without_images_is_written_as_ever():
    rows = pa.table({"id": [str(row) for row in range(100)], "text": ["a", None] * 50, "x": [0.5] * 100})
    sink = pa.BufferOutputStream()
    pq.write_table(rows, sink, row_group_size=ROW_GROUP)
    write_table(rows, Path("t.parquet"))
    assert Path("t.parquet").read_bytes() == sink.getvalue().to_pybytes()


def test_the_same_rows_are_the_same_bytes_and_images_are_not_packed_again(monkeypatch):
    monkeypatch.setattr(byte_columns, "CHUNK", 100)
    sizes = [30, None, 40, 0, 50, 100, 7] * 3
    for name, chunk in {"a": 1, "b": 5, "c": 100}.items():
        write_table(table(sizes, chunk), Path(f"{name}.parquet"))
    assert len({Path(f"{name}.parquet").read_bytes() for name in "abc"}) == 1
    assert pq.read_table("a.parquet").equals(table(sizes))
    with pq.ParquetFile("a.parquet") as file:
        assert file.metadata.num_row_groups == 7
        column = file.metadata.row_group(0).column(1)
        assert (column.compression, column.statistics) == ("UNCOMPRESSED", None)


def test_a_failed_write_leaves_the_old_file():
    write_table(table([1, 2]), Path("t.parquet"))
    before = Path("t.parquet").read_bytes()
    broken = pa.chunked_array([pa.array([b"a"]).cast(pa.string())])
    huge = pa.table({"id": broken, "odd": pa.array([{}], pa.struct([]))})  # Parquet has no empty structs
    with pytest.raises(pa.ArrowException):
        write_table(huge, Path("t.parquet"))
    assert Path("t.parquet").read_bytes() == before
    assert [path.name for path in Path().iterdir()] == ["t.parquet"]


def test_a_sample_keeps_whole_groups_of_images():
    rows = table([9] * 300).append_column("group", pa.array([str(row // 3) for row in range(300)]))
    kept = sample(rows, 0.4)
    assert 60 < kept.num_rows < 180
    assert all(kept["group"].to_pylist().count(group) == 3 for group in set(kept["group"].to_pylist()))
    assert [len(value) for value in kept["image"].to_pylist()] == [9] * kept.num_rows


@given(st.integers(1, 70), st.integers(1, 70), st.integers(0, 2**32))
def test_a_png_has_every_pixel(height, width, seed):
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    with Image.open(io.BytesIO(to_png(pixels))) as image:
        assert (image.format, image.mode, image.size) == ("PNG", "RGB", (width, height))
        assert (np.asarray(image) == pixels).all()


def test_a_png_is_the_same_bytes_everywhere():
    """Stored blocks hold no choice of zlib's: 2 + 5 + 32 x 97 + 4 bytes in the IDAT."""
    data = to_png(np.arange(3072, dtype=np.uint32).astype(np.uint8).reshape(32, 32, 3))
    assert len(data) == 8 + 25 + (12 + 2 + 5 + 32 * 97 + 4) + 12 == 3172
    assert hashlib.sha256(data).hexdigest() == "580c2013f1c76c8ed9e955b9c84a99de89eb720fb7dc5f718825feda46fd0e0f"
