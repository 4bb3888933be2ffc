"""csv_requests.py, through the very function of MLflow's server that answers a request, on a model's signature."""

import csv
import io
import json
import warnings

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mlflow.exceptions import MlflowException

from bonafide.registry.serving import csv_requests
from bonafide.tasks.classification.serve import Reader, signature

with warnings.catch_warnings():  # MLflow's, about types of its own
    warnings.simplefilter("ignore")
    from mlflow.pyfunc import scoring_server


class Echo:
    """What the server asks of a model: it answers with the texts it got, once the signature has let them in."""

    def predict(self, frame):
        from mlflow.models.utils import _enforce_schema

        return _enforce_schema(frame, INPUTS)["text"].tolist()


INPUTS = signature(Reader(None, None, ["no", "yes"], {}))[0]


@pytest.fixture(autouse=True)
def installed(monkeypatch):
    monkeypatch.setattr(scoring_server, "parse_csv_input", scoring_server.parse_csv_input)
    csv_requests.install()


def ask(body):
    answer = scoring_server.invocations(body.encode(), "text/csv", Echo(), INPUTS)
    assert answer.status == 200
    return json.loads(answer.response)["predictions"]


WORDS = ["NA", "None", "null", "nan", "N/A", "", "#N/A", "-inf", "1", "01", "1.0", "true", "2024-01-31", " a "]


def test_words_that_pandas_takes_for_nothing_or_a_number_are_texts():
    body = "text\n" + "".join(f'"{word}"\n' for word in WORDS)
    assert ask(body) == WORDS
    assert ask("text\nNA\nNone\n\nnull\n") == ["NA", "None", "null"]
    assert ask("id,text\r\n7,NA\r\n8,\r\n") == ["NA", ""]
    assert ask(pd.DataFrame({"text": ["NA", 'a, "b"\nc']}).to_csv()) == ["NA", 'a, "b"\nc']
    assert ask("\ufefftext\nNA") == ["NA"]


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=1))
def test_every_text_comes_through(texts):
    written = io.StringIO(newline="")
    csv.writer(written, quoting=csv.QUOTE_ALL).writerows([["text"], *([text] for text in texts)])
    assert ask(written.getvalue()) == texts


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("", "a CSV begins with the names of its columns"),
        ("text,text\na,b\n", "a CSV begins with the names of its columns, each of them once"),
        ("text\ngood, but long\n", "row 0: has 2 fields, the header 1"),
        ("id,text\n1,a\n2\n", "row 1: has 1 fields, the header 2"),
        ('text\n"open\n', "not CSV: unexpected end of data"),
        ('text\n"a" b\n', "not CSV: ',' expected after"),
        ("text\n" + "x" * 2_000_000, "not CSV: field larger than field limit (1000000)"),
    ],
)
def test_what_is_no_csv_is_refused_as_a_bad_request(body, says):
    with pytest.raises(MlflowException) as refusal:
        ask(body)
    assert says in str(refusal.value)
    assert refusal.value.get_http_status_code() == 400


def test_without_a_server_in_the_process_nothing_happens(monkeypatch):
    monkeypatch.delitem(csv_requests.sys.modules, csv_requests.SERVER)
    csv_requests.install()
