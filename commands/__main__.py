"""The command line `bonafide`, also as `python -m commands`."""

import sys
from typing import NoReturn

import typer
from filelock import Timeout

from bonafide.environment import prepare
from bonafide.errors import ENVIRONMENT, REFUSED, InputError
from bonafide.printable import say
from commands.comment import comment
from commands.compare import compare
from commands.gate import gate
from commands.plan import plan
from commands.promote import promote
from commands.reproduce import reproduce
from commands.review import review
from commands.rollback import rollback
from commands.serve import serve
from commands.sweep import sweep
from commands.sync import sync
from commands.verify import verify
from lab.project import enter

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


ANYWHERE = ("comment", "gate")  # what they read is not a project's


@app.callback()
def bonafide(context: typer.Context) -> None:
    """Answer with an exit code: 0 yes, 1 no, 2 wrong usage, 3 data or model refused, 4 environment."""
    wants_help = any(name in sys.argv[1:] for name in context.help_option_names)
    if context.invoked_subcommand not in ANYWHERE and not wants_help:
        enter()


app.command()(comment)
app.command()(compare)
app.command()(gate)
app.command()(plan)
app.command()(promote)
app.command()(reproduce)
app.command()(review)
app.command()(rollback)
app.command()(serve)
app.command()(sweep)
app.command()(sync)
app.command()(verify)


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
