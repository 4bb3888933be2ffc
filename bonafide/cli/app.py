"""The command line `bonafide`, also as `python -m bonafide`."""

import sys
from typing import NoReturn

import typer
from filelock import Timeout

from bonafide.cli.comment import comment
from bonafide.cli.compare import compare
from bonafide.cli.gate import gate
from bonafide.cli.plan import plan
from bonafide.cli.promote import promote
from bonafide.cli.reproduce import reproduce
from bonafide.cli.review import review
from bonafide.cli.rollback import rollback
from bonafide.cli.serve import serve
from bonafide.cli.sweep import sweep
from bonafide.cli.sync import sync
from bonafide.cli.verify import verify
from bonafide.project.console import say
from bonafide.project.environment import prepare
from bonafide.project.errors import ENVIRONMENT, REFUSED, InputError
from bonafide.project.folders import enter

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
