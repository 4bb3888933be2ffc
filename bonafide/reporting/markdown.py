"""Somebody else's words inside GitHub's Markdown and YAML front matter: visible, and nothing but words.

Results are Markup, so that the autoescape of `reporting.html` leaves them alone; a value that a template forgets to
pass through here is escaped for HTML and still opens no tag.
"""

import json
import re

from markupsafe import Markup

from bonafide.project.console import printable

LONGEST = 120  # characters of a name in a table: the comment has to fit a pull request
ACTIVE = re.compile(
    r"[\\`*_{}\[\]<>!|~&$]"  # escapes, spans, links, tags, cells, entities, mathematics
    r"|:(?=\S)"  # http://, :emoji:, ::command
    r"|(?<!\d)\.(?=\S)|\.(?=[^\s\d])"  # www.example, but not 0.884
)


def _spell(text: str, marks: str) -> str:
    """Spell each of `marks` by its number: they act on GitHub even where they are escaped."""
    return text.translate({ord(mark): f"⟨U+{ord(mark):04X}⟩" for mark in marks})


def _one_line(text: str) -> str:
    words = " ".join(printable(text).split())
    return words if len(words) <= LONGEST else words[: LONGEST - 1] + "…"


def code(text: object) -> Markup:
    """Show `text` as a code span that also holds in a table: no mention, link, image, tag, line or column comes of it.

    The fence is longer than any run of backticks inside. Pipes are spelled out (a table splits at them before it sees
    the span), and so is `##[`, which GitHub's runner obeys anywhere in a line of a log.
    """
    content = _spell(_one_line(str(text)), "|").replace("##[", "#⟨U+0023⟩[")
    fence = "`" * (1 + max(map(len, re.findall("`+", content)), default=0))
    pad = " " if not content or content.startswith("`") or content.endswith("`") else ""
    return Markup(f"{fence}{pad}{content}{pad}{fence}")  # noqa: S704 - inert, see above


def prose(text: str) -> Markup:
    """Show `text` as plain words within a line of Markdown, not at its start; `@` and `#` are spelled out."""
    words = _spell(" ".join(printable(text).split()), "@#")
    return Markup(ACTIVE.sub(r"\\\g<0>", words))  # noqa: S704 - inert, see above


def yaml_string(text: str) -> Markup:
    """Quote `text` for YAML: a JSON string of printable characters is a YAML 1.2 double-quoted scalar."""
    return Markup(json.dumps(printable(text), ensure_ascii=False))  # noqa: S704 - quoted
