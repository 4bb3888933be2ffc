"""The gate of a corpus: planted faults are found, and shares are what counting by hand gives."""

from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest

from bonafide.quality.rows import split_rows
from bonafide.quality.texts import corpus

LIMITS = {
    "min_characters": 3,
    "max_characters": 200,
    "min_rows": 1,
    "max_lacunae": 0.1,
    "max_repeated_lines": 0.5,
    "max_unknown_characters": 0.01,
    "max_known_ngrams": 0.1,
    "near_duplicate_similarity": 0.8,
    "personal_data": "report",
    "validation_fraction": 0.1,
    "test_fraction": 0.1,
    "max_quarantine_fraction": 0.05,
}
LONG = "the old king walked slowly along the broken wall and counted every stone that was left of it"


def limits(**changes):
    return SimpleNamespace(**LIMITS | changes)


def table(texts, splits=None):
    columns = {
        "id": [str(place) for place in range(len(texts))],
        "group": [None] * len(texts),
        "split": splits or [None] * len(texts),
    }
    found = pa.table({name: pa.array(values, pa.string()) for name, values in columns.items()})
    return found.append_column("text", pa.array(texts, pa.large_string()))


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (None, "null_text"),
        (" \n\t ", "blank_text"),
        ("ab", "too_short"),
        ("a" * 201, "too_long"),
        ("明月几时有，□□问青天。", "lacunae"),
        ("bell\x07s", "control_characters"),
        ("caf\ufffd au lait", "replacement_character"),
        ("cafÃ© au lait", "mojibake"),
    ],
)
def test_a_planted_fault_is_found_in_its_row_alone(text, fault):
    found = corpus.examine(table(["all is well", text, "明月几时有，把酒问青天。"]), limits())
    assert found.faults[fault].tolist() == [False, True, False]
    assert not np.delete(np.stack([*found.faults.values()]), 1, axis=1).any()


def test_a_text_that_is_there_again_is_set_aside_and_one_that_is_nearly_there_too():
    texts = [LONG, LONG.upper(), LONG.replace("old", "mad"), "nothing of the kind"]
    found = corpus.examine(table(texts, ["train", "train", "test", "train"]), limits())
    rows = split_rows(found, limits(), 1)
    assert rows.counts()["duplicate"] == 1
    assert rows.faults["near_duplicate"].tolist() == [True, False, False, False]


def test_personal_data_are_masked_where_params_say_so():
    found = corpus.examine(table(["write to jane.doe@example.com at once"]), limits(personal_data="mask"))
    assert "jane" not in found.table["text"][0].as_py()


def test_lines_that_several_texts_have_are_measured_in_characters():
    assert corpus.repeated_lines(["ab\ncdef\nab", " ab \n\nxy"]) == (6, 12)


def test_ngrams_are_of_words_and_of_characters_where_there_are_no_spaces():
    train = ["one two three four five six seven eight nine", "明月几时有把酒问青天"]
    others = {"test": ["Two, three: four five six seven eight NINE ten", "明月几时有把酒问青山"]}
    assert corpus.known_ngrams(train, others) == {"test": (1 + 2, 2 + 3)}


def test_no_ngram_reaches_into_another_text():
    half = ["one two three four", "five six seven eight"]
    assert corpus.known_ngrams(["one two three four five six seven eight"], {"test": half}) == {"test": (0, 0)}


def test_what_test_shares_with_train_and_lacks_there_breaks_the_gate_with_an_offer():
    kept = table([LONG, LONG + " ñ", "short and new"], ["train", "test", "validation"])
    broken = {check.name: check for check in corpus.checks(kept, limits()) if not check.passed}
    assert set(broken) == {"known_ngrams", "unknown_characters"}
    assert broken["known_ngrams"].rows == "test"
    assert "validate.max_known_ngrams: 0.1 decides" in broken["known_ngrams"].broken()
    assert broken["unknown_characters"].failing == 1
