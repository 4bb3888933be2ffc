"""The comment on a pull request: rendered from data that may be anybody's, refused where it is not what it must be."""

import json
import re
import shutil
from itertools import groupby

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from typer.testing import CliRunner

from bonafide.cli.app import app
from bonafide.project.errors import InputError
from bonafide.review.comment import LIMIT, MARKER, Place, markdown
from bonafide.review.schema import LONGEST, MAX_BYTES, NAME, ROWS, Review, parse
from tests.github_server import TOKEN, Hub, of_fork, pull, serve, zipped, zipped_as
from tests.reviews import COMMIT, rendered, review

PARSER = MarkdownIt("commonmark").enable(["table", "strikethrough"]).disable("text_join")  # escapes stay apart
ATTACKS = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "![x](http://evil.example/x.png)",
    "[x](javascript:alert(1))",
    "<http://evil.example>",
    "http://evil.example",
    "www.evil.example",
    "a@evil.example",
    "@everyone",
    "#1",
    "GH-1",
    "a|b|c",
    "`|`",
    "```\n# x",
    "</details>",
    "-->",
    "<!-- bonafide:review -->",
    "::error::x",
    "##[error]x",
    "\u202egnp\u202c",
    "\x1b[31mred",
    "{{ 7 * 7 }}",
    "$x$",
    "\\",
]
word = st.one_of(st.sampled_from(ATTACKS), st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40))
PLACE = Place(COMMIT, "https://github.com/owner/name/actions/runs/11")


def comment_of(facts):
    return markdown(parse(json.dumps(facts).encode()), PLACE)


def outline(text):
    """Every block with the kinds of what is in its line; runs of plain text count once."""
    blocks = []
    for token in PARSER.parse(text):
        kinds = ["text" if child.type == "text_special" else child.type for child in token.children or []]
        blocks.append((token.type, [kind for kind, _ in groupby(kinds)]))
    return blocks


def inline(text):
    return [child for token in PARSER.parse(text) for child in token.children or []]


HARMLESS = outline(comment_of(review(["harmless", "words"])))


@settings(max_examples=60)
@given(word)
@example("\n")
def test_whatever_the_words_are_the_comment_has_the_same_structure(text):
    """No link, image, tag, heading, cell or line comes of them, and no mention."""
    shown = comment_of(review([text, f"{text}0"]))
    assert outline(shown) == HARMLESS
    outside = [child.content for child in inline(shown) if child.type == "text"]
    assert [words for words in outside if re.search(r"[@#]|://\w|www\.\w", words)] == []
    assert "##[" not in shown
    assert [line for line in shown.splitlines() if line.startswith(("::", "=", "+"))] == []


def test_the_comment_begins_with_its_marker_and_the_verdict_as_one_sentence():
    lines = comment_of(rendered()).splitlines()
    assert lines[0] == MARKER
    assert lines[1].startswith("### Macro F1 on test fell from 0.880 to 0.861, by 0.019 (95% interval")


def test_the_comment_says_what_changed():
    shown = comment_of(rendered())
    for expected in [
        "\n**The gate fails.**\n",
        "| macro F1 | 0.880 | 0.861 | −0.019 (−0.031 to −0.007) regressed |",
        "3 only in `main` and 5 only in this change are not compared; 2 with another target",
        "**2 slices of 31 regressed**",
        "| `domain` `movies`, 720 rows | 0.885 → 0.850 |",
        "| `train.learning_rate` | `5e-05` | `3e-05` |",
        "| `train.epochs` | `2` | – |",
        "12 added, 3 removed, 2 with another target; quarantined 113 → 115",
        "`train` (code, params); `evaluate` (data)",
        "dvc.lock is in step",
        "[the run](https://github.com/owner/name/actions/runs/11)",
    ]:
        assert expected in shown


def test_without_a_comparison_it_says_why():
    reason = "main: the pipeline fails on recipes/smoke.yaml"
    gate = {"passed": False, "reasons": [reason]}
    shown = comment_of(review(comparison=None, data=None, stages=[], gate=gate))
    assert "### Not compared: main: the pipeline fails on recipes/smoke\\.yaml\n" in shown
    assert "**The gate fails**, since there is no verdict." in shown


def longest(letter):
    """The longest words in the longest lists: more than an artifact may hold."""
    long = letter * LONGEST
    facts = review([long])
    for place in (facts["comparison"]["slices"], facts["changes"]):
        place["shown"] = [place["shown"][-1]] * ROWS
    facts["stages"], facts["stale"] = facts["stages"][-1:] * ROWS, [long] * ROWS
    facts["gate"]["reasons"] = [letter * 1000] * ROWS
    return markdown(Review.model_validate(facts), PLACE)


@pytest.mark.parametrize("letter", ["|", "a", "漢", "\U0001f600", "\u202e"])
def test_the_comment_is_within_githubs_limit_whatever_comes(letter):
    shown = longest(letter)
    assert len(shown.encode("utf-16-le")) // 2 <= LIMIT
    assert shown.endswith("The figures are what the code of this change says of itself.\n")
    assert outline(shown)[-1] == ("paragraph_close", [])


def test_what_is_cut_says_so():
    assert "\n\n*Cut here, since GitHub takes 65,536 characters" in longest("|")
    assert "Cut here" not in longest("a")


def without(key):
    facts = review()
    del facts[key]
    return facts


def planted(**other):
    return json.dumps(review(**other)).encode()


REFUSED = {
    "no JSON": (b"MZ\x90\x00", "the file: Invalid JSON"),
    "another key": (planted(markdown="<b>"), "markdown: Extra inputs are not permitted"),
    "a missing key": (json.dumps(without("gate")).encode(), "gate: Field required"),
    "another version": (planted(version=2), "version: Input should be 1"),
    "NaN": (planted(comparison={**review()["comparison"], "margin": float("nan")}), "comparison.margin: "),
    "infinity": (planted(comparison={**review()["comparison"], "margin": float("inf")}), "comparison.margin: "),
    "a number as text": (planted(pull_request="7"), "pull_request: "),
    "a long word": (planted(recipe="x" * (LONGEST + 1)), "recipe: String should have at most 120 characters"),
    "a long list": (planted(stale=["x"] * (ROWS + 1)), "stale: List should have at most 20 items"),
    "a commit that is none": (planted(head={"name": "x", "commit": "../../etc"}), "head.commit: "),
    "a metric that is none": (
        planted(comparison={**review()["comparison"], "primary": "<b>"}),
        "comparison.primary: String should match pattern",
    ),
    "no metric": (
        planted(comparison={**review()["comparison"], "metrics": []}),
        "comparison.metrics: List should have",
    ),
    "a list as the whole": (b"[]", "the file: "),
    "nested deeply": (b"[" * 100_000, "the file: "),
    "half a surrogate": (planted(recipe="\ud800"), "the file: Invalid JSON"),
    "10 MB": (b" " * 10_000_000, f"larger than {MAX_BYTES:,} bytes"),
}


@pytest.mark.parametrize(("content", "message"), REFUSED.values(), ids=REFUSED)
def test_what_is_no_review_is_refused_in_one_line_without_its_words(content, message):
    with pytest.raises(InputError) as refused:
        parse(content)
    assert str(refused.value).startswith(f"{NAME}: {message}")
    assert len(str(refused.value)) < 300
    assert len(str(refused.value).splitlines()) == 1


@pytest.fixture
def publish(monkeypatch):
    """Run `bonafide comment 11` against a hub: its exit code and what it printed."""

    def run(hub: Hub):
        with serve(hub):
            monkeypatch.setenv("GITHUB_API_URL", hub.api)
            monkeypatch.setenv("GITHUB_REPOSITORY", "owner/name")
            monkeypatch.setenv("GITHUB_TOKEN", TOKEN)
            return CliRunner().invoke(app, ["comment", "11"])

    return run


def hub_with(content: bytes, **other) -> Hub:
    hub = of_fork(COMMIT)
    hub.artifacts["review"] = zipped_as([(NAME, content)])
    for name, value in other.items():
        setattr(hub, name, value)
    return hub


def test_a_second_push_updates_the_one_comment(publish):
    hub = hub_with(planted(pull_request=7))
    before = [
        {"id": 1, "issue": 7, "user": {"login": "stranger"}, "body": f"{MARKER}\nmine now", "html_url": ""},
        {"id": 2, "issue": 7, "user": {"login": "github-actions[bot]"}, "body": "of another workflow", "html_url": ""},
        *({"id": 3 + i, "issue": 7, "user": None, "body": None, "html_url": ""} for i in range(120)),
    ]
    hub.comments += before
    assert publish(hub).exit_code == 0
    assert hub.comments[: len(before)] == before
    (ours,) = hub.comments[len(before) :]
    assert (ours["issue"], ours["body"].splitlines()[0]) == (7, MARKER)
    first = ours["body"]

    commit = "c" * 40
    hub.run["head_sha"], hub.pulls = commit, [pull(7, commit)]
    hub.artifacts["review"] = zipped_as([(NAME, planted(pull_request=7, gate={"passed": True, "reasons": []}))])
    assert publish(hub).exit_code == 0
    assert len(hub.comments) == len(before) + 1
    assert ours["body"] != first
    assert commit[:10] in ours["body"]


def test_the_token_goes_to_the_api_alone_and_only_one_request_writes(publish):
    hub = hub_with(planted())
    hub.artifacts["report"] = zipped(index=b"<p>")
    assert publish(hub).exit_code == 0
    stored = [(url, token) for _, url, token in hub.requests if not url.startswith("/repos/")]
    assert stored == [("/0", None)]
    assert {token for _, url, token in hub.requests if url.startswith("/repos/")} == {f"Bearer {TOKEN}"}
    assert [method for method, _, _ in hub.requests if method != "GET"] == ["POST"]
    assert "/actions/runs/11/artifacts/1)" in hub.comments[0]["body"]


def many(count):
    return zipped_as([(f"{i}", b"") for i in range(count)])


HOSTILE = {
    "foreign pull request": (hub_with(planted(pull_request=8)), "is of another pull request than run 11"),
    "pull request of another fork": (hub_with(planted(pull_request=9), filters=False), "is of another pull request"),
    "no pull request": (hub_with(planted(pull_request=None)), "is of another pull request than run 11"),
    "superseded": (hub_with(planted(), pulls=[pull(7, "d" * 40)]), "no open pull request has its commit aaaaaaaaaa"),
    "a push's run": (hub_with(planted(), run=of_fork(COMMIT, event="push").run), "is not of a pull request"),
    "10 MB": (hub_with(b"\0", artifacts={"review": b"PK" * 5_000_000}), "artifact: larger than 200,000 bytes"),
    "10 MB, untold": (hub_with(b"", artifacts={"review": b"PK" * 5_000_000}, size_told=9), "artifact: larger than"),
    "10 MB, packed": (hub_with(b" " * 10_000_000), "artifact: review.json is larger than 200,000 bytes"),
    "path traversal": (
        hub_with(b"", artifacts={"review": zipped_as([("../../commands/review.json", planted())])}),
        "artifact: holds 1 files or another than review.json",
    ),
    "absolute path": (hub_with(b"", artifacts={"review": zipped_as([("/tmp/review.json", b"")])}), "artifact: holds 1"),  # noqa: S108
    "a second file": (
        hub_with(b"", artifacts={"review": zipped_as([(NAME, planted()), ("../x", b"")])}),
        "artifact: holds 2 files",
    ),
    "the same file twice": (hub_with(b"", artifacts={"review": many(2)}), "artifact: holds 2 files"),
    "no archive": (hub_with(b"", artifacts={"review": b"PK\x03\x04nothing"}), "artifact: BadZipFile"),
    "no artifact": (hub_with(b"", artifacts={}), "run 11: has no artifact review"),
    "NaN": (hub_with(REFUSED["NaN"][0]), "review.json: comparison.margin: "),
    "another schema": (hub_with(b'{"comment": "<script>"}'), "review.json: "),
}


@pytest.mark.parametrize(("hub", "message"), HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_artifact_is_refused_and_nothing_is_written(publish, tmp_path, hub, message):
    refused = publish(hub)
    assert isinstance(refused.exception, InputError)
    assert message in str(refused.exception)
    assert [method for method, _, _ in hub.requests if method != "GET"] == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("words", [ATTACKS[::2], ATTACKS[1::2]])
def test_hostile_words_come_through_as_words(publish, words):
    hub = hub_with(json.dumps(review(words)).encode())
    assert publish(hub).exit_code == 0
    found = inline(hub.comments[0]["body"])
    kinds = {child.type for child in found}
    assert kinds <= {"text", "text_special", "code_inline", "strong_open", "strong_close", "link_open", "link_close"}
    links = [child.attrs["href"] for child in found if child.type == "link_open"]
    assert links == ["https://github.com/owner/name/actions/runs/11"]


def test_a_server_that_fails_is_the_environments_fault_and_no_address_has_a_key(publish):
    failed = publish(hub_with(b"", broken=True))
    assert isinstance(failed.exception, OSError)
    assert str(failed.exception).endswith("/repos/owner/name/actions/runs/11: 502")
    assert TOKEN not in str(failed.exception)


def test_outside_of_a_workflow_it_says_what_is_missing(monkeypatch):
    monkeypatch.delenv("GITHUB_TOKEN", raising=False)
    monkeypatch.setenv("GITHUB_REPOSITORY", "owner/name")
    with pytest.raises(InputError, match=r"^GITHUB_TOKEN: not set"):
        CliRunner().invoke(app, ["comment", "1"], catch_exceptions=False)


@pytest.mark.slow
def test_a_person_with_a_phone_can_read_it(tmp_path):
    """No line is wider than the screen: 390 CSS pixels, as GitHub lays a comment out."""
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium")
    assert chromium, "no chromium on PATH: apt-get install chromium (.ci/run does)"
    style = (
        "body{font:16px/1.5 sans-serif;margin:0;padding:16px} table{border-collapse:collapse;display:block;"
        "width:max-content;max-width:100%;overflow:auto} td,th{border:1px solid #d0d7de;padding:6px 13px}"
        "code{font-size:85%;background:#eff1f3;padding:.2em .4em} h3{font-size:1.25em}"
    )
    page_of = "<!doctype html><meta name=viewport content='width=device-width'><style>{}</style>{}".format
    (tmp_path / "comment.html").write_text(page_of(style, PARSER.render(comment_of(rendered()))))
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 390, "height": 844}, device_scale_factor=2)
        page.goto((tmp_path / "comment.html").as_uri())
        page.screenshot(path=tmp_path / "comment.png", full_page=True)  # for whoever wants to look
        widths = page.eval_on_selector_all("h3, p, td, th", "found => found.map(e => e.getBoundingClientRect().right)")
        hidden = page.eval_on_selector_all("table", "found => found.map(t => t.scrollWidth - t.clientWidth)")
        browser.close()
    assert max(widths) <= 390
    assert max(hidden) <= 0
