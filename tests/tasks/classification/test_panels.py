"""What a classifier shows of itself: slices of its own, and panels whose numbers are those of the predictions."""

import numpy as np
import pyarrow as pa

from bonafide.evaluation.slices import cut
from bonafide.protocol import Split
from bonafide.tasks.classification.panels import slices


def test_length_and_negation_are_always_cut():
    table = pa.table({"text": ["not good", "good", "no"]})
    split = Split(table, {"offsets": np.array([0, 4, 7, 10])})
    pieces = {(piece.column, piece.value): piece.rows.tolist() for piece in cut(table, [], slices(split))}
    assert pieces == {
        ("length", "3"): [1, 2],
        ("length", "4"): [0],
        ("negation", "yes"): [0, 2],
        ("negation", "no"): [1],
    }
