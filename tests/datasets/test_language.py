"""bonafide/datasets/language.py: what letters tell of words."""

import pytest

from bonafide.datasets.language import NEGATION, cutter, is_spaceless


@pytest.mark.parametrize(
    "text",
    [
        "Not bad.",
        "I can't",
        "I can’t",
        "he DOESNT care",
        "no!",
        "never again",
        "nothing works",
        "cannot",
        "不好",
        "没有",
        "别买",
    ],
)
def test_a_negation_is_found(text):
    assert NEGATION.search(text)


@pytest.mark.parametrize("text", ["a notable knot", "I know", "another nobleman", "want", "很好", "innocent"])
def test_a_word_that_holds_a_negation_is_none(text):
    assert NEGATION.search(text) is None


@pytest.mark.parametrize(
    ("texts", "spaceless"),
    [
        (["It isn't."], False),
        (["我不知道"], True),
        (["他叫Tom"], False),
        (["ไม่รู้"], True),
        (["모르겠어요"], False),
        ([""], False),
    ],
)
def test_most_letters_decide_whether_there_are_spaces(texts, spaceless):
    assert is_spaceless(texts) == spaceless


def test_words_keep_their_nt_and_characters_stand_alone():
    assert cutter(["a text"])("It isn't, 7:30!!") == ["It", "isn't", ",", "7", ":", "30", "!!"]
    assert cutter(["我不知道"])("我 7点") == ["我", "7", "点"]
