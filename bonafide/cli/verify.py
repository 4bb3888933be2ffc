"""`bonafide verify`: whether everything is, byte for byte, what dvc.lock says."""

import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from bonafide.project.console import printable
from bonafide.project.errors import ENVIRONMENT, NO

if TYPE_CHECKING:
    from bonafide.provenance.verification import Audit

SHOWN = 40  # problems that a person is shown
VERDICTS = {
    "sound": (0, "Sound: everything is here, and as dvc.lock says"),
    "altered": (NO, "Altered: not everything is as dvc.lock says"),
    "incomplete": (ENVIRONMENT, "Incomplete: what is here is as dvc.lock says, but not everything is here"),
}


def verify(*, as_json: Annotated[bool, typer.Option("--json", help="Machine-readable.")] = False) -> None:
    """Read every output, cache object, input and library again, and say what is not as dvc.lock says.

    Exit with 0 where all is here and as recorded; with 1 where a byte, parameter or command is not as recorded; with 4
    where that cannot be said, since something is not here (bytes not pulled, libraries not installed). Nothing is
    changed.
    """
    from rich.console import Console
    from rich.progress import Progress

    from bonafide.provenance.verification import audit

    with Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as progress:
        task = progress.add_task("hashing", total=None)
        found = audit(lambda done, total: progress.update(task, completed=done, total=total))
    code, sentence = VERDICTS[found.verdict]
    if as_json:
        print(json.dumps(asdict(found) | {"verdict": found.verdict}))
    else:
        _show(found, sentence)
    if code:
        raise typer.Exit(code)


def _show(found: "Audit", sentence: str) -> None:
    lines: dict[tuple[str, str, str], list[str]] = {}
    for problem in found.problems:
        place = f" [{problem.object}]" if problem.object else ""
        lines.setdefault((problem.kind, problem.path, problem.note + place), []).append(problem.stage)
    for (kind, path, note), stages in list(lines.items())[:SHOWN]:
        of = f" ({', '.join(stages)})" if any(stages) else ""
        print(printable(f"{kind:<13} {path}{of}: {note}".replace("\n", " ")))
    if len(lines) > SHOWN:
        print(f"and {len(lines) - SHOWN} more; all with --json")
    for note in found.notes:
        print(printable(note))
    print(f"{sentence} ({found.files:,} files, {found.bytes / 1e6:,.0f} MB hashed).")
