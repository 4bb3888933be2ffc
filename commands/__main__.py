"""The command line `bonafide`, also as `python -m commands`."""

import sys
from typing import NoReturn

import typer
from filelock import Timeout

from bonafide.environment import prepare
from bonafide.errors import ENVIRONMENT, REFUSED, InputError
from bonafide.printable import say

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


@app.callback()
def bonafide() -> None:
    """Answer with an exit code: 0 yes, 1 no, 2 wrong usage, 3 data or model refused, 4 environment."""


def main() -> NoReturn:
    """Run one command; what the user's input or machine is to blame for becomes one line."""
    prepare()
    try:
        app()
    except InputError as error:
        _fail(str(error), REFUSED)
    except Timeout as held:
        _fail(f"another process is at work here ({held.lock_file} is held)", ENVIRONMENT)
    except OSError as error:
        _fail(f"{error.filename}: {error.strerror}" if error.filename else str(error), ENVIRONMENT)
    sys.exit(0)


def _fail(message: str, code: int) -> NoReturn:
    for line in message.splitlines():
        say(f"bonafide: {line}")
    sys.exit(code)


if __name__ == "__main__":
    main()
