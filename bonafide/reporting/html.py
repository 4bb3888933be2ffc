"""Self-contained HTML pages, in which every value that is not ours is inert.

Three layers, each enough alone: autoescape in every template, a Content-Security-Policy that allows neither scripts
nor requests, and templates without scripts or links made from data.
"""

import re
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from bonafide.project import numbers
from bonafide.project.console import printable
from bonafide.reporting import markdown

TEMPLATES = Path(__file__).parent / "templates"
PICTURE = re.compile(r"data:image/png;base64,[A-Za-z0-9+/=]+")


def _finalize(value: object) -> object:
    return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def picture(uri: str) -> str:
    """The address of a picture, if it is a PNG file of ours within the page; raise ValueError for any other."""
    if not PICTURE.fullmatch(uri):
        raise ValueError(f"no picture that a page may show: {uri[:40]!r}")
    return uri


@cache
def _environment(folder: Path) -> Environment:
    environment = Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_finalize,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "count": numbers.count,
        "score": numbers.score,
        "percent": numbers.percent,
        "signed": numbers.signed,
        "p_value": numbers.p_value,
        "picture": picture,
        "code": markdown.code,
        "prose": markdown.prose,
        "yaml_string": markdown.yaml_string,
    }
    return environment


def render(template: str, folder: Path = TEMPLATES, **context: object) -> str:
    """Render `folder`'s template; an undefined name raises jinja2.UndefinedError.

    Strings are escaped and made `printable`; only `markupsafe.Markup` (charts) passes as it is. Filters: `count`
    (1,234), `score` (0.886), `percent` (88.6%), `signed` (+0.061), `p_value` (below 0.001), None as an en dash;
    `picture` for the address of a picture, checked; `code`, `prose` and `yaml_string` for words of others in Markdown
    templates (`bonafide.reporting.markdown`).
    """
    return _environment(folder).get_template(template).render(context)
