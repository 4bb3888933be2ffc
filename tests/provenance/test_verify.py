"""What does not need a pipeline: bytes against hashes, libraries against the lock, and what explains a difference."""

import hashlib
import json
import os
import platform
from importlib.metadata import version
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bonafide.project import environment
from bonafide.provenance.environments import explain
from bonafide.provenance.forecast import kind_of
from bonafide.provenance.hashes import ALTERED, MISSING, UNCACHED, Out, check
from bonafide.provenance.libraries import differences
from bonafide.provenance.reproduction import in_order

NAMES = ["config.json", "model.safetensors", "deep/er/vocab.txt"]
PROJECT = '[project]\ndependencies = ["torch==%s", "numpy>=1"]\n'


def md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def store(folder: Path, cache: Path, contents: list[bytes]) -> Out:
    """An output of three files and its objects, as DVC lays them out, read-only."""
    listing = []
    for name, content in zip(NAMES, contents, strict=True):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
        put(cache, md5(content), content)
        listing.append({"md5": md5(content), "relpath": name})
    text = json.dumps(sorted(listing, key=lambda entry: entry["relpath"]), sort_keys=True).encode()
    put(cache, md5(text) + ".dir", text)
    return Out(folder, md5(text) + ".dir", "train", kept=True, cache=cache)


def put(cache: Path, digest: str, content: bytes) -> None:
    path = cache / digest[:2] / digest[2:]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    path.chmod(0o444)


def flip(path: Path, at: int) -> None:
    """Flip a bit as a disk does: mode, size and time stay."""
    before, content = path.stat(), bytearray(path.read_bytes())
    content[at % len(content)] ^= 1
    path.chmod(0o644)
    path.write_bytes(content)
    path.chmod(before.st_mode)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def problems(out: Out) -> list:
    return check([out], lambda _path: False, lambda _done, _all: None)[0]


@pytest.fixture
def out(tmp_path):
    return store(tmp_path / "out", tmp_path / "cache", [b"{}", b"weights", b"words"])


@settings(max_examples=40)
@given(st.lists(st.binary(min_size=1, max_size=40), min_size=3, max_size=3, unique=True), st.data())
def test_any_flipped_bit_is_found_and_named(tmp_path_factory, contents, data):
    folder = tmp_path_factory.mktemp("flip")
    out = store(folder / "out", folder / "cache", contents)
    assert problems(out) == []
    path = data.draw(st.sampled_from(sorted(path for path in folder.rglob("*") if path.is_file())))
    flip(path, data.draw(st.integers(0, 1000)))
    (problem,) = problems(Out(out.path, out.md5, "train", kept=True, cache=out.cache))
    assert (problem.kind, problem.stage) == (ALTERED, "train")
    if path.is_relative_to(out.path):
        assert (problem.path, problem.object) == (path.as_posix(), "")
    else:
        assert problem.object == str(path)
        assert path.name.endswith(".dir") or md5(Path(problem.path).read_bytes()) == path.parent.name + path.name


def test_what_is_not_there_is_told_apart_from_what_is_altered(out):
    (out.path / NAMES[0]).unlink()
    (out.path / "extra").write_text("")
    assert [(p.kind, Path(p.path).name, p.note) for p in problems(out)] == [
        (ALTERED, NAMES[0], "is not there"),
        (ALTERED, "extra", "is not recorded"),
    ]
    for path in sorted(out.path.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    out.path.rmdir()
    (problem,) = problems(out)
    assert (problem.kind, problem.note) == (MISSING, "try: dvc checkout")


def test_a_whole_output_that_dvc_could_not_restore_is_no_corruption(out):
    out.object(md5(b"weights")).unlink()
    (problem,) = problems(out)
    assert (problem.kind, problem.object) == (UNCACHED, str(out.object(md5(b"weights"))))


def test_libraries_are_compared_by_version_where_the_lock_applies():
    numpy = version("numpy")
    lock = f"numpy=={numpy} \\\n    --hash=sha256:00\npandas==0.1 ; sys_platform == 'none' \\\n    --hash=sha256:00\n"
    public = version("torch").partition("+")[0]
    assert differences(lock, PROJECT % public) == {}
    other = differences(lock.replace(numpy, "0.1") + "no-such-library==2 \\\n", PROJECT % "9.9")
    assert other == {
        "numpy": ("0.1", numpy),
        "no-such-library": ("2", "none"),
        "torch": ("9.9", version("torch")),
    }


def test_an_environment_explains_a_difference_only_if_it_differs():
    here = {"cpu": "AMD EPYC", "threads": "2"}
    assert explain(here, dict(here)).startswith("The environment does not explain it")
    assert explain(here, here | {"threads": "4"}) == "The environment may explain it: threads 2 → 4."
    assert "unknown" in explain(None, here)


def test_two_generations_of_processors_with_one_name_are_two_environments(tmp_path, monkeypatch):
    """Their vectors differ in width, and so do the last bits of sums."""
    monkeypatch.setattr(environment, "CPUINFO", tmp_path / "cpuinfo")
    seen = []
    for model, flags in ((1, "fpu avx avx2 fma"), (17, "fpu avx avx2 avx512f fma"), (17, "fpu avx avx2 fma")):
        core = f"cpu family\t: 25\nmodel\t\t: {model}\nmodel name\t: AMD EPYC\nflags\t\t: {flags}\n\n"
        environment.CPUINFO.write_text(core * 2)
        seen.append(environment.fingerprint(2))
    assert seen[0]["cpu"] == "AMD EPYC (family 25 model 1 avx2)"
    assert seen[1]["cpu"] == "AMD EPYC (family 25 model 17 avx512f)"
    assert len({facts["hash"] for facts in seen}) == 3
    environment.CPUINFO.unlink()
    assert environment.fingerprint(2)["cpu"] == platform.processor()


def test_a_variable_that_chooses_kernels_is_a_part_of_the_environment(monkeypatch):
    """OPENBLAS_CORETYPE=Haswell on a Zen 5: the default job's baselines have other last bits, its model has not."""
    for name in environment.CHOOSERS:
        monkeypatch.delenv(name, raising=False)
    plain = environment.fingerprint(2)
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Haswell")
    monkeypatch.setenv("MKL_CBWR", "AVX2, STRICT")
    chosen = environment.fingerprint(2)
    assert chosen["hash"] != plain["hash"]
    assert explain(plain, chosen).startswith(
        "The environment may explain it: MKL_CBWR none → AVX2 STRICT, OPENBLAS_CORETYPE none → Haswell, hash"
    )


def test_stages_come_after_those_they_read_from():
    entry = {
        "report": {"deps": [{"path": "out/train/history.csv"}]},
        "train": {"deps": [{"path": "out/data"}], "outs": [{"path": "out/train"}]},
        "fetch": {"outs": [{"path": "out/data"}]},
    }
    assert list(in_order(entry)) == ["fetch", "train", "report"]


def test_an_input_is_environment_code_or_data():
    kinds = {
        "requirements.lock": "environment",
        "stages/train.py": "code",
        "bonafide/templates": "code",
        "data/vader.py": "code",
        "data/table.csv": "data",
    }
    assert {path: kind_of(path) for path in kinds} == kinds
