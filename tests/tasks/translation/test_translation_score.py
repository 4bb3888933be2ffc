"""bonafide/tasks/translation/score.py: sums that add up to what sacrebleu says of a corpus, to the bit."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sacrebleu.metrics import BLEU, CHRF

from bonafide.evaluation.estimates import sum_up
from bonafide.evaluation.paired_tests import differences
from bonafide.tasks.translation import score
from tests.tasks.translation.pairs import GOOD, PARAMS, POOR, TARGETS, outputs

SETTINGS = score.settings(PARAMS)
TEXT = st.text("我你的不下雨。，12,: aTom.!\n", max_size=25) | st.text(max_size=12)
PAIRS = st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=8)
TOKENIZERS = ["zh", "13a", "char"]


def as_objects(texts):
    return np.array([*texts, None], dtype=object)[:-1]


def sums_of(texts, targets=TARGETS, tokenizer="zh"):
    return score.row_sums(as_objects(targets), outputs(texts), {"tokenizer": tokenizer})


def corpus_scores(texts, targets, tokenizer):
    return {
        "bleu": BLEU(tokenize=tokenizer).corpus_score(texts, [targets]).score,
        "chrf": CHRF().corpus_score(texts, [targets]).score,
    }


@pytest.mark.parametrize("tokenizer", TOKENIZERS)
@pytest.mark.parametrize(
    "texts", [GOOD, POOR, TARGETS, [""] * 8, ["我"] * 8], ids=["good", "poor", "same", "none", "one"]
)
def test_scores_are_sacrebleus_to_the_bit(texts, tokenizer):
    found = score.metrics(sums_of(texts, tokenizer=tokenizer).sum(axis=0), SETTINGS)
    assert {name: float(found[name]) for name in ("bleu", "chrf")} == corpus_scores(texts, TARGETS, tokenizer)


@given(PAIRS, st.sampled_from(TOKENIZERS))
def test_scores_of_any_texts_are_sacrebleus_to_the_bit(pairs, tokenizer):
    texts, targets = map(list, zip(*pairs, strict=True))
    found = score.metrics(sums_of(texts, targets, tokenizer).sum(axis=0), SETTINGS)
    assert {name: float(found[name]) for name in ("bleu", "chrf")} == corpus_scores(texts, targets, tokenizer)


def test_scores_of_resamples_are_those_of_their_rows_in_one_call():
    sums = sums_of(GOOD)
    picks = np.random.default_rng(0).integers(8, size=(3, 20, 8))
    weights = np.stack([np.bincount(pick, minlength=8) for pick in picks.reshape(-1, 8)]).reshape(3, 20, 8)
    found = score.metrics(weights.astype(float) @ sums, SETTINGS)
    assert {name: values.shape for name, values in found.items()} == dict.fromkeys(found, (3, 20))
    for place in np.ndindex(3, 20):
        drawn = [GOOD[row] for row in picks[place]], [TARGETS[row] for row in picks[place]]
        assert {name: found[name][place] for name in ("bleu", "chrf")} == corpus_scores(*drawn, "zh")


def test_by_hand():
    texts = outputs(GOOD, nats=6.0, tokens=4.0, hits=3.0, ended=1.0)
    texts["ended"][:2] = 0
    found = score.metrics(score.row_sums(as_objects(TARGETS), texts, SETTINGS).sum(axis=0), SETTINGS)
    assert {name: pytest.approx(float(value), abs=1e-12) for name, value in found.items()} == {
        "bleu": 55.075862696461826,
        "chrf": 45.383800083574734,
        "exact_match": 1 / 8,
        "nats_per_token": 1.5,
        "token_accuracy": 0.75,
        "length_error": 8 / 59,
        "unfinished": 0.25,
        "repeats": 0.0,
        "numerals_kept": 3 / 4,
    }
    assert [*found] == [metric.name for metric in score.METRICS]


def test_what_a_system_does_not_say_is_nan_and_nothing_else():
    found = score.metrics(sums_of(GOOD).sum(axis=0), SETTINGS)
    assert {name for name, value in found.items() if np.isnan(value)} == {
        "nats_per_token",
        "token_accuracy",
        "unfinished",
    }
    without = score.metrics(sums_of(["你好"], ["你好"]).sum(axis=0), SETTINGS)
    assert np.isnan(without["numerals_kept"])


@pytest.mark.parametrize(
    ("text", "target", "repeats"),
    [
        ("好好好", "很好", 1),
        ("好好", "很好", 0),
        ("我不知道我不知道我不知道", "我不知道", 1),
        ("哈哈哈", "哈哈哈", 0),
        ("11111", "很好", 0),
        ("no no no", "no", 1),
        ("a b c a b c a b c", "a", 1),
        ("a b a b a c", "a", 0),
    ],
)
def test_a_repeat_is_three_in_succession_that_the_target_lacks(text, target, repeats):
    assert score.metrics(sums_of([text], [target]).sum(axis=0), SETTINGS)["repeats"] == repeats


@pytest.mark.parametrize(
    ("text", "target", "kept"),
    [
        ("7点30", "7:30", 1),
        ("１２本", "12本", 1),
        ("1,000 元", "1000元", 1),
        ("3", "3和3", 0.5),
        ("三", "3", 0),
        ("1", "12", 0),
    ],
)
def test_numerals_are_kept_each_as_often_as_it_is_there(text, target, kept):
    assert score.metrics(sums_of([text], [target]).sum(axis=0), SETTINGS)["numerals_kept"] == kept


@given(st.permutations(range(8)), st.integers(2, 9))
def test_neither_the_order_of_rows_nor_repeating_all_of_them_changes_a_metric(order, times):
    sums = sums_of(GOOD)
    moved = sums_of([GOOD[row] for row in order], [TARGETS[row] for row in order])
    expected = score.metrics(sums.sum(axis=0), SETTINGS)
    for other in (moved.sum(axis=0), times * sums.sum(axis=0)):
        found = score.metrics(other, SETTINGS)
        assert all(found[name] == pytest.approx(expected[name], rel=1e-12, nan_ok=True) for name in found)


def test_a_system_does_not_differ_from_itself():
    sums = sums_of(GOOD)
    drawn = sum_up({"one": sums, "two": sums}, [*"abcdefgh"], 50, np.random.default_rng(0))
    np.testing.assert_array_equal(drawn["one"].draws, drawn["two"].draws)
    measured = differences(sums[:, :28], sums[:, :28], bleu_alone, 100, np.random.default_rng(0))
    assert measured["bleu"].value == 0
    assert measured["bleu"].p_value == 1
    assert not measured["bleu"].draws.any()


def bleu_alone(sums):
    return {"bleu": score.bleu(sums[..., score.BLEU_SUMS])}


@pytest.mark.parametrize(
    "wrong",
    [np.zeros(8), np.zeros((8, 2)), as_objects(GOOD), outputs([None] * 8), outputs([1.5] * 8), outputs(GOOD)[["text"]]],
)
def test_what_is_no_translation_is_refused(wrong):
    with pytest.raises(ValueError, match="no translations"):
        score.row_sums(as_objects(TARGETS), wrong, SETTINGS)


@pytest.mark.parametrize(("language", "tokenizer"), [("zh", "zh"), ("ja", "char"), ("de", "13a"), ("th", "char")])
def test_the_tokenizer_is_the_target_languages(language, tokenizer):
    found = score.settings(SimpleNamespace(task=SimpleNamespace(target_language=language)))
    assert found["tokenizer"] == tokenizer
    assert found["signatures"] == [
        f"BLEU|nrefs:1|case:mixed|eff:no|tok:{tokenizer}|smooth:exp|version:2.6.0",
        "chrF2|nrefs:1|case:mixed|eff:yes|nc:6|nw:0|space:no|version:2.6.0",
    ]
    assert score.comparable(outputs(GOOD), found)[1] == {"tokenizer": tokenizer}
