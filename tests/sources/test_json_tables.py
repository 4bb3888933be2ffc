"""bonafide/sources/jsonlines.py: JSON Lines and arrays of objects, their values as they are written."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bonafide.project.errors import InputError
from bonafide.sources.jsonlines import read_jsonlines

WANTED = {"text": "data.columns.text", "label": "data.columns.label"}


def read(content, name="t.jsonl", wanted=WANTED):
    Path(name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_jsonlines(Path(name), wanted)


@pytest.mark.parametrize(
    "number",
    ["103487361823746182736", "9007199254740993", "0.1", "0.10", "1.0", "1e3", "1e400", "-0", "-1.5E-7", "1" * 5000],
)
def test_a_number_is_spelled_as_it_is_written(number):
    content = f'{{"text": "a", "label": {number}}}\n{{"text": "b", "label": -{number.lstrip("-")}}}\n'
    assert read(content).table["label"].to_pylist() == [number, f"-{number.lstrip('-')}"]


def test_two_large_integers_stay_two():
    content = '{"text": "a", "label": 103487361823746182736}\n{"text": "b", "label": 103487361823746182701}\n'
    assert read(content).table["label"].to_pylist() == ["103487361823746182736", "103487361823746182701"]


def test_kinds_may_differ_and_lacking_keys_and_nan_are_null():
    values = ['"1"', "1", "true", "false", "null", "NaN", "-Infinity", '"null"', '""']
    content = "".join(f'{{"label": {value}, "text": "a"}}\n' for value in values) + '{"text": "a"}\n'
    assert read(content).table["label"].to_pylist() == [
        *("1", "1", "true", "false", None, None, "-Infinity", "null", "", None)
    ]


def test_nested_columns_that_nobody_asked_for_do_no_harm():
    found = read('{"text":"a","label":"1","m":{"a":1,"a":2}}\n{"text":"b","label":"0","m":[{"a":"x"}],"n":[]}\n')
    assert found.table.to_pydict() == {"text": ["a", "b"], "label": ["1", "0"]}
    assert found.columns == [("text", "text"), ("label", "text"), ("m", "nested"), ("n", "nested")]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"text": "b", "label": {"a": 1}}', "the column 'label': line 2 holds an object, not a value"),
        ('{"text": "b", "label": [1]}', "the column 'label': line 2 holds an array, not a value"),
        ('{"text": "b", "text": "c"}', "line 2 has the column 'text' twice"),
        ('{"text": "secret" "label"}', "line 2 is not JSON: Expecting ',' delimiter, at character 19"),
        ('{"text": "a"} {"text": "b"}', "line 2 is not JSON: more than one value, at character 14"),
        ('{"text": "a",', "line 2 is not JSON: Expecting property name enclosed in double quotes, at character 14"),
        ('{"text": "\\udc00"}', "the column 'text': line 2 has half a surrogate pair"),
        ('{"text": "a\x01"}', "line 2 is not JSON: Invalid control character at, at character 12"),
        ('"secret"', "line 2 is not an object"),
        ('{"text": ' + "[" * 5000, "line 2 is not JSON: nested too deeply"),
    ],
)
def test_a_bad_line_is_refused_by_its_number_without_its_words(line, reason):
    with pytest.raises(InputError) as refusal:
        read(f'{{"text": "a", "label": 1}}\n{line}\n')
    assert str(refusal.value) == f"t.jsonl: {reason}"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r", "\n\n"])
def test_every_encoding_and_line_end_is_read(encoding, end):
    content = end.join(['{"text": "今\\n天", "label": 1}', '{"text": "🙂", "label": "x"}'])
    assert read(content.encode(encoding)).table.to_pylist() == [
        {"text": "今\n天", "label": "1"},
        {"text": "🙂", "label": "x"},
    ]


ROWS = [{"text": f"text {n}\n[{{", "label": n, "other": {"deep": [n]}} for n in range(3)]


@pytest.mark.parametrize(
    "content",
    [
        json.dumps(ROWS),
        json.dumps(ROWS, indent=2),
        "\n".join(json.dumps(row) for row in ROWS),
        "\n".join(json.dumps(row, indent=1) for row in ROWS),
        f" \r\n{json.dumps(ROWS, indent=1)}\n\n",
    ],
    ids=["array", "pretty", "lines", "pretty-lines", "blanks"],
)
def test_a_json_file_is_an_array_of_objects_or_one_after_the_other(content):
    assert read(content, "t.json").table.to_pydict() == {
        "text": [row["text"] for row in ROWS],
        "label": ["0", "1", "2"],
    }


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "empty"),
        ("[]", "empty"),
        ('[{"text": "a"},\n{"text": ', "line 2 is not JSON: Expecting value"),
        ('[{"text": "a"},\n{"text":\n\n"b', "line 4 is not JSON: Unterminated string starting at"),
        ('[{"text": "a"},\n{"text": "b" 1}' + " " * 99 + "]", "line 2 is not JSON: Expecting ',' delimiter"),
        ('[{"text": "a"}\n{"text": "b"}]', "line 2 is not JSON: neither ',' nor ']' after a value"),
        ('[{"text": "a"},]', "line 1 is not JSON: Expecting value"),
        ('[{"text": "a"},', "line 1 is not JSON: the array has no end"),
        ('[{"text": "a"}]\n[]', "line 2 is not JSON: more after the array's end"),
        ('[{"text": "a"},\n\n1]', "line 3 is not an object"),
        ('{"text": {"0": "a"}, "label": {"0": 1}}', "the column 'text': line 1 holds an object, not a value"),
        ("[" + "[" * 5000, "line 1 is not JSON: nested too deeply"),
    ],
)
def test_a_bad_json_file_is_refused_by_its_line(content, reason):
    with pytest.raises(InputError) as refusal:
        read(content, "t.json")
    assert str(refusal.value) == f"t.json: {reason}"


def test_an_array_is_read_in_pieces():
    rows = [{"text": "x" * (n % 7) * 300_000, "label": n} for n in range(60)]  # a line of 54 MB
    assert read(json.dumps(rows), "t.json").table["text"].to_pylist() == [row["text"] for row in rows]


def test_a_value_of_an_array_is_no_longer_than_a_line():
    with pytest.raises(InputError, match=r"^t.json: line 2 is not JSON: a value of over 32 MiB$"):
        read(b'[{"text": "a"},\n{"text": "' + b"x" * 40 * 2**20 + b'"}]', "t.json")


value = st.none() | st.booleans() | st.integers() | st.text(max_size=6)


@settings(max_examples=100)
@given(st.lists(st.fixed_dictionaries({"text": value, "label": value}), min_size=1, max_size=4), st.booleans())
def test_what_json_wrote_comes_back(rows, as_array):
    content = json.dumps(rows) if as_array else "\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    spelled = [{k: v if v is None or isinstance(v, str) else json.dumps(v) for k, v in row.items()} for row in rows]
    assert read(content, "t.json" if as_array else "t.jsonl").table.to_pylist() == spelled
