"""package_index.py and download_cache.py: archives by pip, with pip's own index and hash checks, offline here."""

import hashlib

import pytest

from bonafide.params.pins import Download
from bonafide.project.errors import InputError
from bonafide.sources import download_cache
from bonafide.sources.package_index import NetworkError, pinned_archive, wheel
from tests.package_index import open_index, save_sdist


@pytest.fixture
def archive(monkeypatch, tmp_path):
    return save_sdist(open_index(monkeypatch, tmp_path))


def fetch(pin, tmp_path, name):
    folder = tmp_path / name
    folder.mkdir()
    return pinned_archive(Download(package="tinydata==1.0", sha256=pin), folder)


def test_a_pinned_archive_is_fetched_once_and_a_corrupt_cache_again(archive, tmp_path):
    content = archive.read_bytes()
    pin = hashlib.sha256(content).hexdigest()
    assert fetch(pin, tmp_path, "a").read_bytes() == content

    cached = download_cache.entry(pin) / archive.name
    archive.rename(archive.with_name("hidden"))
    assert fetch(pin, tmp_path, "b") == cached
    cached.write_bytes(b"corrupt")
    archive.with_name("hidden").rename(archive)
    assert fetch(pin, tmp_path, "c").read_bytes() == content
    assert cached.read_bytes() == content


@pytest.mark.parametrize(("pin", "state"), [("", "missing"), ("f" * 64, "wrong")])
def test_a_bad_pin_is_answered_with_the_actual_hash_before_any_code_runs(archive, tmp_path, pin, state):
    actual = hashlib.sha256(archive.read_bytes()).hexdigest()
    message = f"params.yaml: data.downloads: tinydata==1.0: the pin is {state}, the actual sha256 is {actual}"
    with pytest.raises(InputError, match=f"^{message}$"):
        fetch(pin, tmp_path, "a")
    assert not (tmp_path / "ran").exists()


def test_a_cache_that_cannot_be_written_is_no_cache(archive, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    pin = hashlib.sha256(archive.read_bytes()).hexdigest()
    assert fetch(pin, tmp_path, "a").name == archive.name


def test_without_a_network_the_error_says_so(tmp_path, monkeypatch):
    open_index(monkeypatch, tmp_path)
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    with pytest.raises(NetworkError, match=r"^tinydata==1.0: the package index cannot be reached$"):
        wheel("tinydata==1.0", tmp_path)


@pytest.mark.slow
def test_the_default_table_is_what_the_package_index_has(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    pin = "5d97c37f3ef6e24eef331122e055dbedafeb6a56abfce0608b326701116ea49a"
    archive = pinned_archive(Download(package="vaderSentiment==0.5", sha256=pin), tmp_path)
    assert archive.name == "vaderSentiment-0.5.zip"
