"""A Python without our libraries, told in one line: DVC runs its stages with the first `python` on the PATH.

Nothing but the standard library is imported here, and nothing is written that a Python of 2010 cannot read.
"""

import sys

OLDEST = (3, 11)
ADVICE = "source .venv/bin/activate (make setup makes it), or run: make repro"


def watch():
    # type: () -> None
    """From now on a library that cannot be imported ends this process with one line and exit code 4."""
    if sys.version_info < OLDEST:
        _end("is Python " + sys.version.split()[0] + ", older than 3.11")
    sys.excepthook = _tell


def unwatch():
    # type: () -> None
    """All that we need is there: what cannot be imported from here on is another's business."""
    sys.excepthook = sys.__excepthook__


def _tell(kind, error, trace):  # type: ignore[no-untyped-def]
    is_ours = str(getattr(error, "name", None)).partition(".")[0] in ("bonafide", "stages")
    if issubclass(kind, ImportError) and not is_ours:
        _end("cannot run this: " + str(error))
    sys.__excepthook__(kind, error, trace)


def _end(reason):
    # type: (str) -> None
    sys.stderr.write(sys.executable + " " + reason + ": " + ADVICE + "\n")
    sys.exit(4)
