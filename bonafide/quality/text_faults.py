"""Row-level checks of texts that Great Expectations lacks, over whole Arrow columns.

Every pattern is searched by RE2 (pyarrow.compute): time linear in the text whatever the text. A mask is (n,) bool,
True where a row has the fault; a null text has no other fault than being null.
"""

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Mask = npt.NDArray[np.bool_]

SUSPECT = r"[^\t\n\r -~]"  # a row of plain ASCII cannot match any pattern below

# Windows-1252's characters for the bytes 80 to BF, the continuation bytes of UTF-8, and their Latin-1 twins.
_CONTINUATION = r"[\x{80}-\x{BF}€‚ƒ„…†‡ˆ‰Š‹ŒŽ‘’“”•–—˜™š›œžŸ]"
# Of them, those that no writer puts behind a capital Â or Ã: no quotes, dashes or ellipses ("AMANHÃ…" is Portuguese).
_SYMBOL = r"[¡-ª¬-º¼-¿ƒˆ‰Š‹ŒŽ˜™š›œžŸ]"

PATTERNS = {
    "nul": r"\x00",
    # C0 without tab, newline and carriage return; DEL; C1, which no keyboard writes: it is Windows-1252 misread.
    "control_characters": r"[\x01-\x08\x0B\x0C\x0E-\x1F\x7F-\x{9F}]",
    # Embeddings, overrides and isolates reorder what a reader sees (CVE-2021-42574). The marks U+200E, U+200F and
    # U+061C do not and belong to ordinary Hebrew and Arabic.
    "bidi_controls": r"[\x{202A}-\x{202E}\x{2066}-\x{2069}]",
    # ZWSP separates words in four scripts without spaces; joiners (ZWNJ, ZWJ) spell Persian, Indic words and emoji.
    # Behind letters of scripts that do not join, and at the start, they only hide. WJ and a BOM inside are debris.
    "zero_width": r"[\x{2060}\x{FEFF}]"
    r"|(?:^|[^\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}])\x{200B}"
    r"|(?:^|[0-9\p{Latin}\p{Greek}\p{Cyrillic}\p{Han}\p{Hiragana}\p{Katakana}\p{Hangul}])[\x{200C}\x{200D}]",
    "replacement_character": r"\x{FFFD}",
    # UTF-8 read as Windows-1252 or Latin-1, by its first byte.
    "mojibake": "|".join(
        (
            rf"[ÂÃ]{_SYMBOL}|Â\x{{A0}}|\p{{Ll}}Ã{_CONTINUATION}",  # é as Ã©, a no-break space as Â and one
            rf"â[€\x{{80}}]|â[„œ˜†‚ž]{_CONTINUATION}",
            r"ð[Ÿ\x{9F}]|ï»¿|ï¿½",  # emoji, a byte order mark, U+FFFD
            rf"(?:[ÐÑ]{_CONTINUATION}){{2}}|(?:[ã-ï]{_CONTINUATION}{{2}}){{2}}",  # two letters of Cyrillic or Chinese
            "锟斤拷",  # U+FFFD twice, read as GBK
        )
    ),
}


def undecodable(texts: pa.ChunkedArray) -> Mask:
    """Find rows that are not UTF-8, which a Parquet file can bring; everything else needs them gone."""
    masks = [_undecodable_chunk(chunk) for chunk in texts.chunks]
    return np.concatenate(masks) if masks else np.zeros(0, dtype=np.bool_)


def _undecodable_chunk(chunk: pa.Array) -> Mask:
    try:
        chunk.validate(full=True)
    except pa.ArrowInvalid:
        values = chunk.cast(pa.large_binary() if pa.types.is_large_string(chunk.type) else pa.binary()).to_pylist()
        return np.fromiter((not _decodes(value) for value in values), dtype=np.bool_, count=len(chunk))
    return np.zeros(len(chunk), dtype=np.bool_)


def _decodes(value: bytes | None) -> bool:
    try:
        (value or b"").decode()
    except UnicodeDecodeError:
        return False
    return True


def without(texts: pa.ChunkedArray, rows: Mask) -> pa.ChunkedArray:
    """Put null where `rows` is True."""
    return pc.if_else(pa.array(rows), pa.scalar(None, texts.type), texts) if rows.any() else texts


def matches(texts: pa.ChunkedArray, pattern: str) -> Mask:
    """Find rows in which RE2 finds `pattern`."""
    return to_mask(pc.match_substring_regex(texts, pattern))


def to_mask(values: pa.ChunkedArray) -> Mask:
    """Booleans as numpy, null being False."""
    mask: Mask = pc.fill_null(values, fill_value=False).to_numpy().astype(np.bool_, copy=False)
    return mask


def text_faults(texts: pa.ChunkedArray, low: int, high: int) -> dict[str, Mask]:
    """Masks of every text fault; `low` and `high` are lengths in characters that are still right."""
    lengths = pc.utf8_length(texts)
    blank = pc.equal(pc.utf8_length(pc.utf8_trim_whitespace(texts)), 0)
    faults = {
        "null_text": to_mask(pc.is_null(texts)),
        "blank_text": to_mask(blank),
        "too_short": to_mask(pc.less(lengths, low)),
        "too_long": to_mask(pc.greater(lengths, high)),
    }
    suspect = np.flatnonzero(matches(texts, SUSPECT))
    suspects = texts.take(pa.array(suspect))
    for name, pattern in PATTERNS.items():
        faults[name] = np.zeros(len(texts), dtype=np.bool_)
        faults[name][suspect] = matches(suspects, pattern)
    return faults
