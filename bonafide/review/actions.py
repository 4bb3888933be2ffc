"""What a step of a workflow leaves for GitHub's runner: a summary for people, outputs for other steps."""

import os
from collections.abc import Mapping
from pathlib import Path


def summarise(markdown: str) -> None:
    """Add to the summary of the run, where we are in one."""
    _append("GITHUB_STEP_SUMMARY", markdown + "\n")


def output(facts: Mapping[str, str]) -> None:
    """Set outputs of the step, where we are in one; values are words of ours, without a line break."""
    _append("GITHUB_OUTPUT", "".join(f"{name}={value}\n" for name, value in facts.items()))


def _append(variable: str, text: str) -> None:
    if path := os.environ.get(variable):
        with Path(path).open("a", encoding="utf-8") as file:
            file.write(text)
