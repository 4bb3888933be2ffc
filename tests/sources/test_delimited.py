"""delimited.py, text_files.py: every CSV and TSV is read right, or refused with its line and the reason."""

import bz2
import gzip
import lzma
from functools import partial
from pathlib import Path

import pyarrow as pa
import pytest

from bonafide.project.errors import InputError
from bonafide.sources.delimited import read_delimited

WANTED = {"text": "data.columns.text", "label": "data.columns.label"}
TWICE = ": a quote in it is written twice, not after a backslash"
HEAD, TAIL = b"text,label\nfine,1\n", b"bad,0\n"


def read(name, content, quotes="auto"):
    Path(name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_delimited(Path(name), WANTED, quotes)


def rows(name, content, quotes="auto"):
    return [tuple(row.values()) for row in read(name, content, quotes).table.to_pylist()]


def reviews(count=240):
    """The table that became 213 rows: quotes that open no field, or open one and close it 27 rows later."""
    texts = [f"bad film number {n} and a bad film {n * n}" for n in range(count)]
    for n in range(20, count, 27):
        texts[n] = f'"{texts[n]}'
    for n in range(7, count, 31):
        texts[n] = f'{texts[n]} in "quotes"'
    return [(text, str(n % 2)) for n, text in enumerate(texts)]


def test_every_row_of_a_tsv_with_stray_quotes_is_read_to_the_letter():
    expected = reviews()
    found = read("t.tsv", "text\tlabel\n" + "".join(f"{text}\t{label}\n" for text, label in expected))
    assert [tuple(row.values()) for row in found.table.to_pylist()] == expected
    assert found.form == "tab, no quotes, UTF-8"


QUOTES = {
    "rfc": ('text,label\n"a, ""b""\nc",1\n', [('a, "b"\nc', "1")]),
    "stray-in-a-field": ('text,label\n5" pipe,1\nother "x",0\n', [('5" pipe', "1"), ('other "x"', "0")]),
    "text-after-a-closing-quote": ('text,label\n"good" film,1\n', [('"good" film', "1")]),
    "never-closed": ('text\tlabel\n"good\t1\nbad\t0\n', [('"good', "1"), ("bad", "0")]),
    "stray-beside-enclosed": ('text,label\n"a, b",1\n5" pipe,0\n', [("a, b", "1"), ('5" pipe', "0")]),
    "in-the-header": ('"text","label"\n"a",1\n"b\nc",0\n', [("a", "1"), ("b\nc", "0")]),
    "empty-text-and-null": ('text,label\n"",1\n,0\n', [("", "1"), (None, "0")]),
}


@pytest.mark.parametrize(("content", "expected"), QUOTES.values(), ids=QUOTES)
def test_quotes_enclose_fields_or_are_text_whichever_is_certain(content, expected):
    assert rows("t.tsv" if "\t" in content else "t.csv", content) == expected


SWALLOWED = 'text\tlabel\n"a\t1\nb"\t0\nc\t1\n'


def test_where_a_quoted_field_may_be_several_rows_the_param_decides():
    with pytest.raises(InputError, match=r"^t.tsv: line 2 opens a quoted field .* set data.quotes to double .* none"):
        read("t.tsv", SWALLOWED)
    assert rows("t.tsv", SWALLOWED, "double") == [("a\t1\nb", "0"), ("c", "1")]
    assert rows("t.tsv", SWALLOWED, "none") == [('"a', "1"), ('b"', "0"), ("c", "1")]
    assert rows("t.csv", 'text,label\n"a, b\nc",1\n"d\n\ne, f, g",0\n') == [("a, b\nc", "1"), ("d\n\ne, f, g", "0")]


def test_a_tab_makes_whole_rows_within_quotes_doubtful_even_where_another_line_is_broken():
    with pytest.raises(InputError, match=r"^t.tsv: line 2 opens a quoted field that runs over lines"):
        read("t.tsv", 'text\tlabel\n"a\t1\nwith a\ttab\t0\nb"\t0\n'.replace("with a\ttab", "plain") + '"x\ty"\t1\n')


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ('text,label\n"fine one",1\n"say "hi" now",0\n"bad",0\n', "line 3 has text after a closing quote"),
        ('text,label\n"say \\"hi\\" now",0\n', f"line 2 has text after a closing quote{TWICE}"),
        ('text,label\n"fine",1\n"bad",0\n5" pipe,1\n', "line 4 has a quote inside a field that is not quoted"),
    ],
    ids=["not-doubled", "backslashes", "mixed"],
)
def test_where_quotes_seem_to_enclose_fields_and_do_it_badly_the_line_is_named(content, reason):
    with pytest.raises(InputError, match=f"^t.csv: {reason}; if quotes are a part of the texts, set data.quotes to no"):
        read("t.csv", content)
    assert len(rows("t.csv", content, "none")) == content.count("\n") - 1


@pytest.mark.parametrize(
    ("quotes", "content", "reason"),
    [
        ("double", 'text,label\n"good" film,1\n', "line 2 has text after a closing quote"),
        ("double", 'text,label\n"good,1\n', "line 2 opens a quote that is never closed"),
        ("none", 'text,label\n"a, b",1\n', "line 2 has 3 fields, the header 2"),
        ("auto", 'text,label\nfine,1\n\n"a, b",1,0\n', "line 4 has 3 fields, the header 2"),
        ("auto", "text,label\nfine,1\nbad\n", "line 3 has 1 field, the header 2"),
        ("auto", 'text,label\r"a\rb",1\rbad\r', "line 4 has 1 field, the header 2"),
    ],
)
def test_a_broken_row_is_refused_by_its_line(quotes, content, reason):
    with pytest.raises(InputError, match=f"^t.csv: {reason}$"):
        read("t.csv", content, quotes)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"], ids=["lf", "crlf", "cr"])
def test_every_line_end_is_one_and_those_within_quotes_are_kept(end):
    content = end.join(["text,label", "fine,1", '"a\r\nb\rc\nd",0', "", "last,1"])
    assert rows("t.csv", content) == [("fine", "1"), ("a\r\nb\rc\nd", "0"), ("last", "1")]
    assert rows("t.csv", "text,label\nfine,1\r\nbad,0\nlast,1") == [("fine", "1"), ("bad", "0"), ("last", "1")]
    assert rows("t.csv", "text,label\r\r\nfine,1\r\r\nbad,0\r\r\n") == [("fine", "1"), ("bad", "0")]


@pytest.mark.parametrize(
    "content", ["text,label\n\rfine,1\n", "text,label\r\nbad,0\rfine,1\r\n", "text,label\r\nfine,1\r"]
)
def test_a_carriage_return_that_begins_a_text_is_no_blank_line(content):
    """Python 3.11's csv, and so pandas, writes it without quotes where lines end in LF."""
    with pytest.raises(
        InputError, match=r"^t.csv: line [23] ends in another way than the lines before it, of CR and LF"
    ):
        rows("t.csv", content)


DELIMITERS = {
    "semicolons": ("t.csv", "text;label\nfine, really good;1\nbad;0\n", "semicolon"),
    "semicolons-and-a-comma-in-the-header": ("t.csv", "text;score, raw;label\nfine, really good;2;1\nbad;1;0\n", "sem"),
    "tabs": ("t.csv", "text\tlabel\nfine, really good\t1\nbad\t0\n", "tab"),
    "pipes": ("t.csv", "text|label\nfine, really good|1\nbad|0\n", "pipe"),
    "commas-in-a-tsv": ("t.tsv", 'text,label\n"fine, really good",1\nbad,0\n', "comma"),
    "sep-line": ("t.csv", "sep=;\r\ntext;label\r\nfine, really good;1\r\nbad;0\r\n", "semicolon"),
    "quoted-sep-line": ("t.csv", '"sep=^"\ntext^label\nfine, really good^1\nbad^0\n', r"'\^'"),
}


@pytest.mark.parametrize(("name", "content", "delimiter"), DELIMITERS.values(), ids=DELIMITERS)
def test_the_delimiter_is_what_the_header_has(name, content, delimiter):
    found = read(name, content)
    assert found.table.to_pydict() == {"text": ["fine, really good", "bad"], "label": ["1", "0"]}
    assert pa.compute.match_substring_regex(found.form, f"^{delimiter}").as_py()


@pytest.mark.parametrize("mark", ['"', "é", "a", "1", "\0", "\r", ""])
def test_a_sep_line_with_what_separates_nothing_is_a_header_like_any_other(mark):
    with pytest.raises(InputError, match=r"^t.csv: (no column 'text'|line \d )"):
        read("t.csv", f"sep={mark}\ntext;label\nfine;1\n")


def test_a_row_that_another_delimiter_breaks_is_refused():
    with pytest.raises(InputError, match=r"^t.csv: line 3 has 3 fields, the header 2$"):
        read("t.csv", "text;label\nfine, good;1\nbad; very bad;0\n")


ENCODINGS = ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"]


@pytest.mark.parametrize("text", ["fine", "今天天气很好, да 🙂", "é" * 5000])
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_every_encoding_of_unicode_is_read(encoding, text):
    assert rows("t.csv", f'text,label\r\n"{text}",1\r\nbad,0\r\n'.encode(encoding)) == [(text, "1"), ("bad", "0")]
    assert rows("t.csv", f"sep=;\ntext;label\n{text};1\n".encode(encoding)) == [(text, "1")]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (HEAD + b"caf\xe9,1\n" + TAIL, "byte 21, in line 3, is not UTF-8: save it as UTF-8"),
        (b"\xef\xbb\xbf" + HEAD + b"caf\xe9,1\n", "byte 24, in line 3, is not UTF-8: save it as UTF-8"),
        (HEAD + b"\xe4\xbb", "byte 18, in line 3, is not UTF-8: save it as UTF-8"),
        (b"text,label\r" * 200_000 + b"\xff", "byte 2200000, in line 200001, is not UTF-8: save it as UTF-8"),
        ("\ufefftext,label\na,1\n".encode("utf-16-le") + b"a", "byte 32, in line 3, is not UTF-16: save it as UTF-8"),
        ("text,label\na,1\n".encode("utf-16-le") + b"\0\xdca\0", "byte 30, in line 3, is not UTF-16-LE: save it as"),
    ],
)
def test_what_cannot_be_decoded_is_refused_by_byte_and_line(content, message):
    with pytest.raises(InputError, match=f"^t.csv: {message}"):
        read("t.csv", content)


PACKED = {
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": partial(pa.compress, codec="zstd", asbytes=True),
    ".lz4": partial(pa.compress, codec="lz4", asbytes=True),
}


@pytest.mark.parametrize(("suffix", "pack"), PACKED.items())
def test_a_packed_file_is_read_in_every_encoding(suffix, pack):
    for encoding in ENCODINGS:
        content = "text,label\nfine,1\nbad,0\n" * 2
        with pytest.raises(InputError, match=r"no rows|no column"):
            read(f"T.CSV{suffix}", pack("x,y\n".encode(encoding)))
        assert rows(f"T.CSV{suffix}", pack(content.encode(encoding))) == [
            ("fine", "1"),
            ("bad", "0"),
            ("text", "label"),
            ("fine", "1"),
            ("bad", "0"),
        ]


@pytest.mark.parametrize(("suffix", "pack"), PACKED.items())
@pytest.mark.parametrize("spoil", [lambda b: b[: len(b) // 2], lambda b: b[:-5], lambda b: b"text,label" + b[:0]])
def test_what_cannot_be_unpacked_is_refused(suffix, pack, spoil):
    content = b"".join(b"text %d,%d\n" % (n * 7919 % 10_007, n) for n in range(20_000))
    with pytest.raises(InputError, match=f"^t.csv{suffix}: cannot be unpacked: .*; is it whole\\?$") as refusal:
        read(f"t.csv{suffix}", spoil(pack(b"text,label\n" + content)))
    assert "\n" not in str(refusal.value)


def test_a_file_that_is_cut_and_not_of_its_encoding_is_refused_for_one_of_both():
    content = b"text,label\ncaf\xe9,1\n" + b"".join(b"text %d,%d\n" % (n * 7919 % 10_007, n) for n in range(20_000))
    with pytest.raises(InputError, match=r"^t.csv.gz: cannot be unpacked: .*; is it whole\?$"):
        read("t.csv.gz", gzip.compress(content)[:-20])


def test_a_field_that_unpacks_to_gigabytes_is_refused_in_little_memory():
    with gzip.open("t.csv.gz", "wb", compresslevel=1) as file:
        file.write(b"text,label\n")
        for _ in range(64):
            file.write(b"x" * 2**20)
    with pytest.raises(InputError, match=r"^t.csv.gz: line 2 has a field of over 16 MiB$"):
        read_delimited(Path("t.csv.gz"), WANTED)


def test_a_row_without_an_end_is_refused_before_it_fills_the_memory():
    with gzip.open("t.csv.gz", "wb", compresslevel=1) as file:
        file.write(b"text,label\n")
        for _ in range(64):
            file.write(b'"\n",' * 2**18)
    with pytest.raises(InputError, match=r"^t.csv.gz: line 2 has a field of over 16 MiB, or opens a quote that is nev"):
        read_delimited(Path("t.csv.gz"), WANTED, "double")


def test_a_row_longer_than_a_block_is_read_whole():
    text = "x" * 5_000_000
    assert rows("t.csv", f'text,label\n{text},1\n"{text}\n",0\n') == [(text, "1"), (f"{text}\n", "0")]


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"PAR1\x15\x04\xff", "Parquet: name it .parquet"),
        (b"PK\x03\x04\x14\xff", "a ZIP archive, as an Excel workbook is: unpack it, or save it as CSV"),
        (gzip.compress(b"text,label\nfine,1\n", mtime=0), "packed by gzip: let its name end in .gz"),
        (bz2.compress(b"text,label\nfine,1\n"), "packed by bzip2: let its name end in .bz2"),
    ],
)
def test_a_file_of_another_kind_is_named(content, what):
    Path("t.csv").write_bytes(content)
    with pytest.raises(InputError, match=rf"^t.csv: is {what}$"):
        read_delimited(Path("t.csv"), {"text": "data.columns.text"})


def test_a_column_with_blanks_around_its_name_is_offered():
    Path("t.csv").write_text("text, label\nfine, 1\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"^t.csv: no column 'label' .k.: did you mean ' label', with its blanks\?"):
        read_delimited(Path("t.csv"), {"text": "k", "label": "k"})
