"""Personal data in texts: found, counted, masked; a value never leaves this module.

Two steps: RE2 (linear in the text) chooses candidate rows over the whole column, and Python verifies those alone with
what RE2 cannot do: check digits, neighbours, address ranges. Each kind aims at few false alarms: a check digit where
there is one, and only the usual ways of writing where there is none.
"""

import ipaddress
import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from bonafide.project.numbers import count
from bonafide.project.process import CHUNK, map_chunks
from bonafide.quality.checks import CAME, Check, listed
from bonafide.quality.text_faults import Mask, matches, to_mask

IBAN_LENGTHS = {  # SWIFT's IBAN registry: characters, countries
    15: "NO", 16: "BE", 18: "DK FI FO GL NL SD", 19: "MK SI", 20: "AT BA EE KZ LT LU MN XK", 21: "CH HR LI LV",
    22: "BG BH CR DE GB GE IE ME RS VA", 23: "AE GI IL IQ OM SO TL", 24: "AD CZ ES MD PK RO SA SE SK TN VG",
    25: "LY PT ST", 26: "IS TR", 27: "BI DJ FR GR IT MC MR SM", 28: "AL AZ BY CY DO GT HN HU LB NI PL SV",
    29: "BR EG PS QA UA", 30: "JO KW MU YE", 31: "MT SC", 32: "LC", 33: "RU",
}  # fmt: skip
RESIDENT_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)  # GB 11643-1999
RESIDENT_DIGITS = "10X98765432"
LUHN_DOUBLED = (0, 2, 4, 6, 8, 1, 3, 5, 7, 9)  # sum of the digits of 2 d
LET_THROUGH = "mask hides it in what is passed on, report only counts it"
SMALLEST_OCTET = 10  # of two octets at least: versions like 1.2.3.4 are below, and one address in 4,300


def luhn(value: str) -> bool:
    """ISO/IEC 7812-1, annex B: the check digit of payment cards."""
    digits = [int(c) for c in reversed(value) if c.isdigit()]
    return (sum(digits[::2]) + sum(LUHN_DOUBLED[d] for d in digits[1::2])) % 10 == 0


def iban(value: str) -> bool:
    """ISO 13616: letters as numbers from 10, the first four characters moved behind, modulo 97 is 1."""
    compact = value.replace(" ", "")
    return int("".join(str(int(c, 36)) for c in compact[4:] + compact[:4])) % 97 == 1


def resident(value: str) -> bool:
    """GB 11643-1999, ISO 7064 MOD 11-2: the check digit of Chinese resident identity numbers."""
    total = sum(weight * int(digit) for weight, digit in zip(RESIDENT_WEIGHTS, value[:-1], strict=True))
    return RESIDENT_DIGITS[total % 11] == value[-1].upper()


def public_ip(value: str) -> bool:
    """A global address that a person could be found by: no private network, netmask, version number or `a::b`."""
    try:
        address = ipaddress.ip_address(value)
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address):
        return address.is_global and address.packed[0] >> 5 == 1  # 2000::/3, all that IANA has given out
    return address.is_global and sum(octet >= SMALLEST_OCTET for octet in address.packed) > 1


def phone(value: str) -> bool:
    """ITU-T E.164: at most 15 digits; below 8 it is a short number, with six zeros in a row an amount."""
    digits = "".join(c for c in value if c.isdigit())
    return 8 <= len(digits) <= 15 and "000000" not in digits


def secret(value: str) -> bool:
    """Random enough for a key: `sk-ii-facial-treatment-essence-230ml` has no long run of letters and digits."""
    runs = re.findall(r"[A-Za-z0-9]{16,}", value)
    return not value.startswith("sk-") or any(not run.isdigit() and not run.isalpha() for run in runs)


@dataclass(frozen=True)
class Kind:
    """One kind of personal data."""

    prefilter: str
    """RE2: every row with a value matches it."""
    pattern: re.Pattern[str]
    """Python: bounded quantifiers and anchored starts, so that it is linear too."""
    verify: Callable[[str], bool] = bool


def _compile(first: str, not_behind: str, rest: str) -> re.Pattern[str]:
    """A pattern whose first character is one of `first` and does not stand behind one of `not_behind`.

    In this form, with the look-behind in second place, Python leaps from one possible start to the next. Words and
    digits are ASCII's, as in RE2: Chinese writes no space before a number.
    """
    return re.compile(rf"[{first}](?<![{not_behind}].)(?:{rest})", re.ASCII | re.DOTALL)


_KEYS = (  # AWS, Google; GitHub; Slack; OpenAI, Anthropic and others, Stripe; JSON web tokens; PEM
    r"\bA(?:[KS]IA[0-9A-Z]{16}\b|Iza[A-Za-z0-9_-]{35})|\bg(?:h[pousr]_[A-Za-z0-9]{36}|ithub_pat_[A-Za-z0-9_]{40})"
    r"|\bx(?:ox[abeoprs]-[A-Za-z0-9-]{10})|\bs(?:k-[A-Za-z0-9_-]{20}|k_live_[A-Za-z0-9]{16})"
    r"|\be(?:yJ[A-Za-z0-9_-]{8,900}\.eyJ[A-Za-z0-9_-]{8})|-(?:----BEGIN [A-Z ]{0,30}PRIVATE KEY-----)"
)
_KEY_END = r"(?<=PRIVATE KEY-----).*?(?:-----END [A-Z ]{0,30}PRIVATE KEY-----|\Z)|(?<!-----)[A-Za-z0-9_.-]*"
_IBAN = "|".join(rf"(?<=(?:{'|'.join(c.split())})\d\d)(?: ?[A-Z0-9]){{{n - 4}}}" for n, c in IBAN_LENGTHS.items())
_IPV4 = r"(?<=\d)\d{0,2}\.(?:\d{1,3}\.){2}\d{1,3}(?!\.?\d)"
_IPV6 = r"[0-9A-Fa-f]{0,3}:(?:[0-9A-Fa-f]{0,4}:){1,6}[0-9A-Fa-f]{0,4}"
_PHONE = (
    r"(?<=\+)(?:1[ .-]?\(?[2-9]\d\d\)?|[2-9]\d{0,2})[ .-]?(?:\(\d{1,4}\)[ .-]?)?\d{1,4}(?:[ .-]?\d{1,4}){1,5}"
    r"|(?:(?<=1)[-. ]\(?[2-9]\d\d|(?<=\()[2-9]\d\d|(?<=[2-9])\d\d(?=[-.]))(?:\) ?|[-.])[2-9]\d\d[-.]\d{4}"  # +1 at home
    r"|(?<=1)[3-9]\d[- ]?\d{4}[- ]?\d{4}"  # China, mobile
    r"|(?<=0)[1-9](?:[ .]\d\d){4}"  # France
)
_CARD = (
    r"(?<=[3-6])\d{3}([ -]?)\d{4}\1\d{4}\1\d{1,7}"
    r"|(?<=2)[2-7]\d\d([ -]?)\d{4}\2\d{4}\2\d{4}|(?<=3)[47]\d\d([ -]?)\d{6}\3\d{5}"
)

KINDS = {
    "api_key": Kind(_KEYS, re.compile(rf"(?:{_KEYS})(?:{_KEY_END})", re.ASCII | re.DOTALL), secret),
    "email": Kind(
        r"[A-Za-z0-9]@[A-Za-z0-9]",
        re.compile(r"(?<![\w.%+'-])[\w.%+'-]{0,63}[A-Za-z0-9]@(?:[A-Za-z0-9-]{1,63}\.){1,8}[A-Za-z]{2,24}\b", re.ASCII),
    ),
    "iban": Kind(r"\b[A-Z]{2}\d\d ?[A-Z0-9]{4}", _compile("A-Z", r"\w", rf"[A-Z]\d\d(?:{_IBAN})(?![A-Za-z0-9])"), iban),
    "resident_id": Kind(
        r"\d{17}[\dXx]",
        _compile("1-9", r"\d", r"\d{5}(?:19|20)\d\d(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])\d{3}[\dXx](?!\d)"),
        resident,
    ),
    "card": Kind(
        r"\d{4}[ -]?\d{4}[ -]?\d{4}|\d{4}[ -]\d{6}[ -]\d", _compile("2-6", r"\d.-", rf"(?:{_CARD})(?!\d)"), luhn
    ),
    "ip": Kind(
        r"\d\.\d{1,3}\.\d{1,3}\.\d|[0-9A-Fa-f]:[0-9A-Fa-f]{0,4}:",
        _compile("0-9A-Fa-f", r"\w.:-", rf"(?:{_IPV4}|{_IPV6})(?![\w:])"),
        public_ip,
    ),
    "phone": Kind(
        r"\+[1-9][\d .()-]{6}|\d{3}\)? ?[-.]?\d{3}[-.]\d{4}|1[3-9]\d[- ]?\d{4}[- ]?\d{4}|0[1-9](?:[ .]\d\d){4}",
        _compile("+(0-9", r"\d.$€£#-", rf"(?:{_PHONE})(?![\d-]|[.,]\d)"),
        phone,
    ),
}
"""In the order of masking: what could be read as two kinds is the earlier one."""


@dataclass(frozen=True)
class Scan:
    """What was found in a column of texts."""

    masked: pa.ChunkedArray
    """The texts with every value replaced by its kind, as [EMAIL]."""
    rows: dict[str, Mask]
    """(n,) bool per kind."""
    values: dict[str, int]
    """Occurrences per kind."""

    @property
    def any_kind(self) -> Mask:
        """(n,) whether a text holds personal data."""
        found: Mask = np.logical_or.reduce(list(self.rows.values()))
        return found

    def words(self) -> str:
        """Occurrences per kind, as people say it."""
        told = [f"{kind.replace('_', ' ')} {count(n)}" for kind, n in self.values.items() if n]
        return ", ".join(told) or "none found"


def check(found: Scan, ids: pa.ChunkedArray) -> Check:
    """Forbid personal data, for the policy `fail`."""
    holding = ids.filter(pa.array(found.any_kind)).to_pylist()
    named = f"{len(holding):,} of {len(ids):,} rows do: {listed([repr(name[:60]) for name in holding])}"
    return Check(
        name="personal_data",
        sentence="no text holds personal data",
        rows=CAME,
        checked=len(ids),
        failing=len(holding),
        passed=not holding,
        detail=f"{named}; {LET_THROUGH}" if holding else "",
        key="validate.personal_data",
        value="fail",
    )


def scan(texts: pa.ChunkedArray, longest: int, processes: int | None = None) -> Scan:
    """Find every kind in `texts` (n,) and mask it; texts of more than `longest` characters are left alone."""
    searched = to_mask(pc.less_equal(pc.utf8_length(texts), longest))
    wanted = np.stack([matches(texts, kind.prefilter) & searched for kind in KINDS.values()])
    candidates = np.flatnonzero(wanted.any(axis=0))
    counts = np.zeros(wanted.shape, dtype=np.int32)
    chunks = [candidates[i : i + CHUNK] for i in range(0, len(candidates), CHUNK)]
    tasks = ((texts.take(pa.array(rows)).to_pylist(), wanted[:, rows]) for rows in chunks)
    masked: list[pa.Array] = []
    for rows, (changed, counted) in zip(chunks, map_chunks(mask_rows, tasks, len(candidates), processes), strict=True):
        counts[:, rows] = counted
        masked.append(pa.array([changed[row] for row in np.flatnonzero(counted.any(axis=0)).tolist()], texts.type))
    found: Mask = counts > 0
    if masked:
        values = pa.chunked_array(masked).combine_chunks()
        texts = pa.chunked_array([pc.replace_with_mask(texts.combine_chunks(), found.any(axis=0), values)])
    return Scan(
        texts,
        dict(zip(KINDS, found, strict=True)),
        dict(zip(KINDS, counts.sum(axis=1).tolist(), strict=True)),
    )


def mask_rows(task: tuple[list[str], Mask]) -> tuple[list[str], npt.NDArray[np.int32]]:
    """Mask texts (m) by the kinds wanted for each, (kinds, m) bool; return them and the values per kind and text."""
    texts, wanted = task
    counts = np.zeros(wanted.shape, dtype=np.int32)
    for place, kind in enumerate(KINDS):
        for row in np.flatnonzero(wanted[place]).tolist():
            texts[row], counts[place, row] = mask_text(texts[row], kind)
    return texts, counts


def mask_text(text: str, kind: str) -> tuple[str, int]:
    """Replace every value of one kind by its name; return the text and the number of values."""
    found, mark, verify = 0, f"[{kind.upper()}]", KINDS[kind].verify

    def replace(match: re.Match[str]) -> str:
        nonlocal found
        real = verify(match.group())
        found += real
        return mark if real else match.group()

    return KINDS[kind].pattern.sub(replace, text), found
