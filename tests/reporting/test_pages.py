"""Pages: what is not ours is escaped and visible; what is undefined is an error; nothing is loaded."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jinja2 import DictLoader, UndefinedError

from bonafide.project.console import printable
from bonafide.project.numbers import count, p_value, percent, plain, score, signed, tick
from bonafide.reporting import html


@pytest.fixture
def page(monkeypatch):
    """Render a template given as a string in the environment that all pages have."""

    def show(source: str, **context: object) -> str:
        environment = html._environment(html.TEMPLATES).overlay(loader=DictLoader({"page": source}))
        return environment.get_template("page").render(context)

    return show


def test_a_text_is_escaped_in_content_and_in_attributes(page):
    text = "\"'><script>alert(1)</script>"
    escaped = "&#34;&#39;&gt;&lt;script&gt;alert(1)&lt;/script&gt;"
    assert page('<p title="{{ t }}">{{ t }}</p>', t=text) == f'<p title="{escaped}">{escaped}</p>'


PNG = "data:image/png;base64,iVBORw0KGgo="


def test_a_picture_of_ours_stands_in_the_page_as_it_is(page):
    assert page('<img src="{{ uri|picture }}">', uri=PNG) == f'<img src="{PNG}">'


@pytest.mark.parametrize(
    "uri",
    [
        "", "https://example.com/a.png", "data:image/svg+xml;base64,PHN2Zy8+", "data:image/png,abc", "javascript:x()",
        f'{PNG}" onerror="alert(1)', f"{PNG}\n", f" {PNG}", "data:image/png;base64,", "DATA:image/png;base64,aaaa",
        "data:text/html;base64,PHNjcmlwdD4=",
    ],
)  # fmt: skip
def test_any_other_address_is_refused(page, uri):
    with pytest.raises(ValueError, match="no picture that a page may show"):
        page('<img src="{{ uri|picture }}">', uri=uri)


def test_a_name_that_is_not_given_is_an_error(page):
    with pytest.raises(UndefinedError, match="'nothing' is undefined"):
        page("{{ nothing }}")


def test_control_and_bidi_characters_are_spelled_out(page):
    assert page("{{ t }}", t="a\x1b[31m\u202eb\x00\ud800") == "a⟨U+001B⟩[31m⟨U+202E⟩b⟨U+0000⟩⟨U+D800⟩"


@given(st.text(st.characters(codec=None, exclude_categories=())))
def test_printable_text_can_be_written_and_is_stable(text):
    shown = printable(text)
    assert shown.encode("utf-8").decode("utf-8") == shown
    assert printable(shown) == shown


@pytest.mark.parametrize(
    "text", ["好电影值得一看", "می\u200cرود", "👩\u200d👧", "naïve café", "two\nlines\tand a tab", "full\u3000width"]
)
def test_the_scripts_that_people_write_are_left_as_they_are(text):
    assert printable(text) == text


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (count(10605), "10,605"),
        (score(0.88449), "0.884"),
        (score(-0.02), "\u22120.020"),
        (percent(0.8864), "88.6%"),
        (percent(0.0004), "0.04%"),
        (signed(0.0614), "+0.061"),
        (signed(-0.0126), "\u22120.013"),
        (p_value(0.0004), "below 0.001"),
        (p_value(0.0321), "0.032"),
        (score(7.2941, 26.5), "7.3"),
        (signed(-0.04, 26.5), "\u22120.0"),
        (plain(7.2941, 26.5), "7.3"),
        (plain(-0.0004), "0.000"),
        (tick(2000), "2,000"),
        (tick(0.250), "0.25"),
        (tick(1e-5), "1e\u221205"),
        (tick(0), "0"),
        *((none(None), "\u2013") for none in (count, score, percent, signed, p_value)),
    ],
)
def test_numbers_read_as_people_write_them(shown, expected):
    assert shown == expected
