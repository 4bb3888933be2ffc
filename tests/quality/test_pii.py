"""quality/pii.py: personal data is found, counted and masked."""

import random
import time

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bonafide.quality.pii import KINDS, iban, luhn, mask_text, resident, scan

FOUND = {
    "email": ["bob@example.com", "o'neil.b+x@mail.example.co.uk", "请联系bob@example.com谢谢"],
    "phone": [
        "+1 212 555 0199", "+1 (212) 555-0199", "(212) 555-0199", "212-555-0199", "1-800-555-0199", "+49 30 1234567",
        "电话13812345678。", "138-1234-5678", "06 12 34 56 78", "+86 138 1234 5678",
    ],
    "card": ["4111 1111 1111 1111", "5500-0000-0000-0004", "378282246310005", "3782 822463 10005"],
    "iban": ["GB82 WEST 1234 5698 7654 32", "DE89370400440532013000", "pay DE89 3704 0044 0532 0130 00 NOW"],
    "resident_id": ["11010519491231002X", "证11010519491231002x号"],
    "ip": ["81.2.69.142", "from 81.2.69.142.", "2a00:1450:4001:81b::200e"],
    "api_key": [
        "AKIAIOSFODNN7EXAMPLE", "ghp_" + "a1B2" * 9, "sk-proj-abcDEF1234567890abcdEFG", "xoxb-123456789012-abcdef",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmN",
        "-----BEGIN RSA PRIVATE KEY-----\nMIIEabc\n-----END RSA PRIVATE KEY-----",
    ],
}  # fmt: skip
INNOCENT = [
    "ad-2500 and ad-2600, $1,299.00, 1999-2004, 2004-01-13, 10:30:45",
    "version 1.2.3.4, build 10.0.19041.1, netmask 255.255.255.0, router 192.168.1.1, localhost ::1",
    "isbn 978-0-306-40615-7, ean 4006381333931, order 4111111111111112, +10 000 000 fans",
    "std::vector a::b :: face:b00k @user me@home sk-ii-facial-treatment-essence-230ml",
    "score 555-1234, 2,400-2,483 mhz, 13800000000.50, £212-555-0199, GB82 WEST 1234 5698 7654 33",
    "110105194912310021 110105190002310021",
]


def column(values):
    return pa.chunked_array([pa.array(values, pa.large_string())])


@pytest.mark.parametrize(("kind", "text"), [(kind, text) for kind, texts in FOUND.items() for text in texts])
def test_each_value_is_found_masked_and_counted_once_as_its_kind(kind, text):
    found = scan(column([None, text, "nothing"]), 2000)
    assert found.values == dict.fromkeys(KINDS, 0) | {kind: 1}
    assert found.rows[kind].tolist() == [False, True, False]
    masked = found.masked.to_pylist()[1]
    assert f"[{kind.upper()}]" in masked
    assert not any(character.isdigit() for character in masked)


@pytest.mark.parametrize("text", INNOCENT)
def test_prices_dates_versions_and_product_codes_are_left_alone(text):
    assert scan(column([text]), 2000).masked.to_pylist() == [text]


def test_every_kind_has_an_example():
    assert set(FOUND) == set(KINDS)


@settings(max_examples=30)
@given(st.permutations([text for texts in FOUND.values() for text in texts]))
def test_a_text_with_many_values_has_all_of_them_masked(texts):
    masked = scan(column([" ; ".join(texts)]), 2000)
    assert masked.values == {kind: len(FOUND[kind]) for kind in KINDS}
    assert "example.com" not in masked.masked.to_pylist()[0]


def test_too_long_texts_are_not_searched_and_those_beside_them_are():
    found = scan(column(["x" * 2000 + " bob@example.com", "bob@example.com"]), 2000)
    assert found.rows["email"].tolist() == [False, True]


def test_two_processes_find_what_one_finds():
    chance = random.Random(1)
    values = [text for texts in FOUND.values() for text in texts]
    texts = column([f"{i} {chance.choice(values)}" for i in range(60_000)])
    alone, together = scan(texts, 2000, processes=1), scan(texts, 2000, processes=2)
    assert alone.masked.equals(together.masked)
    assert alone.values == together.values


@given(st.integers(10**14, 10**15 - 1), st.integers(0, 14), st.integers(1, 9))
def test_luhn_accepts_one_check_digit_and_no_changed_digit(body, place, change):
    [number] = [f"{body}{d}" for d in range(10) if luhn(f"{body}{d}")]
    changed = number[:place] + str((int(number[place]) + change) % 10) + number[place + 1 :]
    assert not luhn(changed)


@given(st.integers(0, 10**18 - 1), st.integers(0, 17), st.integers(1, 9))
def test_iban_accepts_one_pair_of_check_digits_and_no_changed_digit(account, place, change):
    digits = f"{account:018}"
    [number] = [f"DE{d:02}{digits}" for d in range(2, 99) if iban(f"DE{d:02}{digits}")]
    changed = digits[:place] + str((int(digits[place]) + change) % 10) + digits[place + 1 :]
    assert not iban(number[:4] + changed)


@given(st.integers(0, 10**17 - 1), st.integers(0, 16), st.integers(1, 9))
def test_resident_id_accepts_one_check_digit_and_no_changed_digit(body, place, change):
    digits = f"{body:017}"
    [number] = [digits + d for d in "0123456789X" if resident(digits + d)]
    changed = number[:place] + str((int(number[place]) + change) % 10) + number[place + 1 :]
    assert not resident(changed)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("unit", ["a", "1", "a.", "1 ", "A1", "a@", "1.", "a:", "eyJ", "+1", "sk-", "-", "@a-", "1-"])
def test_the_time_is_linear_in_texts_made_against_backtracking(kind, unit):
    text = unit * 20_000
    began = time.process_time()
    mask_text(text, kind)
    assert time.process_time() - began < 1
