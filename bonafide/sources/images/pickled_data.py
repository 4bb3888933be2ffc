"""Pickles of Python 2 as data: the opcodes are read, and nothing is ever imported, called or built.

The pickle module looks names up and calls what it finds, so that a pickle is a program. Here a GLOBAL is a pair of
names and a REDUCE a note of what would have been called: a hostile pickle is refused or comes to nothing.
Opcodes: https://docs.python.org/3/library/pickletools.html; those of protocols 0 to 2 that dicts, lists, strings,
numbers and NumPy's arrays need are known, all others are refused.
"""

import pickletools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from bonafide.project.errors import InputError

MOST = 2**20  # opcodes; CIFAR-100's 50,000 rows take some 300,000
PUSHED = {"BININT", "BININT1", "BININT2", "INT", "LONG1", "STRING", "BINSTRING", "SHORT_BINSTRING", "BINUNICODE"}
CONSTANTS: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
    "EMPTY_TUPLE": tuple,
}
MEMORIZED = {"PUT", "BINPUT", "LONG_BINPUT"}
RECALLED = {"GET", "BINGET", "LONG_BINGET"}
HEADERS = {("PROTO", 1), ("PROTO", 2)}  # which is the last of Python 2
SHOWN = {"INST"}  # opcodes whose argument is a name, and not a row's text
DISORDER = "that is not in order"
TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


class Name(NamedTuple):
    """What a pickle calls by its name."""

    module: str
    name: str


@dataclass(eq=False)
class Call:
    """What a pickle would have had called, and the state that the result would have been given."""

    function: Any
    arguments: Any
    state: Any = None


class MachineError(ValueError):
    """An opcode that is not known, or that does not fit what is on the stack."""


def pairs(values: list[Any]) -> dict[str, Any]:
    """Keys and values by turns, as a dict; raise MachineError for keys of other types than str."""
    keys = values[::2]
    if len(values) % 2 or not all(isinstance(key, str) for key in keys):
        raise MachineError("with a dict whose keys are not strings")
    return dict(zip(keys, values[1::2], strict=True))


MADE: dict[str, Callable[[list[Any]], Any]] = {"TUPLE": tuple, "LIST": list, "DICT": pairs}
"""What is made of all values up to a mark."""


def read_pickle(data: bytes, where: str) -> Any:
    """The value of a pickle: None, bool, int, str, list, dict with keys of str, tuple, Name and Call.

    Strings of Python 2 are bytes as Latin-1. Raises InputError for all else.
    """
    machine = Machine()
    try:
        for opcode, argument, _ in pickletools.genops(data):
            machine.step(opcode.name, argument)
        return machine.value()
    except MachineError as error:
        raise InputError(f"{where}: a pickle {error}: not read, since a pickle can run code") from None
    except (ValueError, OverflowError):
        raise InputError(f"{where}: not a pickle, or a damaged one") from None


class Machine:
    """The stack, the marks in it and the memo."""

    def __init__(self) -> None:  # noqa: D107
        self._stack: list[Any] = []
        self._below: list[list[Any]] = []
        """The stacks that marks have put aside."""
        self._memo: dict[int, Any] = {}
        self._steps = 0

    def value(self) -> Any:
        """What STOP leaves."""
        if len(self._stack) != 1 or self._below:
            raise MachineError("that ends with more or less than one value")
        return self._stack[0]

    def step(self, name: str, argument: Any) -> None:
        """Take one opcode."""
        self._steps += 1
        if self._steps > MOST:
            raise MachineError(f"of over {MOST:,} opcodes")
        if name in PUSHED:
            self._stack.append(argument)
        elif name in CONSTANTS:
            self._stack.append(CONSTANTS[name]())
        elif name in TUPLES:
            self._stack.append(tuple(self._take(TUPLES[name])))
        elif name in MEMORIZED:
            self._memo[argument] = self._top()
        elif name in RECALLED:
            if argument not in self._memo:
                raise MachineError(DISORDER)
            self._stack.append(self._memo[argument])
        else:
            self._combine(name, argument)

    def _combine(self, name: str, argument: Any) -> None:
        """Take an opcode that makes one value of several, adds to one, or is about the pickle itself."""
        if name == "MARK":
            self._below.append(self._stack)
            self._stack = []
        elif name == "GLOBAL":
            self._stack.append(Name(*argument.split(" ", 1)))
        elif name in MADE:
            made = MADE[name](self._to_mark())
            self._stack.append(made)
        elif name in ("APPEND", "APPENDS"):
            values = self._take(1) if name == "APPEND" else self._to_mark()
            self._top(list).extend(values)
        elif name in ("SETITEM", "SETITEMS"):
            values = self._take(2) if name == "SETITEM" else self._to_mark()
            self._top(dict).update(pairs(values))
        elif name == "REDUCE":
            self._stack.append(Call(*self._take(2)))
        elif name == "BUILD":
            [state] = self._take(1)
            self._top(Call).state = state
        elif name != "STOP" and (name, argument) not in HEADERS:
            raise MachineError(f"with the opcode {name}{f' {argument:.40}' if name in SHOWN else ''}")

    def _top(self, kind: type = object) -> Any:
        if not self._stack or not isinstance(self._stack[-1], kind):
            raise MachineError(DISORDER)
        return self._stack[-1]

    def _take(self, count: int) -> list[Any]:
        if len(self._stack) < count:
            raise MachineError(DISORDER)
        taken = self._stack[-count:]
        del self._stack[-count:]
        return taken

    def _to_mark(self) -> list[Any]:
        if not self._below:
            raise MachineError(DISORDER)
        values, self._stack = self._stack, self._below.pop()
        return values
