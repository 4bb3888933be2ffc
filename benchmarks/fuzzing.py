"""Fuzz what reads other people's bytes: mutated files of each format, each read in a process of its own with limits.

    python -m benchmarks.fuzzing [--minutes 15] [--rounds N] [--targets csv parquet] [--seed 1] [--keep FOLDER]

A target is a few valid files, and a function that reads one and raises InputError where it refuses. An input may cost
10 s of CPU and 1 GB beyond what the process has at the start. Anything but a result or an InputError of one line that
names the thing is a find, which is kept.
"""

import argparse
import contextlib
import os
import random
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pyarrow as pa

from benchmarks.fuzz_targets import TARGETS
from bonafide.project.errors import InputError

SECONDS, BYTES = 10, 10**9
OUTCOMES = {0: "read", 3: "refused", 4: "traceback", 5: "memory", -signal.SIGPROF: "hang", -signal.SIGALRM: "hang"}
"""Of exit codes; any other is a crash."""
TOKENS = [
    *(
        b'"',
        b'""',
        b",",
        b"\t",
        b";",
        b"\n",
        b"\r",
        b"\r\n",
        b"\0",
        b"\\",
        b"\xff\xfe",
        b"\xef\xbb\xbf",
        b"\xff",
        b"\xc3",
    ),
    *(b"sep=;\n", b"{", b"}", b"[", b"]", b":", b"null", b"NaN", b"1e999", b"-0", b"\\ud800", b'"text"', b"[" * 2000),
    *(b"9" * 400, b"PAR1", b"\x7f\xff\xff\xff", b"\xff\xff\xff\xff\xff\xff\xff\xff\x7f", b"x" * 70_000),
]


def mutate(content: bytes, other: bytes, chance: random.Random) -> bytes:
    """One to eight changes: bits, bytes, tokens, pieces cut, doubled, moved or taken from another file."""
    made = bytearray(content)
    for _ in range(chance.choice([1, 1, 1, 2, 3, 8])):
        at = chance.randrange(len(made) + 1)
        end = min(len(made), at + chance.choice([1, 1, 2, 4, 16, 200]))
        match chance.randrange(7):
            case 0:
                made[at:end] = bytes(byte ^ 1 << chance.randrange(8) for byte in made[at:end])
            case 1:
                made[at:end] = chance.randbytes(end - at)
            case 2:
                made[at:at] = chance.choice(TOKENS)
            case 3:
                made[at:end] = b""
            case 4:
                made[at:at] = made[at:end] * chance.choice([1, 2, 50])
            case 5:
                start = chance.randrange(len(other) + 1)
                made[at:end] = other[start : start + chance.choice([1, 8, 64])]
            case _:
                del made[chance.randrange(len(made) + 1) :]
    return bytes(made)


def attempt(run: Callable[[Path], object], path: Path) -> tuple[str, str]:
    """The outcome of one input in a child with limits, and what the child said."""
    said, say = os.pipe()
    child = os.fork()
    if not child:
        os.close(said)
        code = within_limits(run, path, say)
        os._exit(code)
    os.close(say)
    with os.fdopen(said, "rb") as file:
        words = file.read().decode(errors="replace")
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    return OUTCOMES.get(code, f"crash {code}"), words


def within_limits(run: Callable[[Path], object], path: Path, say: int) -> int:
    """Run in this process: an exit code of OUTCOMES."""
    signal.setitimer(signal.ITIMER_PROF, SECONDS)  # CPU time, which does not depend on what else the machine does
    signal.alarm(60 + int(SECONDS))  # who waits for ever takes none
    before = resident("VmSize")
    resource.setrlimit(resource.RLIMIT_AS, (before + BYTES, before + BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        run(path)
    except InputError as error:
        one_line = "\n" not in str(error) and (path.name in str(error) or str(error).startswith("base model: "))
        os.write(say, str(error).encode(errors="replace")[:1000])
        return 3 if one_line else 4
    except (MemoryError, pa.ArrowMemoryError):
        return 5
    except BaseException:  # noqa: BLE001 - whatever it is, it is a find
        os.write(say, traceback.format_exc().encode(errors="replace")[-3000:])
        return 4
    return 0


def resident(key: str) -> int:
    """A figure of /proc/self/status in bytes."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.partition(f"{key}:")[2].split()[0]) * 1024


def until(deadline: float) -> Iterator[None]:
    """As many rounds as there is time for."""
    while time.monotonic() < deadline:
        yield


def fuzz(name: str, rounds: Iterable[object], chance: random.Random, keep: Path) -> Counter[str]:
    """Feed one target as many files as there are rounds; keep what is neither read nor refused."""
    run, files = TARGETS[name]()
    samples = [(file, content) for file, contents in files.items() for content in contents]
    counts: Counter[str] = Counter()
    for _ in rounds:
        file, content = chance.choice(samples)
        made = mutate(content, chance.choice(samples)[1], chance)
        path = Path(file)
        path.write_bytes(made)
        outcome, words = attempt(run, path)
        counts[outcome] += 1
        path.write_bytes(content)  # a model's other files may be next
        if outcome not in ("read", "refused") and counts[outcome] <= 20:
            kept = keep / f"{name}-{outcome.replace(' ', '')}-{counts[outcome]}-{file.replace('/', '-')}"
            kept.write_bytes(made)
            kept.with_name(f"{kept.name}.txt").write_text(words, encoding="utf-8")
    return counts


def main() -> int:
    """Print a line per target; return 1 if there was any find."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=15.0)
    parser.add_argument("--rounds", type=int, help="of each target, instead of the minutes of all")
    parser.add_argument("--targets", nargs="+", default=list(TARGETS), choices=list(TARGETS))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", type=Path, default=Path("fuzzing"))
    arguments = parser.parse_args()
    keep = arguments.keep.resolve()
    keep.mkdir(parents=True, exist_ok=True)
    finds = 0
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        for name in arguments.targets:
            deadline = time.monotonic() + 60 * arguments.minutes / len(arguments.targets)
            rounds = until(deadline) if arguments.rounds is None else range(arguments.rounds)
            counts = fuzz(name, rounds, random.Random(f"{arguments.seed} {name}"), keep)  # noqa: S311
            finds += sum(count for outcome, count in counts.items() if outcome not in ("read", "refused"))
            print(
                f"{name:10}", ", ".join(f"{count:,} {outcome}" for outcome, count in counts.most_common()), flush=True
            )
    print(f"{finds:,} finds, kept in {keep}")
    return int(finds > 0)


if __name__ == "__main__":
    sys.exit(main())
