"""bonafide/sources/data_source.py: what `data.source` may be, and what a loader must do."""

import hashlib
import shutil
from pathlib import Path

import pyarrow as pa
import pytest

from bonafide.params.pins import Download, Link
from bonafide.params.sections import Data
from bonafide.project.errors import InputError
from bonafide.sources.data_source import read_source
from tests.file_server import serve
from tests.package_index import open_index, save_sdist

ROOT = Path(__file__).parents[2]


def read(source, downloads=()):
    data = Data(
        source=source,
        downloads=list(downloads),
        columns={"text": "text"},
        sample=1,
        slices=[],
        quotes="auto",
    )
    return read_source(data, {"text": "data.columns.text"}).table


@pytest.mark.parametrize("source", ["/etc/passwd", "../t.csv", "data/../../t.csv"])
def test_a_path_outside_the_repository_is_refused(source):
    with pytest.raises(InputError, match=r"^params.yaml: data.source: '.*' is not a path inside the repository$"):
        read(source)


def test_shell_characters_in_a_path_are_only_characters():
    Path("$(touch x); 'a\".csv").write_text("text,label\nfine,1\n", encoding="utf-8")
    assert read("$(touch x); 'a\".csv").num_rows == 1
    assert not Path("x").exists()


LOADERS = {
    "arrow": "import pyarrow as pa\ndef load(downloads):\n    return pa.table({'text': ['fine'], 'label': ['1']})\n",
    "pandas": "import pandas\ndef load(files):\n    return pandas.DataFrame({'text': ['fine'], 'label': ['1']})\n",
}


@pytest.mark.parametrize("code", LOADERS.values(), ids=LOADERS)
def test_a_loader_returns_a_frame_or_an_arrow_table(code):
    Path("loader.py").write_text(code, encoding="utf-8")
    assert read("loader.py").to_pylist() == [{"text": "fine"}]  # the one column that is asked for


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("def load(downloads:\n", r"^loader.py:1: '\(' was never closed$"),
        ("rows = 1\n", r"^loader.py: a loader needs a function load\(downloads\)$"),
        ("def load(downloads):\n    return [1]\n", r"^loader.py: load\(\) returned a list, not a pandas DataFrame"),
        (
            "import pandas as pd\ndef load(downloads):\n    return pd.DataFrame({'text': ['a', 1]}, dtype=object)\n",
            r"^loader.py: load\(\) returned a column of mixed types$",
        ),
        ("import pyarrow as pa\ndef load(downloads):\n    return pa.table({'text': []})\n", "returned no rows$"),
        (
            "import pyarrow as pa\ndef load(downloads):\n    return pa.table({'text': ['a', 'x' * 2**24 + 'x']})\n",
            "^loader.py: row 2 has a field of over 16 MiB in the column 'text'$",
        ),
    ],
)
def test_a_bad_loader_is_refused(code, message):
    Path("loader.py").write_text(code, encoding="utf-8")
    with pytest.raises(InputError, match=message):
        read("loader.py")


def test_a_loader_gets_its_verified_downloads_by_name(monkeypatch, tmp_path):
    archive = save_sdist(open_index(monkeypatch, tmp_path))
    code = (
        "import io, tarfile\nimport pyarrow as pa\n"
        "def load(downloads):\n"
        "    with tarfile.open(downloads['tinydata']) as file:\n"
        "        rows = file.extractfile('tinydata-1.0/rows.csv').read().decode()\n"
        "    return pa.table({'text': [rows]})\n"
    )
    Path("loader.py").write_text(code, encoding="utf-8")
    pin = hashlib.sha256(archive.read_bytes()).hexdigest()
    table = read("loader.py", [Download(package="tinydata==1.0", sha256=pin)])
    assert table == pa.table({"text": ["text,label\nfine,1\n"]})


def test_a_table_by_url_needs_no_code(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    Path("data").mkdir()
    shutil.copy(ROOT / "data/download.py", "data")
    content = b"text,label\nfine,1\nbad,0\n"
    with serve({"rows.csv": content}) as address:
        link = Link(url=f"{address}/file/rows.csv", sha256=hashlib.sha256(content).hexdigest())
        assert read("data/download.py", [link]).to_pylist() == [
            {"text": "fine"}, {"text": "bad"},
        ]  # fmt: skip
        with pytest.raises(InputError, match=r"^data/download.py: reads one download, and .* has 0$"):
            read("data/download.py")


def test_a_path_that_a_loader_returns_is_read_and_named_without_where_it_lay():
    code = "from pathlib import Path\ndef load(downloads):\n    return Path('rows.csv')\n"
    Path("loader.py").write_text(code, encoding="utf-8")
    Path("rows.csv").write_text("text,label\nfine,1\n", encoding="utf-8")
    assert read("loader.py").to_pylist() == [{"text": "fine"}]


def test_what_is_wrong_in_a_download_is_said_of_its_name(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    Path("data").mkdir()
    shutil.copy(ROOT / "data/download.py", "data")
    content = b"text,label\nfine\n"
    with serve({"rows.csv": content}) as address:
        link = Link(url=f"{address}/file/rows.csv", sha256=hashlib.sha256(content).hexdigest())
        with pytest.raises(InputError, match=r"^rows.csv: line 2 has 1 field, the header 2$"):
            read("data/download.py", [link])
