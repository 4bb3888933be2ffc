"""quality/text_faults.py: what is wrong with a text, and what is not."""

import time

import pyarrow as pa
import pytest

from bonafide.quality.labels import faults as label_faults
from bonafide.quality.text_faults import PATTERNS, text_faults, undecodable, without

SOUND = [
    "plain ascii, with\ttab\nand newline\r\n",
    "café naïve Straße œuvre — “quoted” ‘text’… 50 € ™",
    "AMANHÃ… “AMANHÔ NÃO Â Ã",  # Portuguese capitals
    "ÂME, HÂLE and pâté",
    "👩\u200d🚀 ❤️\u200d🔥 family 👨\u200d👩\u200d👧",  # emoji sequences
    "می\u200cخواهم",  # Persian: "I want" needs its ZWNJ
    "क्\u200dष",  # Devanagari: ZWJ asks for the half form
    "ภาษา\u200bไทย",  # Thai: ZWSP marks words
    "שלום\u200f! مرحبا\u200e",  # implicit marks of Hebrew and Arabic
    "质量很好，推荐！ 日本語 한국어",
    "Ð and Ñ, ð and ï alone; El Niño; Þórður",
    "l'été à 20 °C, naïf, haï»",
]
BROKEN = {
    "nul": ["a\x00b"],
    "control_characters": ["a\x07b", "\x1b[31mred", "a\x7f", "a\x85b", "form\x0cfeed"],
    "bidi_controls": ["user\u202egnp.exe", "\u2066x\u2069"],
    "zero_width": ["fr\u200bee", "\u200bstart", "a\u200db", "1\u200c2", "be\u2060st", "\ufeffbom", "好\u200b评"],
    "replacement_character": ["caf\ufffd"],
    "mojibake": [
        text.encode().decode(encoding)
        for text, encoding in [
            ("café", "cp1252"), ("Ça ©", "latin-1"), ("it’s", "cp1252"), ("“yes”".replace("”", ""), "cp1252"),
            ("a – b", "cp1252"), ("Über", "cp1252"), ("große", "cp1252"), ("brand™", "cp1252"), ("😀", "latin-1"),
            ("50\u00a0€", "cp1252"),
            ("voilà", "latin-1"), ("中文很好", "latin-1"), ("привет", "latin-1"), ("\ufeffx", "cp1252"),
        ]
    ] + ["锟斤拷"],
}  # fmt: skip


def column(values, kind=None):
    return pa.chunked_array([pa.array(values, kind or pa.large_string())])


def faults_of(text, low=1, high=2000):
    return {name for name, mask in text_faults(column([text]), low, high).items() if mask[0]}


@pytest.mark.parametrize("text", SOUND)
def test_sound_text_of_any_script_has_no_fault(text):
    assert faults_of(text) == set()


@pytest.mark.parametrize(("reason", "text"), [(reason, text) for reason, texts in BROKEN.items() for text in texts])
def test_each_fault_is_found(reason, text):
    assert reason in faults_of(text)


def test_every_pattern_has_an_example():
    assert set(BROKEN) == set(PATTERNS)


def test_a_row_keeps_all_its_faults():
    assert faults_of("\x00\u202e\ufffd\u2060", high=3) == {
        "nul", "bidi_controls", "replacement_character", "zero_width", "too_long",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "faults"),
    [
        (None, {"null_text"}),
        ("", {"blank_text", "too_short"}),
        (" \u3000\t", {"blank_text"}),
        ("ab", {"too_short"}),
        ("好评好", set()),
        ("好评好评好评", {"too_long"}),
    ],
)
def test_lengths_are_characters_and_null_is_null_only(text, faults):
    assert faults_of(text, low=1 if text is None or not text.strip() else 3, high=5) == faults


def test_rows_that_are_not_utf8_are_found_and_can_be_put_away():
    raw = pa.array([b"fine", b"caf\xe9", None, b"\xed\xa0\x80", "好".encode()])
    texts = pa.chunked_array([pa.Array.from_buffers(pa.string(), 5, raw.buffers())])
    assert undecodable(texts).tolist() == [False, True, False, True, False]
    assert without(texts, undecodable(texts)).to_pylist() == ["fine", None, None, None, "好"]
    assert undecodable(column([], pa.string())).tolist() == []


def test_labels_outside_the_declared_set_and_missing_ones_are_told_apart():
    faults = label_faults(column(["a", None, "A", "b", ""], pa.string()), ["a", "b"])
    assert faults["null_label"].tolist() == [False, True, False, False, False]
    assert faults["unknown_label"].tolist() == [False, False, True, False, True]


def test_the_time_is_linear_in_texts_made_against_backtracking():
    texts = column(["Ã" * 1_000_000, "ã\u0080" * 500_000, "a\u200d" * 500_000])
    began = time.process_time()
    text_faults(texts, 1, 2000)
    assert time.process_time() - began < 5
