"""A checkpoint that is damaged or forged is named and skipped, and the one before it is used."""

import json
import os
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bonafide.training.checkpoints import manifest
from bonafide.training.checkpoints.manager import Checkpoints
from bonafide.training.checkpoints.manifest import seal
from tests.checkpoint_states import newest, same, state


def damages(path):
    content = path.read_bytes()
    yield "flipped", lambda: path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    yield "short", lambda: path.write_bytes(content[:-12])
    yield "empty", lambda: path.write_bytes(b"")
    yield "long", lambda: path.write_bytes(content + b"\n")
    yield "deleted", path.unlink
    yield "folder", lambda: (path.unlink(missing_ok=True), path.mkdir())
    yield "link", lambda: (path.rmdir(), path.symlink_to("/etc/passwd"))
    yield "pipe", lambda: (path.unlink(), os.mkfifo(path))


@pytest.mark.parametrize("name", ["state.safetensors", "best.safetensors", "manifest.json"])
def test_damage_is_named_and_the_one_before_is_used(saved, said, name):
    for kind, damage in damages(Path("c/step-00000020") / name):
        said.clear()
        damage()
        left = newest(said)
        assert (left.step, len(said)) == (10, 1), kind
        assert re.fullmatch(r"checkpoint step-00000020: .+; skipped", said[0]), said
        assert same(left.load("best"), state(11))
        if kind in {"flipped", "deleted", "short"}:
            assert name in said[0]
        if kind == "short" and name != "manifest.json":
            assert said == [f"checkpoint step-00000020: {name} is 12 bytes short; skipped"]


@given(st.data())
def test_no_byte_can_change_unseen(saved, said, data):
    path = data.draw(st.sampled_from(sorted(Path("c/step-00000020").iterdir())))
    content = path.read_bytes()
    at, mask = data.draw(st.integers(0, len(content) - 1)), data.draw(st.integers(1, 255))
    try:
        path.write_bytes(content[:at] + bytes([content[at] ^ mask]) + content[at + 1 :])
        said.clear()
        assert newest(said).step == 10
        assert path.name in said[0]
    finally:
        path.write_bytes(content)


def test_a_changed_or_moved_manifest_is_noticed(saved, said):
    path = Path("c/step-00000020/manifest.json")
    content = path.read_bytes()
    path.write_bytes(content.replace(b'"epoch": 20', b'"epoch": 21'))
    assert newest(said).step == 10
    path.write_bytes(content)
    Path("c/step-00000020").rename("c/step-00000030")
    assert newest(said).step == 10
    assert [line.split(":")[1] for line in said] == [" manifest.json is missing or changed; skipped"] * 2


@pytest.mark.parametrize(
    "forged",
    [
        b"[" * 100_000,
        b"[]",
        b"{}",
        b"\xff",
        b"1" * 9999,
        *(seal({"format": 1, "step": 20, "files": f}) for f in (3, {"state": 3})),
    ],
)
def test_a_forged_manifest_raises_nothing(saved, said, forged):
    Path("c/step-00000020/manifest.json").write_bytes(forged)
    assert newest(said).step == 10
    assert len(said) == 1


def test_what_is_no_safetensors_file_is_skipped_though_its_sha256_fits(saved, said):
    folder = Path("c/step-00000020")
    (folder / "state.safetensors").write_bytes(b"x" * 99)
    content = json.loads((folder / "manifest.json").read_bytes())
    content["files"]["state"] = manifest.record(folder / "state.safetensors")
    (folder / "manifest.json").write_bytes(seal(content))
    assert newest(said).step == 10
    assert "eader" in said[0]


def test_other_things_in_the_folder_do_no_harm(saved, said):
    Path("c/step-00000090").write_text("a file")
    Path("c/step-00000080").symlink_to("step-00000020")
    Path("c/step-00000070").mkdir()
    Path("c/step-00000060.tmp-1").mkdir()
    Path("c/step-00000050.bak").mkdir()
    Path("c/notes").write_text("mine")
    assert newest(said).step == 20
    assert [line[11:24] for line in said] == ["step-00000090", "step-00000080", "step-00000070"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read all")
def test_a_folder_without_permission_is_skipped(saved, said):
    Path("c/step-00000020").chmod(0)
    assert newest(said).step == 10
    Path("c/step-00000020").chmod(0o700)


def test_an_unreadable_file_is_skipped(saved, said, monkeypatch):
    def read(path):
        if "00000020" in str(path):
            raise PermissionError(13, "Permission denied", str(path))
        return record(path)

    record = manifest.record
    monkeypatch.setattr(manifest, "record", read)
    assert newest(said).step == 10
    assert "Permission denied" in said[0]


def test_a_damaged_newer_one_does_not_crowd_out_whole_ones(saved, said):
    Path("c/step-00000020/manifest.json").unlink()
    resumed = Checkpoints(Path("c"), said.append)
    assert resumed.newest().step == 10
    resumed.save(15, {"state": state(15)}, {}, wait=True)
    assert sorted(path.name for path in Path("c").iterdir()) == ["step-00000010", "step-00000015"]
