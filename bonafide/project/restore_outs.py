"""Bring back what a failed stage has cost: DVC deletes the old outs before it knows whether new ones come."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

from bonafide.project.dvc_lock import read_lock


def restore_outs(stage: str) -> list[str]:
    """Copy the missing outs of `stage`, as dvc.lock has them, from DVC's cache; return the paths that came back.

    A stage holds DVC's lock on its outs while it runs, so `dvc checkout` is not to be had here.
    """
    outs = [out for out in read_lock().get(stage, {}).get("outs", []) if not Path(out["path"]).exists()]
    if not outs:
        return []
    command = [sys.executable, "-m", "dvc", "cache", "dir"]
    shown = subprocess.run(command, capture_output=True, text=True, check=False)
    cache = Path(shown.stdout.strip()) / "files" / "md5"
    return [out["path"] for out in outs if _restore(cache, out["md5"], Path(out["path"]))]


def _object(cache: Path, digest: str) -> Path:
    return cache / digest[:2] / digest[2:]


def _restore(cache: Path, digest: str, target: Path) -> bool:
    if not _object(cache, digest).exists():
        return False
    members = {"": digest}
    if digest.endswith(".dir"):
        members = {entry["relpath"]: entry["md5"] for entry in json.loads(_object(cache, digest).read_text())}
    for name, md5 in members.items():
        path = target / name if name else target
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(_object(cache, md5), path)
    return True
