"""Why MLflow has not taken something: it does not answer, or it says no, with its own reason and what helps."""

import re
import socket
from importlib.metadata import version
from importlib.resources import files

from mlflow.exceptions import MlflowException
from requests import exceptions as http
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from bonafide.project.errors import InputError

MLFLOW = (MlflowException, SQLAlchemyError, ImportError)
"""What MLflow raises of its own; the last where a database's driver is missing."""
UNTOLD = (*MLFLOW, OSError, InputError)
"""What telling it can raise, with requests' and filelock's errors, and a deleted experiment."""

LONGEST = 300  # characters of MLflow's own reason
ABSENT = (http.ConnectionError, http.Timeout, ConnectionError, TimeoutError, socket.gaierror)
DISTRUSTED = (http.SSLError, http.ProxyError)  # which are ConnectionErrors, but of something that answers
# psycopg2 and the MySQL drivers have no code for it, only words
NO_DATABASE = re.compile(
    r"refused|timed? ?out|timeout|could not translate|unreachable|can't connect|no route", re.IGNORECASE
)
RIGHTS = "ask for the right to edit this experiment"
LOGIN = "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
ADDRESS = "set MLFLOW_TRACKING_URI to a server or a database, or unset it for mlflow.db"
ADVICE = (  # the first that fits what MLflow says
    (r"error code 401 ", LOGIN),
    (r"error code 403 |permission.denied", RIGHTS),
    (r"password authentication failed|access denied for user", "MLFLOW_TRACKING_URI has a wrong user or password"),
    (r"unsupported URI|Invalid url|maintenance mode|not a database|no such table|unable to open", ADDRESS),
    (r"No module named", "install the driver of that database, or use a server"),
)


def is_absent(error: BaseException) -> bool:
    """Whether nothing answers at all, in time."""
    chain = list(_chain(error))
    if any(isinstance(one, DISTRUSTED) for one in chain):
        return False
    return any(
        isinstance(one, ABSENT) or (isinstance(one, DBAPIError) and NO_DATABASE.search(str(one.orig))) for one in chain
    )


def why(error: BaseException, uri: str) -> str:
    """One line for people: who does not answer, or what it says and what to do; without the password in `uri`."""
    where = f"MLflow at {redacted(uri)}"
    if is_absent(error):
        return f"{where} does not answer ({type(error).__name__})"
    told = str(error.orig if isinstance(error, DBAPIError) else error)
    advice = _newer_schema(told) or next((what for words, what in ADVICE if re.search(words, told, re.IGNORECASE)), "")
    return f"{where}: {_reason(told) or type(error).__name__}{f'; {advice}' if advice else ''}"


def redacted(uri: str) -> str:
    """A tracking URI without the password that it may carry."""
    scheme, separator, rest = uri.partition("://")
    return f"{scheme}{separator}{rest.rpartition('@')[2]}"


def _chain(error: BaseException | None) -> list[BaseException]:
    """An error and those that it came from."""
    found: list[BaseException] = []
    while error is not None and error not in found:
        found.append(error)
        error = error.__cause__ or error.__context__
    return found


def _reason(told: str) -> str:
    """MLflow's first sentence, or that of the server that it reports on, without markup and passwords."""
    if failing := re.search(r"too many (\d+) error responses", told):
        return f"it answers with error {failing[1]}; its own log says why"
    body = re.search(r"Response body: '(.*)'", told, re.DOTALL)
    text = re.sub(r"<[^>]*>", " ", body[1] if body else told)
    text = " ".join(re.sub(r"//[^/@\s]*@", "//", text).split())
    text = re.split(r"(?<=[.!?]) ", text, maxsplit=1)[0]
    return text.rstrip(".") if len(text) <= LONGEST else f"{text[:LONGEST].rpartition(' ')[0]} ..."


def _newer_schema(told: str) -> str:
    """What to do about a database whose schema this MLflow has never heard of: its own advice is for older ones."""
    found = re.search(r"database schema \(found version (\w+)", told)
    if not found:
        return ""
    known = (path.name for path in files("mlflow.store.db_migrations").joinpath("versions").iterdir())
    if any(name.startswith(found[1]) for name in known):
        return "back it up, then: mlflow db upgrade with its URI"
    return f"it is of a newer MLflow than this one, {version('mlflow')}: install that one, or use another database"
