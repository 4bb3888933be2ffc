"""Hostile words in every place of the report: none becomes an element, an attribute, an address or a script."""

import re
import shutil
from functools import cache
from html.parser import HTMLParser
from itertools import groupby
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from ruamel.yaml import YAML

from bonafide.params.load import load_params
from bonafide.project.console import printable
from bonafide.project.paths import REPORTS
from stages.report import report
from tests.report_inputs import evaluation, write_inputs

PARAMS = load_params(Path(__file__).parents[2] / "params.yaml")
PARSER = MarkdownIt("commonmark").enable(["table", "strikethrough"])
ATTACKS = [
    "<script>alert('text')</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "</title><script>alert(2)</script>",
    "</style><script>alert(3)</script>",
    "]]><script>alert(4)</script>",
    "<!-- --><iframe src=javascript:alert(5)>",
    "javascript:alert(6)",
    '<a href="javascript:alert(7)">x</a>',
    "<svg/onload=alert(8)>",
    "</svg><math><mi xlink:href=javascript:alert(9)>",
    "{{ 7 * 7 }}{% raw %}",
    "=cmd|'/C calc'!A0",
    "\u202egnp.txt\u202c",
    "\x1b[31mred\x1b[0m",
    "::error::x",
    "![x](http://evil.example/x.png)",
    "a\x00b",
    "&lt;b&gt;",
    "<meta http-equiv=refresh content=0;url=http://evil.example>",
    "<base href=//evil.example>",
    "<form action=//evil.example><input autofocus onfocus=alert(10)>",
]


class Shape(HTMLParser):
    """What a browser acts on: elements with the names of their attributes, addresses, comments."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements, self.addresses, self.comments, self.words = [], [], [], []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, tuple(sorted(name for name, _ in attrs))))
        self.addresses += [
            value for name, value in attrs if name in {"href", "src", "srcset", "action", "style", "content"}
        ]

    def handle_comment(self, data):
        self.comments.append(data)

    def handle_data(self, data):
        self.words.append(data)


def page_of(words: list[str]) -> str:
    """The report in which `words` are texts, ids, slices, labels, splits, sources, licences and reasons."""
    words = list(dict.fromkeys(words))
    labels = [*words, "positive"] if "positive" not in words else words
    facts = evaluation(words=words, labels=labels, held_out=[word for word in words if word != "test"][:1])
    facts["verdict"]["sentence"] += " " + words[0]
    write_inputs(Path.cwd(), facts, words)
    report(PARAMS)
    return (REPORTS / "index.html").read_text(encoding="utf-8")


def outline(markdown: str) -> list[tuple[str, list[str]]]:
    """Every block of a Markdown text with the kinds of what is in its line; runs of plain text count once."""
    blocks = []
    for token in PARSER.parse(markdown):
        kinds = ["text" if child.type == "text_special" else child.type for child in token.children or []]
        blocks.append((token.type, [kind for kind, _ in groupby(kinds)]))
    return blocks


def keys(value: object) -> object:
    """The structure of a YAML document without its strings."""
    if isinstance(value, dict):
        return {key: keys(inner) for key, inner in value.items()}
    return [keys(inner) for inner in value] if isinstance(value, list) else type(value)


def structure(words: list[str]) -> dict[str, object]:
    """What the three files consist of, but for words."""
    page = Shape(page_of(words))
    comment = (REPORTS / "report.md").read_text(encoding="utf-8")
    front, card = (REPORTS / "model_card.md").read_text(encoding="utf-8").removeprefix("---\n").split("\n---\n", 1)
    return {
        "page": (page.elements, page.addresses, page.comments),
        "comment": outline(comment),
        "front": keys(YAML(typ="safe", pure=True).load(front)),
        "card": outline(card),
    }


harmless_structure = cache(lambda: structure(["harmless"]))
word = st.one_of(st.sampled_from(ATTACKS), st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40))


@settings(max_examples=25)
@given(word)
@example("a`b|c")
@example(": x\n- y")
def test_whatever_the_words_are_page_comment_and_card_have_the_same_structure(tmp_path, text):
    found, expected = structure([f"{text}0"]), harmless_structure()
    assert [name for name in expected if found[name] != expected[name]] == []
    assert found["page"][2] == []


def test_hostile_words_are_shown_as_they_are(tmp_path):
    shown = "".join(Shape(page_of(ATTACKS)).words)
    assert [attack for attack in ATTACKS if printable(attack) not in shown] == []


def test_no_line_of_the_comment_or_the_card_begins_with_hostile_words(tmp_path):
    page_of(ATTACKS)
    for name in ("report.md", "model_card.md"):
        lines = (REPORTS / name).read_text(encoding="utf-8").splitlines()
        assert [line for line in lines if line.lstrip().startswith(("::", "=", "<", "!", "\x1b"))] == []


@pytest.mark.slow
def test_a_real_browser_runs_loads_and_links_nothing_of_them(tmp_path):
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium")
    assert chromium, "no chromium on PATH: apt-get install chromium (.ci/run does)"
    page_of(ATTACKS)
    noticed: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page()
        page.on("dialog", lambda dialog: (noticed.append(f"dialog: {dialog.message}"), dialog.dismiss()))
        page.on("console", lambda message: noticed.append(f"console: {message.text}"))
        page.on("pageerror", lambda error: noticed.append(f"error: {error}"))
        page.on("request", lambda request: noticed.append(f"request: {request.url}"))
        page.goto((tmp_path / REPORTS / "index.html").as_uri())
        for cell in page.locator("td, th, text").all()[:400]:
            cell.dispatch_event("mouseover")
        active = page.locator("script, iframe, object, embed, form, input, base, math, link, audio, video").count()
        pictures = page.eval_on_selector_all("img", "found => found.map(i => i.getAttribute('src'))")
        links = page.eval_on_selector_all("a", "found => found.map(a => a.getAttribute('href'))")
        handlers = page.evaluate(
            "[...document.querySelectorAll('*')].flatMap(e => [...e.attributes])"
            ".filter(a => /^on|^style$|href/.test(a.name)).length"
        )
        shown = page.evaluate("document.body.textContent")
        browser.close()
    assert noticed == [f"request: {(tmp_path / REPORTS / 'index.html').as_uri()}"]
    assert active == 0
    assert pictures
    assert all(re.fullmatch(r"data:image/png;base64,[A-Za-z0-9+/=]+", source) for source in pictures)
    assert links == ["validate/index.html"]
    assert handlers == 1  # that link's
    assert [attack for attack in ATTACKS if printable(attack) not in shown] == []
