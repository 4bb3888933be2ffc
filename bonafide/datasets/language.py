"""Words, as far as letters tell them: of scripts with spaces and without, and those that negate."""

import re
from collections.abc import Callable, Sequence

LETTER = re.compile(r"[^\W\d_]")
SPACELESS = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"
)
"""Thai, Lao, Burmese, Khmer, Japanese and Chinese."""
WORD = r"\w+(?:['’]\w+)?|[^\w\s]+"
"""Words with their n't, and marks such as !!! and :)."""
SAMPLE = 10_000  # texts whose script decides
NEGATION = re.compile(
    r"\b(?:no|not|never|none|nobody|nothing|nowhere|neither|nor|cannot|without|hardly|barely|scarcely)\b"
    r"|\b(?:ai|are|ca|could|did|does|do|had|has|have|is|might|must|need|should|was|were|wo|would)n['’]?t\b"
    r"|[不没无非别]",
    re.IGNORECASE,
)
"""English negation words, with or without the apostrophe of n't, and the Chinese bu, mei, wu, fei, bie."""


def is_spaceless(texts: Sequence[str]) -> bool:
    """Whether most letters are of a script that has no spaces between words."""
    sample = "".join(texts[:SAMPLE])
    return len(SPACELESS.findall(sample)) > len(LETTER.findall(sample)) / 2


def cutter(texts: Sequence[str]) -> Callable[[str], list[str]]:
    """What cuts a text like these into words and marks, or into characters where there are no spaces between words."""
    return (lambda text: [*"".join(text.split())]) if is_spaceless(texts) else re.compile(WORD).findall
