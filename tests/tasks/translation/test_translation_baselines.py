"""bonafide/tasks/translation/baselines.py: each says what its name says, of train alone."""

from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from threadpoolctl import threadpool_limits

from bonafide.evaluation.estimates import headline, sum_up
from bonafide.project.paths import BASE_MODEL, MODEL
from bonafide.project.randomness import generator, hashed_uniform
from bonafide.protocol import Split
from bonafide.tasks.translation import baselines, model, score
from tests.project import ROOT
from tests.tasks.translation.pairs import PARAMS, SOURCES, TARGETS, save_model, split

SETTINGS = score.settings(PARAMS)


def test_the_nearest_source_of_train_gives_its_target():
    found = baselines.nearest(
        SOURCES, TARGETS, {"test": ["The train leaves at 8:30.", "Tom is my brother.", SOURCES[3], "%"]}
    )
    assert found == {"test": [TARGETS[1], TARGETS[5], TARGETS[3], TARGETS[0]]}


def test_rows_in_blocks_find_the_same_neighbours(monkeypatch):
    whole = baselines.nearest(SOURCES, TARGETS, {"test": SOURCES[::-1]})
    monkeypatch.setattr(baselines, "SIMILARITIES", 20)
    assert baselines.nearest(SOURCES, TARGETS, {"test": SOURCES[::-1]}) == whole == {"test": TARGETS[::-1]}


def test_model_1_is_what_its_equations_give_one_pair_at_a_time():
    pairs = [
        (["", "the", "house"], ["das", "Haus"]),
        (["", "the", "book"], ["das", "Buch"]),
        (["", "a", "book"], ["ein", "Buch"]),
    ]
    p = {(e, f): 1.0 for ours, theirs in pairs for e in ours for f in theirs}
    for _ in range(baselines.ROUNDS):
        counts = dict.fromkeys(p, 0.0)
        for ours, theirs in pairs:
            for f in theirs:
                for e in ours:
                    counts[e, f] += p[e, f] / sum(p[other, f] for other in ours)
        p = {(e, f): n / sum(m for (other, _), m in counts.items() if other == e) for (e, f), n in counts.items()}
    best = {e: max((f for other, f in p if other == e), key=lambda f: p[e, f]) for e, _ in p if e}
    found = baselines.align(*zip(*pairs, strict=True))
    assert {e: f for e, f in found.items() if e} == best == {"the": "das", "house": "Haus", "book": "Buch", "a": "ein"}


def test_word_by_word_keeps_what_train_lacks_and_spaces_where_the_language_has_them():
    train, targets = ["the house", "The book", "a book"], ["das Haus", "das Buch", "ein Buch"]
    assert baselines.word_by_word(train, targets, {"test": ["A House, Tom"]}) == {"test": ["ein Haus , Tom"]}
    assert baselines.word_by_word(["好 书", "好"], ["good book", "good"], {"test": ["书好"]}) == {"test": ["book good"]}


def test_later_pairs_teach_no_word_where_there_are_too_many(monkeypatch):
    monkeypatch.setattr(baselines, "MAX_LINKS", 1)
    assert baselines.word_by_word(["a", "b"], ["x", "y"], {"test": ["a b"]}) == {"test": ["x b"]}


def test_without_a_base_model_there_are_three_in_the_order_of_their_strength():
    found = baselines.predict({"train": split(), "test": split(SOURCES[:2], TARGETS[:2])}, PARAMS)
    assert set(found) == {system.name for system in baselines.BASELINES} - {"base"}
    assert found["copy"]["test"]["text"].tolist() == SOURCES[:2]
    assert found["nearest"]["test"]["text"].tolist() == TARGETS[:2]
    for by_split in found.values():
        assert set(by_split) == {"test"}
        assert all(np.isnan(by_split["test"][name]).all() for name in score.FIELDS[1:])
        score.row_sums(np.array(TARGETS[:2], dtype=object), by_split["test"], SETTINGS)


def test_a_base_model_is_searched_as_the_trained_one_is():
    save_model(MODEL, seed=0)
    save_model(BASE_MODEL, seed=1)
    (BASE_MODEL / "generation_config.json").unlink()
    part = split(SOURCES[:4], TARGETS[:4])
    found = baselines.predict({"train": split(), "test": part}, PARAMS)
    assert next(system.name for system in baselines.BASELINES if system.name in found) == "base"
    other = model.load(MODEL)
    other.model.load_state_dict(model.load(BASE_MODEL).model.state_dict())
    np.testing.assert_array_equal(found["base"]["test"], model.predict(other, part.examples))
    assert found["base"]["test"].dtype.names == score.FIELDS


@pytest.mark.slow
def test_on_tatoeba_a_neighbour_is_strong_and_nothing_depends_on_threads():
    """Pairs with an equal side are of one component; a twentieth of these are the test's, by their hash."""
    table = pq.read_table(ROOT / "data/tatoeba_en_zh.parquet").select(["source", "target"])
    nodes = [np.unique(table[side].to_pylist(), return_inverse=True)[1] for side in table.column_names]
    links = coo_array((np.ones(len(table)), (nodes[0], nodes[0].max() + 1 + nodes[1])), shape=[2 * len(table)] * 2)
    groups = connected_components(links, directed=False)[1][nodes[0]]
    held_out = hashed_uniform([*map(str, groups)], 1) < 0.05
    table = table.append_column("group", pa.array([*map(str, groups)]))
    splits = {"train": Split(table.filter(~held_out), {}), "test": Split(table.filter(held_out), {})}
    with threadpool_limits(1):
        found = baselines.predict(splits, PARAMS)
    targets = np.array(splits["test"].table["target"].to_pylist(), dtype=object)
    rows = {name: score.row_sums(targets, by["test"], SETTINGS) for name, by in found.items()}
    sums = sum_up(rows, splits["test"].table["group"].to_pylist(), 1000, generator(1))
    measured = {
        name: headline(one, partial(score.metrics, settings=SETTINGS), score.METRICS, score.RATE)
        for name, one in sums.items()
    }
    bleu = {name: [one["bleu"][end] for end in ("low", "value", "high")] for name, one in measured.items()}
    assert bleu["nearest"] == pytest.approx([16.72, 17.91, 19.11], abs=0.1)
    assert bleu["words"] == pytest.approx([3.53, 4.17, 4.80], abs=0.1)
    assert bleu["copy"] == pytest.approx([0.01, 0.02, 0.04], abs=0.01)
    chrf = {name: one["chrf"]["value"] for name, one in measured.items()}
    assert chrf == pytest.approx({"nearest": 16.21, "words": 10.26, "copy": 0.20}, abs=0.05)
    again = baselines.predict(splits, PARAMS)
    assert all((again[name]["test"]["text"] == found[name]["test"]["text"]).all() for name in found)
