"""data/vader.py, on an archive of the real one's form, and (slow) on the real one."""

import importlib.util
import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from bonafide.params.load import load_params
from bonafide.sources.package_index import pinned_archive

ROOT = Path(__file__).parents[2]
TRUTH = {
    "amazonReviewSnippets": b"1_1\t-0.9\t no picture. \r\n1_2\t-0.15\tdull\r\n2_1\t0.5\tgood &amp; cheap",
    "movieReviewSnippets": "1\t2.26666666667\tA clich\u00e9, and fun\r\n".encode() + b"2\t-3\tcaf\xe9 noir\r\n",
    "tweets": b"1\t0.49\tmeh\r\n2\t-0.5\t&lt;3 not\r\n",
    "nytEditorialSnippets": b"12_3\t1.0\tA holiday.\r\n",
}
SPREAD = {
    "amazonReviewSnippets": b"\xef\xbb\xbf1_1\t-0.9\t0.7\t[0, -1]\r\n1_2\t-0.15\t0.1\t[0]\r\n2_1\t0.5\t0.2\t[1]",
    "movieReviewSnippets": b"\xef\xbb\xbf1\t2.2\t0.3\t[2]\r\n2\t-3\t0.4\t[-3]\r\n",
    "tweets": b"1\t0.49\t0.5\t[0]\r\n2\t-0.5\t0.6\t[0]\r\n",
    "nytEditorialSnippets": b"\xef\xbb\xbf12_3\t1.0\t0.8\t[1]\r\n",
}


@pytest.fixture(scope="module")
def vader():
    spec = importlib.util.spec_from_file_location("vader", ROOT / "data/vader.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def save_archive(path):
    inner = io.BytesIO()
    with tarfile.open(fileobj=inner, mode="w:gz") as file:
        for suffix, files in (("GroundTruth", TRUTH), ("anonDataRatings", SPREAD)):
            for stem, content in files.items():
                entry = tarfile.TarInfo(f"hutto_ICWSM_2014/{stem}_{suffix}.txt")
                entry.size = len(content)
                file.addfile(entry, io.BytesIO(content))
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("vaderSentiment-0.5/additional_resources/hutto_ICWSM_2014.tar.gz", inner.getvalue())
    return path


def test_clear_sentences_are_kept_with_label_group_and_split(vader, tmp_path):
    frame = vader.load({"vaderSentiment": save_archive(tmp_path / "x.zip")})
    rows = [tuple(row) for row in frame.itertuples(index=False)]
    assert tuple(frame.columns) == ("id", "text", "label", "group", "split", "domain", "rating", "rating_sd")
    assert rows == [
        ("products-1_1", "no picture.", "negative", "products-1", None, "products", -0.9, 0.7),
        ("products-2_1", "good & cheap", "positive", "products-2", None, "products", 0.5, 0.2),
        ("movies-1", "A clich\u00e9, and fun", "positive", "movies-1", None, "movies", 2.26666666667, 0.3),
        ("movies-2", "caf\u00e9 noir", "negative", "movies-2", None, "movies", -3.0, 0.4),
        ("tweets-2", "<3 not", "negative", "tweets-2", "test_tweets", "tweets", -0.5, 0.6),
        ("editorials-12_3", "A holiday.", "positive", "editorials-12", "test_editorials", "editorials", 1.0, 0.8),
    ]


def test_an_archive_that_unpacks_to_too_much_is_refused(vader, tmp_path, monkeypatch):
    path = save_archive(tmp_path / "x.zip")
    monkeypatch.setattr(vader, "MAX_BYTES", 100)
    with pytest.raises(ValueError, match=r"hutto_ICWSM_2014.tar.gz: [\d,]+ bytes$"):
        vader.load({"vaderSentiment": path})


@pytest.mark.slow
def test_the_real_table_is_what_its_card_says(vader, tmp_path):
    download = load_params(ROOT / "params.yaml").data.downloads[0]
    frame = vader.load({"vaderSentiment": pinned_archive(download, tmp_path)})
    counts = frame.groupby(["domain", "label"]).size().unstack().to_dict("index")
    card = (ROOT / "data/vader.md").read_text(encoding="utf-8")
    for domain, row in counts.items():
        assert f"| {domain} | {row['negative']:,} | {row['positive']:,} | {sum(row.values()):,} |" in card
    assert {domain: sum(row.values()) for domain, row in counts.items()} == {
        "products": 2985,
        "movies": 10072,
        "tweets": 3432,
        "editorials": 2970,
    }
    assert frame["id"].is_unique
    assert frame.groupby("split")["domain"].unique().str[0].to_dict() == {
        "test_editorials": "editorials",
        "test_tweets": "tweets",
    }
