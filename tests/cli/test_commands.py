"""What is the same for every command: its exit codes and one line an error."""

import subprocess
import sys

import pytest
import typer
from filelock import Timeout

from bonafide.cli import app as line
from bonafide.project.errors import InputError


def code_of(monkeypatch, error):
    app = typer.Typer(pretty_exceptions_enable=False)

    @app.command()
    def fails() -> None:
        raise error

    monkeypatch.setattr(line, "app", app)
    monkeypatch.setattr(sys, "argv", ["bonafide"])
    with pytest.raises(SystemExit) as end:
        line.main()
    return end.value.code


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (InputError("table.csv: row 3: no label"), 3, "bonafide: table.csv: row 3: no label\n"),
        (OSError(28, "No space left on device", "out"), 4, "bonafide: out: No space left on device\n"),
        (Timeout("x.lock"), 4, "bonafide: another process is at work here (x.lock is held)\n"),
        (typer.Exit(1), 1, ""),
    ],
    ids=["refused", "environment", "held", "no"],
)
def test_what_is_not_a_bug_is_one_line_and_a_code(monkeypatch, capsys, error, code, message):
    assert code_of(monkeypatch, error) == code
    assert capsys.readouterr().err == message


def test_a_bug_keeps_its_traceback(monkeypatch):
    with pytest.raises(ZeroDivisionError):
        code_of(monkeypatch, ZeroDivisionError())


def test_help_is_quick_and_a_wrong_option_is_a_usage_error():
    """Nothing heavy is imported to show the help."""
    heavy = "import sys; from bonafide import __main__; print({'mlflow', 'dvc', 'torch', 'pandas'} & set(sys.modules))"
    shown = subprocess.run([sys.executable, "-c", heavy], capture_output=True, text=True, check=True)
    assert shown.stdout == "set()\n"
    assert (
        subprocess.run([sys.executable, "-m", "bonafide", "--none"], capture_output=True, check=False).returncode == 2
    )
