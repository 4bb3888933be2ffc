"""Downloads that a loader may have, pinned in params.yaml; a base model's pins are checked in sources.base_model."""

import re
from pathlib import PurePosixPath
from typing import Annotated, Any
from urllib.parse import SplitResult, unquote, urlsplit

from pydantic import ConfigDict, Discriminator, Field, Tag
from pydantic.dataclasses import dataclass

typed = dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
Sha256 = Annotated[str, Field(pattern=r"^([0-9a-f]{64})?$")]
FILE = r"^\w[\w. ()+-]{0,79}$"


@typed
class Download:
    """A source distribution that a loader may read."""

    package: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*==[A-Za-z0-9.!+_-]+$")]
    """NAME==VERSION on the package index."""
    sha256: Sha256

    @property
    def key(self) -> str:
        """What a loader finds it by."""
        return self.package.partition("==")[0]


@typed
class Link:
    """A file by URL that a loader may read."""

    url: Annotated[str, Field(max_length=4000)]
    sha256: Sha256
    name: Annotated[str, Field(pattern=FILE)] | None = None
    """What a loader finds it by, where that is not the last part of the URL's path."""

    def __post_init__(self) -> None:
        """Refuse a URL that is not of HTTP, that holds a password, or that has no file's name where one is needed."""
        parts = split_url(self.url)
        if parts.username or parts.password:
            raise ValueError("url: a password in it would be kept in git and in every report: put it into ~/.netrc")
        if not re.search(FILE, self.key):
            raise ValueError("url: it ends in no name of a file: give one as name")

    @property
    def key(self) -> str:
        """What a loader finds it by."""
        return self.name or PurePosixPath(unquote(split_url(self.url).path)).name


def split_url(url: str) -> SplitResult:
    """The parts of an HTTP URL; raise ValueError where it is none."""
    try:
        parts = urlsplit(url)
        whole = parts.scheme in ("http", "https") and parts.hostname and (parts.port or True)
    except ValueError:
        whole = False
    if not whole or not url.isprintable() or " " in url:
        raise ValueError("url: not one that begins with http:// or https://")
    return parts


def kind_of(download: Any) -> str:
    """Which of the two kinds a download in params.yaml is."""
    return "url" if isinstance(download, Link) or (isinstance(download, dict) and "url" in download) else "package"


AnyDownload = Annotated[Annotated[Download, Tag("package")] | Annotated[Link, Tag("url")], Discriminator(kind_of)]
