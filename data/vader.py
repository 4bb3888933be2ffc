"""Loader: the ground truth of VADER (Hutto and Gilbert, ICWSM 2014); see vader.md.

From the source distribution vaderSentiment==0.5, which is only read: nothing of it is installed or run.
"""

import html
import io
import tarfile
import zipfile
from pathlib import Path

import pandas as pd

ARCHIVE = "additional_resources/hutto_ICWSM_2014.tar.gz"
MAX_BYTES = 10_000_000  # of the inner archive and of each of its files; the largest has 2.3 million
MIN_RATING = 0.5  # mean rating from which a sentence counts as positive or negative, on a scale of -4 to 4
DOMAINS = (  # name, file, split (none: assigned by validate), whether ids are ITEM_SENTENCE
    ("products", "amazonReviewSnippets", None, True),
    ("movies", "movieReviewSnippets", None, False),
    ("tweets", "tweets", "test_tweets", False),
    ("editorials", "nytEditorialSnippets", "test_editorials", True),
)


def load(downloads: dict[str, Path]) -> pd.DataFrame:
    """Sentences with |rating| >= 0.5: id, text, label, group, split, domain (str), rating, rating_sd (float64)."""
    files = read_archive(downloads["vaderSentiment"])
    frames = []
    for domain, stem, split, has_items in DOMAINS:
        truth = read_rows(files[f"{stem}_GroundTruth.txt"])
        spread = {row[0]: float(row[2]) for row in read_rows(files[f"{stem}_anonDataRatings.txt"])}
        frame = pd.DataFrame(
            {
                "id": [f"{domain}-{key}" for key, _, _ in truth],
                "text": [html.unescape(text).strip() for _, _, text in truth],
                "label": ["positive" if float(rating) > 0 else "negative" for _, rating, _ in truth],
                "group": [f"{domain}-{key.partition('_')[0] if has_items else key}" for key, _, _ in truth],
                "split": [split] * len(truth),
                "domain": domain,
                "rating": [float(rating) for _, rating, _ in truth],
                "rating_sd": [spread[key] for key, _, _ in truth],
            }
        )
        frames.append(frame[frame["rating"].abs() >= MIN_RATING])
    return pd.concat(frames, ignore_index=True)


def read_archive(path: Path) -> dict[str, bytes]:
    """The text files of the data set, by name, from the archive in the archive, unpacked in memory."""
    with zipfile.ZipFile(path) as package:
        member = next(item for item in package.infolist() if item.filename.endswith(ARCHIVE))
        if member.file_size > MAX_BYTES:
            raise ValueError(f"{ARCHIVE}: {member.file_size:,} bytes")
        inner = package.read(member)
    files = {}
    with tarfile.open(fileobj=io.BytesIO(inner), mode="r:gz") as archive:
        for entry in archive:
            if entry.size > MAX_BYTES:
                raise ValueError(f"{ARCHIVE}: {entry.size:,} bytes in a file")
            content = archive.extractfile(entry) if entry.isfile() and entry.name.endswith(".txt") else None
            if content is not None:
                files[Path(entry.name).name] = content.read()
    return files


def read_rows(content: bytes) -> list[list[str]]:
    """Tab-separated rows with CRLF; a BOM before the first in three of the files."""
    return [decode(line).split("\t") for line in content.split(b"\r\n") if line]


def decode(line: bytes) -> str:
    """UTF-8 as all files of version 0.5 are, else Windows' Western European."""
    try:
        return line.decode("utf-8-sig")
    except UnicodeDecodeError:
        return line.decode("cp1252")
