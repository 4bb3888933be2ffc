"""Fuzz what reads other people's bytes: mutated files of each format, each read in a process of its own with limits.

    python -m benchmarks.fuzzing [--minutes 15] [--rounds N] [--targets csv parquet] [--seed 1] [--keep FOLDER]

A target is a few valid files, and a function that reads one and raises InputError where it refuses. An input may cost
10 s of CPU and 1 GB beyond what the process has at the start. Anything but a result or an InputError of one line that
names the thing is a find, which is kept.
"""

import argparse
import bz2
import contextlib
import gzip
import json
import lzma
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
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from bonafide.columns import arrange
from bonafide.errors import InputError
from bonafide.loadable import check_loads
from bonafide.model_files import check_model
from bonafide.params import Data, load_params
from bonafide.sources import read_source
from dev.zoo import build_base

ROOT = Path(__file__).parents[1]
DATA = load_params(ROOT / "params.yaml").data
BASES = ("bert", "gpt2", "t5")
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
ROWS: list[dict[str, Any]] = [{"text": f'a "text", {n}\nof é', "label": str(n % 2), "n": n} for n in range(40)]


def csv_file(delimiter: str = ",", end: str = "\n") -> bytes:
    """The rows, quoted."""
    lines = [f'"{row["text"]}"{delimiter}{row["label"]}'.replace(' "text"', ' ""text""') for row in ROWS]
    return end.join([f"text{delimiter}label", *lines, ""]).encode()


def parquet_file(**options: object) -> bytes:
    """The rows, with types of every kind."""
    table = pa.Table.from_pylist([{**row, "nested": {"a": [row["n"]]}, "float": row["n"] / 3} for row in ROWS])
    table = table.append_column("kind", table["label"].dictionary_encode())
    table = table.append_column("view", table["text"].cast(pa.string_view()))
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, **options)
    return bytes(sink.getvalue())


def read_table(path: Path) -> None:
    """What fetch does with a table."""
    data = Data(**vars(DATA) | {"source": path.name, "columns": {"text": "text", "label": "label"}, "slices": []})
    arrange(read_source(data).table, data, ("text", "label"))


def read_model(path: Path) -> None:
    """What fetch does with a base model in the folder of this file."""
    check_model(path.parent)
    check_loads(path.parent)


def models(file: str) -> tuple[Callable[[Path], None], dict[str, list[bytes]]]:
    """A target: a file of base models in miniature, which this makes in the working folder."""
    for name in BASES:
        if not Path(name).exists():
            Path(name).mkdir()
            build_base(Path(name), name, [row["text"] for row in ROWS])
    return read_model, {f"{name}/{file}": [Path(name, file).read_bytes()] for name in BASES}


def params() -> tuple[Callable[[Path], None], dict[str, list[bytes]]]:
    """A target: params.yaml."""
    files = [(ROOT / name).read_bytes() for name in ("params.yaml", "recipes/smoke.yaml")]
    return load_params, {"params.yaml": files}  # type: ignore[return-value]


def tables() -> dict[str, tuple[Callable[[Path], None], dict[str, list[bytes]]]]:
    """The targets of tables: the function of each, and for each file name some valid content."""
    text = csv_file()
    lines = "\n".join(json.dumps(row, ensure_ascii=False) for row in ROWS).encode()
    return {
        "csv": (
            read_table,
            {
                "t.csv": [text, csv_file(";", "\r\n"), b'text,label\n5" a,1\nb,0\n', text.decode().encode("utf-16")],
                "t.tsv": [csv_file("\t"), csv_file("\t", "\r"), b'text\tlabel\n"a\t1\nb"\t0\n'],
            },
        ),
        "packed": (
            read_table,
            {
                "t.csv.gz": [gzip.compress(text)],
                "t.csv.bz2": [bz2.compress(text)],
                "t.csv.xz": [lzma.compress(text)],
                "t.jsonl.zst": [pa.compress(lines, "zstd", asbytes=True)],
                "t.jsonl.lz4": [pa.compress(lines, "lz4", asbytes=True)],
            },
        ),
        "json": (
            read_table,
            {
                "t.jsonl": [lines, lines.decode().encode("utf-16-le")],
                "t.json": [json.dumps(ROWS, indent=1).encode(), json.dumps(ROWS).encode(), lines],
            },
        ),
        "parquet": (
            read_table,
            {
                "t.parquet": [
                    parquet_file(),
                    parquet_file(compression="gzip", data_page_version="2.0", row_group_size=7),
                    parquet_file(use_dictionary=False, compression="zstd", write_statistics=False),
                    parquet_file(compression="none", store_schema=False, version="1.0"),
                ]
            },
        ),
    }


TARGETS: dict[str, Callable[[], tuple[Callable[[Path], None], dict[str, list[bytes]]]]] = {
    **{name: partial(tables().__getitem__, name) for name in tables()},
    "config": partial(models, "config.json"),
    "tokenizer": partial(models, "tokenizer.json"),
    "params": params,
}


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


def attempt(run: Callable[[Path], None], path: Path) -> tuple[str, str]:
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


def within_limits(run: Callable[[Path], None], path: Path, say: int) -> int:
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
