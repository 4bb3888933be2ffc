"""YAML 1.2 as DVC reads it, from files that nobody vouches for."""

import copy
from functools import lru_cache
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from ruamel.yaml.events import AliasEvent

from bonafide.project.errors import InputError

MAX_BYTES = 1_000_000  # a params file is read whole; 100,000 label names fit
NOT_YAML = (RecursionError, ValueError, LookupError, TypeError, AttributeError, AssertionError)
"""What ruamel also raises: for the month 13, a number of 5,000 digits, an empty !!int."""


def read_yaml(path: Path) -> Any:
    """Read a YAML file as `parse_yaml` does."""
    return parse_yaml(read_text(path), str(path))


def read_text(path: Path) -> str:
    """The text of a YAML file; raise InputError that names it."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise InputError(f"{path}: larger than {MAX_BYTES:,} bytes")
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: {type(error).__name__}: not a readable YAML file") from None
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None


def reader() -> YAML:
    """A parser as DVC has it, that does not warn: an anchor that is set twice harms nobody without aliases."""
    yaml = YAML(typ="safe", pure=True)
    yaml.composer.warn_double_anchors = False
    return yaml


def parse_yaml(text: str, place: str) -> Any:
    """Read YAML 1.2 as DVC does, without aliases: a hundred bytes of them can stand for gigabytes.

    Raise InputError that names `place` and the line.
    """
    return copy.deepcopy(_parse(text, place))


@lru_cache(maxsize=8)  # a stage asks three times for dvc.lock, which takes 0.1 s
def _parse(text: str, place: str) -> Any:
    yaml = reader()
    try:
        alias = _first_alias(yaml, text) if "*" in text else None  # looking for one takes half of the time
        if alias is None:
            return yaml.load(text)
    except YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        problem = str(getattr(error, "problem", None) or "not YAML").splitlines()[0]
        raise InputError(f"{place}:{mark.line + 1 if mark else 1}: {problem}") from None
    except NOT_YAML as error:
        raise InputError(f"{place}: {type(error).__name__}: not a readable YAML file") from None
    raise InputError(f"{place}:{alias.start_mark.line + 1}: aliases (*{alias.anchor}) are not accepted")


def _first_alias(yaml: YAML, text: str) -> Any:
    return next((event for event in yaml.parse(text) if isinstance(event, AliasEvent)), None)
