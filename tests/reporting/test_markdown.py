"""Words of others in Markdown and YAML, read by a CommonMark parser with GitHub's tables."""

from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from ruamel.yaml import YAML

from bonafide.project.console import printable
from bonafide.reporting.markdown import code, prose, yaml_string

PARSER = MarkdownIt("commonmark").enable(["table", "strikethrough"])
ATTACKS = [
    "`",
    "``` \n# heading",
    "a|b",
    "\\|",
    "\\",
    "` | x | `",
    "[x](javascript:alert(1))",
    "![x](http://evil)",
    "<script>alert(1)</script>",
    "<http://evil>",
    "http://evil.example",
    "www.evil.example",
    "@everyone",
    "#1",
    "::set-output name=x::y",
    "\n::error::x",
    "##[error]x",
    "a\r\nb",
    "\u202eright to left",
    "\x1b[31mred",
    "\u200b",
    "&lt;",
    "| --- |",
    "~~x~~",
    "**x**",
    "$x$",
    "-->",
    "\ud800",
    "=cmd|'/C calc'!A0",
]
words = st.one_of(st.text(max_size=80), st.sampled_from(ATTACKS), st.text(alphabet="`|\\ \n<>[]()!*_#@:a", max_size=30))


def rows_of(markdown: str) -> list[list[list[str]]]:
    """The cells of a table's body: of each, the types of its inline tokens."""
    tokens, rows = PARSER.parse(markdown), []
    for before, token in pairwise(tokens):
        if before.type == "tr_open":
            rows.append([])
        if before.type == "td_open":
            rows[-1].append([child.type for child in token.children])
    return rows[1:]


@given(words)
@example("`` ` ``")
@example("\\`")
def test_a_code_span_stays_one_cell_and_one_span_of_a_table(text):
    table = f"| a | b |\n|---|---|\n| {code(text)} | end |\n"
    assert rows_of(table) == [[["code_inline"], ["text"]]]


@given(words)
def test_a_code_span_shows_its_words_and_nothing_else(text):
    (inline,) = (token for token in PARSER.parse(f"- name {code(text)} end") if token.type == "inline")
    assert [child.type for child in inline.children] == ["text", "code_inline", "text"]
    shown = inline.children[1].content
    spelled = " ".join(printable(text).split()).replace("|", "⟨U+007C⟩").replace("##[", "#⟨U+0023⟩[")
    assert shown.strip(" ") == spelled or len(spelled) > 120


@given(words)
def test_prose_is_plain_text(text):
    (inline,) = (token for token in PARSER.parse(f"Verdict: {prose(text)}.") if token.type == "inline")
    assert {child.type for child in inline.children} <= {"text", "text_special"}
    assert not {"@", "#"} & set(inline.content)


@pytest.mark.parametrize("show", [code, prose])
@given(text=words)
def test_no_line_no_control_and_no_bidi_character_comes_through(show, text):
    shown = str(show(text)).replace("\u200c", "").replace("\u200d", "")
    assert len(shown.splitlines()) <= 1
    assert "##[" not in shown
    assert all(character.isprintable() for character in shown)


@pytest.mark.parametrize("address", ["http://evil.example", "www.evil.example", "a@evil.example", "ftp://evil.example"])
def test_prose_breaks_what_github_would_link(address):
    assert address not in prose(f"see {address} now")


def test_a_sentence_of_numbers_is_left_as_it_is():
    sentence = "The model beats its shell: macro F1 on test is 0.884 against 0.791 (95% interval 0.069 to 0.116)."
    assert prose(sentence) == sentence


@given(words)
def test_a_yaml_string_reads_back_as_the_same_words(text):
    front = f"a: 1\nname: {yaml_string(text)}\nb: 2\n"
    assert YAML(typ="safe", pure=True).load(front) == {"a": 1, "name": printable(text), "b": 2}
