"""predictions.parquet gives back what was written, in every form that a task's outputs may have."""

import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import given
from hypothesis import strategies as st

from bonafide.evaluation import predictions
from bonafide.evaluation.predictions import Predictions

OUTPUTS = np.dtype([("text", object), ("nats", np.float64), ("tokens", np.float64)])
NUMBERS = st.one_of(st.floats(), st.just(np.nan))
ROWS = st.lists(st.tuples(st.one_of(st.none(), st.text()), NUMBERS, NUMBERS), min_size=1, max_size=9)


def stored(path, systems):
    rows = len(next(iter(systems.values())))
    ids = [str(row) for row in range(rows)]
    split = Predictions(ids, ids, np.array([f"t{row}" for row in ids], dtype=object), systems)
    predictions.write(path, "text", {"test": split, "other": split})
    return predictions.read(path, "text")


@given(ROWS)
def test_structs_come_back_field_by_field(tmp_path_factory, rows):
    outputs = np.array(rows, dtype=OUTPUTS)
    path = tmp_path_factory.getbasetemp() / "structs.parquet"
    for split in stored(path, {"model": outputs, "reversed": outputs[::-1]}).values():
        found = split.systems["model"]
        assert found.dtype == OUTPUTS
        for name in OUTPUTS.names:
            np.testing.assert_array_equal(found[name], outputs[name])
            np.testing.assert_array_equal(split.systems["reversed"][name], outputs[name][::-1])


def test_a_text_may_be_missing_from_every_row(tmp_path):
    outputs = np.array([(None, 1.0, np.nan)] * 3, dtype=OUTPUTS)
    found = stored(tmp_path / "p.parquet", {"model": outputs})["test"].systems["model"]
    assert found["text"].tolist() == [None] * 3
    assert np.isnan(found["tokens"]).all()


def test_numbers_and_probabilities_are_columns_as_before(tmp_path):
    rng = np.random.default_rng(1)
    values, shares = rng.random(4), rng.random((4, 3))
    found = stored(tmp_path / "p.parquet", {"model": values, "other": shares})["other"].systems
    np.testing.assert_array_equal(found["model"], values)
    np.testing.assert_array_equal(found["other"], shares)
    types = pq.read_schema(io.BytesIO((tmp_path / "p.parquet").read_bytes()))
    assert [types.field(name).type for name in ("model", "other")] == [pa.float64(), pa.list_(pa.float64(), 3)]
