"""A package index that is a folder: pip's real downloads and hash checks without a network."""

import io
import os
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest

BACKEND = b"""
import os, pathlib
pathlib.Path(os.environ["RAN"]).touch()
def prepare_metadata_for_build_wheel(folder, config_settings=None):
    info = pathlib.Path(folder) / "tinydata-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\\nName: tinydata\\nVersion: 1.0\\n")
    return info.name
def build_wheel(*args, **kwargs):
    raise SystemExit("nobody asked for a wheel")
"""
SDIST = {
    "PKG-INFO": b"Metadata-Version: 2.1\nName: tinydata\nVersion: 1.0\n",
    "pyproject.toml": b'[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n',
    "backend.py": BACKEND,
    "rows.csv": b"text,label\nfine,1\n",
}
WHEEL = {
    "tinymodel-1.0.dist-info/METADATA": b"Metadata-Version: 2.1\nName: tinymodel\nVersion: 1.0\n",
    "tinymodel-1.0.dist-info/WHEEL": b"Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    "tinymodel-1.0.dist-info/RECORD": b"",
}


def open_index(monkeypatch: pytest.MonkeyPatch, folder: Path) -> Path:
    """Let pip see the files of a new folder only, with an empty cache of ours; return that folder."""
    index = folder / "index"
    index.mkdir()
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
    monkeypatch.setenv("RAN", str(folder / "ran"))
    return index


def save_sdist(index: Path) -> Path:
    """A source distribution `tinydata==1.0` whose code leaves a file at $RAN when it is run."""
    path = index / "tinydata-1.0.tar.gz"
    with tarfile.open(path, "w:gz") as file:
        for name, content in SDIST.items():
            entry = tarfile.TarInfo(f"tinydata-1.0/{name}")
            entry.size = len(content)
            file.addfile(entry, io.BytesIO(content))
    return path


def save_wheel(index: Path, members: Mapping[str, bytes]) -> Path:
    """A wheel `tinymodel==1.0` of the given members."""
    path = index / "tinymodel-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as file:
        for name, content in {**members, **WHEEL}.items():
            file.writestr(name, content)
    return path
