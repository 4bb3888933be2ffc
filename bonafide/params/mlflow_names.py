"""Names that MLflow takes: what the user may call an experiment and a champion, and what we make of that."""

import hashlib
import re


def experiment_name(text: str) -> str:
    """The name of an experiment, as it is; raise ValueError where MLflow or its database would refuse it."""
    if not 0 < len(text) <= 500 or not is_text(text):
        raise ValueError("is no name of an experiment: 1 to 500 characters, none of them NUL or half of one")
    return text


def registered_name(text: str) -> str:
    """The name of a registered model, as it is; raise ValueError where MLflow or its database would refuse it."""
    if not text.strip() or len(text) > 250 or text in (".", "..") or re.search("[/:]", text) or not is_text(text):
        raise ValueError("is no name of a registered model: 1 to 250 characters without slashes and colons")
    return text


def is_text(text: str) -> bool:
    """Whether it is whole Unicode text without NUL, for which databases have no room."""
    return "\0" not in text and not any("\ud800" <= character <= "\udfff" for character in text)


def folder_name(experiment: str) -> str:
    """A folder for an experiment: its name, or, where that is no plain name of a file, one like it and a hash."""
    if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9 _.-]{0,99}", experiment):
        return experiment
    like = re.sub(r"[^A-Za-z0-9_-]+", "-", experiment).strip("-")[:40]
    return f"{like}-{hashlib.sha256(experiment.encode()).hexdigest()[:10]}".removeprefix("-")


def model_name(text: str) -> str:
    """A name of a logged model that MLflow takes, which has no slashes, colons, dots, percent or quotation marks."""
    return re.sub(r"[/:.%\"']", "-", text)
