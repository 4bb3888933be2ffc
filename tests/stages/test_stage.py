"""What a stage says to people and to CI is one inert line."""

import pytest

from bonafide.project.console import say
from bonafide.stage import fail


@pytest.mark.parametrize(
    "hostile",
    ["::set-output name=x::y", "\x1b[31mred\x1b[0m", "one\ntwo", "\u202edesrever", "\r::error::x", "##[group]\x00"],
)
def test_a_line_is_inert_whatever_it_quotes(capsys, hostile):
    say(f"fetch: data/{hostile}")
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "::" not in said
    assert not any(mark in said for mark in "\x1b\r\x00\u202e")


def test_each_line_of_a_refusal_names_the_stage_and_the_exit_code_is_kept(capsys):
    with pytest.raises(SystemExit) as caught:
        fail("validate", "one\ntwo", 3)
    assert caught.value.code == 3
    assert capsys.readouterr().err == "validate: one\nvalidate: two\n"
