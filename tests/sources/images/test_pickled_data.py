"""bonafide/sources/images/pickled_data.py: a pickle is data, and nothing in it ever runs."""

import contextlib
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bonafide.project.errors import InputError
from bonafide.sources.images.pickled_data import MOST, Call, Name, read_pickle
from tests.sources.images.cifar_archives import Global, Reduced, pickle2

LATIN = st.text(st.characters(max_codepoint=255), max_size=300)
PLAIN = st.none() | st.booleans() | st.integers(-(2**31), 2**31 - 1) | LATIN
VALUES = st.recursive(
    PLAIN,
    lambda inner: st.lists(inner) | st.dictionaries(LATIN, inner) | st.lists(inner, max_size=5).map(tuple),
    max_leaves=30,
)


class Hostile:
    """What runs a command when pickle loads it."""

    def __reduce__(self):
        return os.system, ("touch ran",)


@given(VALUES)
def test_what_python_2_wrote_is_read_as_pickle_reads_it(value):
    data = pickle2(value)
    found = read_pickle(data, "t")
    assert found == value
    assert found == pickle.loads(data, encoding="latin-1")  # noqa: S301 - the test's own


@given(st.dictionaries(LATIN, PLAIN | st.lists(PLAIN)), st.sampled_from([0, 1, 2]))
def test_what_this_python_writes_by_the_old_protocols_is_read_too(value, protocol):
    data = pickle.dumps(value, protocol)
    try:
        assert read_pickle(data, "t") == value
    except InputError as error:  # floats, long integers and the UNICODE of protocol 0 are not of these files
        assert "with the opcode" in str(error)  # noqa: PT017 - both are right


@given(st.binary(max_size=200))
def test_any_bytes_are_a_value_or_refused(data):
    for whole in (data, b"\x80\x02" + data + b"."):
        with contextlib.suppress(InputError):
            read_pickle(whole, "t")


@given(VALUES, st.data())
def test_a_pickle_with_one_byte_changed_or_cut_is_a_value_or_refused(value, data):
    whole = bytearray(pickle2({"a": value, "b": Reduced(Global("os", "system"), ("touch ran",), None)}))
    whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    for changed in (bytes(whole), bytes(whole[: data.draw(st.integers(0, len(whole)))])):
        with contextlib.suppress(InputError):
            read_pickle(changed, "t")
    assert not Path("ran").exists()


@pytest.mark.parametrize("protocol", range(6))
def test_a_hostile_pickle_is_refused_or_comes_to_nothing(protocol):
    data = pickle.dumps({"data": Hostile()}, protocol)
    try:
        found = read_pickle(data, "t")["data"]
    except InputError as error:
        assert "with the opcode" in str(error)  # noqa: PT017 - both are right
    else:
        assert isinstance(found, Call)
        assert found.function == Name("posix", "system")
    assert not Path("ran").exists()


def test_the_hostile_pickle_would_have_run():
    """Else the test above would prove nothing."""
    Path("p").write_bytes(pickle.dumps(Hostile(), 2))
    subprocess.run([sys.executable, "-c", "import pickle; pickle.load(open('p', 'rb'))"], check=True)
    assert Path("ran").exists()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not a pickle, or a damaged one"),
        (b"?", "not a pickle, or a damaged one"),
        (b"\x80\x02.", "a pickle that ends with more or less than one value"),
        (b"\x80\x02NN.", "a pickle that ends with more or less than one value"),
        (b"\x80\x02(N.", "a pickle that ends with more or less than one value"),
        (b"\x80\x04N.", "a pickle with the opcode PROTO"),
        (b"\x80\x02h\x01.", "a pickle that is not in order"),
        (b"\x80\x02Na.", "a pickle that is not in order"),
        (b"\x80\x02NNs.", "a pickle that is not in order"),
        (b"\x80\x02t.", "a pickle that is not in order"),
        (b"\x80\x02}K\x01K\x02s.", "a pickle with a dict whose keys are not strings"),
        (b"\x80\x02}(Nu.", "a pickle with a dict whose keys are not strings"),
        (b"\x80\x02NNb.", "a pickle that is not in order"),
        (b"\x80\x02cos\nsystem\n)\x81.", "a pickle with the opcode NEWOBJ"),
        (b"\x80\x02(cos\nsystem\no.", "a pickle with the opcode OBJ"),
        (b"\x80\x02(ios\nsystem\n.", "a pickle with the opcode INST os system"),
        (b"\x80\x02P1\n.", "a pickle with the opcode PERSID"),
        (b"\x80\x02\x82\x01.", "a pickle with the opcode EXT1"),
        (b"\x80\x02G" + bytes(8) + b".", "a pickle with the opcode BINFLOAT"),
        (b"\x80\x02T\xff\xff\xff\xffa.", "not a pickle, or a damaged one"),
        (b"\x80\x02" + b"N" * MOST + b".", "a pickle of over 1,048,576 opcodes"),
    ],
)
def test_what_is_no_plain_data_is_one_line(data, message):
    with pytest.raises(InputError) as caught:
        read_pickle(data, "a.tar: test")
    assert str(caught.value).startswith(f"a.tar: test: {message}")
    assert str(caught.value).count("\n") == 0


def test_the_memo_is_that_of_the_pickle():
    assert read_pickle(b"\x80\x02](U\x01aq\x01h\x01r\x02\x00\x00\x00j\x02\x00\x00\x00e.", "t") == ["a", "a", "a"]


def test_a_list_that_holds_itself_harms_nobody():
    found = read_pickle(b"\x80\x02]q\x01h\x01a.", "t")
    assert found[0] is found
