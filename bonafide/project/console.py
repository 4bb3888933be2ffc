"""Text that shows every character it has."""

import sys
import unicodedata

KEPT = frozenset(
    "\n\t\u200c\u200d"
)  # line breaks, and the joiners that Persian, Indic scripts and emoji are written with


def _show(character: str) -> str:
    if character.isprintable() or character in KEPT or unicodedata.category(character) == "Zs":
        return character
    return f"⟨U+{ord(character):04X}⟩"


def printable(text: str) -> str:
    """Return `text` with control, bidi, zero-width, surrogate and unassigned characters spelled as ⟨U+202E⟩.

    What is invisible can hide or reorder what stands beside it, and a lone surrogate cannot be written as UTF-8.
    """
    return text if text.isprintable() else "".join(map(_show, text))


def say(line: str) -> None:
    """Print one inert line for a person: no control characters, no workflow commands."""
    print(printable(line.replace("\n", " ")).replace("::", ": :"), file=sys.stderr, flush=True)
