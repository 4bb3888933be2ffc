"""What is known of evaluated rows: hashes of their inputs, and the slices that they are in."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from bonafide.evaluation import row_facts
from bonafide.evaluation.slices import Slice


def test_a_row_keeps_the_hash_that_earlier_revisions_gave_it():
    assert row_facts.fingerprint(["good film"]) == "a44b23e1e93afbc2b86ef864e23810e9"
    assert row_facts.fingerprint(("一部好电影", 1.5, None)) == "67ca9d47ad3b406a2e2779611b6279a6"


def test_images_are_known_by_their_bytes():
    images = [b"\x89PNG", b"\x89PNG ", b"", b"\xff\xd8\xff"]
    hashes = [row_facts.fingerprint([image]) for image in images]
    assert len(set(hashes)) == 4
    assert hashes[0] == row_facts.fingerprint([bytes(images[0])])
    assert hashes[0] != row_facts.fingerprint([str(images[0])])


def test_a_table_read_in_parts_is_hashed_row_by_row(tmp_path, monkeypatch):
    monkeypatch.setattr(row_facts, "READ_ROWS", 3)
    rows = [(bytes([row]) * row, f"text {row}") for row in range(10)]
    table = pa.table({"image": pa.array([row[0] for row in rows], pa.large_binary()), "text": [row[1] for row in rows]})
    pq.write_table(table, tmp_path / "rows.parquet", row_group_size=4)
    assert row_facts.fingerprints(tmp_path / "rows.parquet", ["image", "text"]) == [*map(row_facts.fingerprint, rows)]
    assert row_facts.fingerprints(tmp_path / "rows.parquet", ["text"]) == [
        row_facts.fingerprint([text]) for _, text in rows
    ]


def test_facts_are_read_as_they_were_written(tmp_path):
    pieces = [Slice("kind", "a", np.array([0, 2])), Slice("kind", "b", np.array([1]))]
    facts = row_facts.table(["x", "y", "z"], ["1", "2", "3"], pieces)
    row_facts.write(tmp_path / "rows.parquet", {"test": facts, "other": facts})
    found = row_facts.read(tmp_path / "rows.parquet", "test")
    assert found.drop_columns("split").to_pylist() == facts.to_pylist()
    assert [piece.rows.tolist() for piece in row_facts.slices(found, [("kind", "a"), ("kind", "b")])] == [[0, 2], [1]]
