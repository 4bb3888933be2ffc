"""bonafide/sources/images/class_folders.py: folders by class, with splits above them or without."""

import os
from pathlib import Path

import pytest

from bonafide.project.errors import InputError
from bonafide.sources.images.image_folder import SUFFIXES
from tests.sources.images.made_images import put, read


def make(*paths):
    return {path: put(f"d/{path}") for path in paths}


def test_each_folder_is_a_class_and_each_file_a_row_in_the_order_of_its_name():
    made = make("dog/b.png", "cat/2.JPG", "cat/10.jpeg", "dog/a b.webp", "été/ü.gif")
    table, found = read("d", id="id")
    paths = ["cat/10.jpeg", "cat/2.JPG", "dog/a b.webp", "dog/b.png", "été/ü.gif"]
    assert table.to_pydict() == {
        "id": paths,
        "image": [made[path] for path in paths],
        "label": ["cat", "cat", "dog", "dog", "été"],
    }
    assert found.files == [
        {"file": "cat/", "rows": 2, "form": "images"},
        {"file": "dog/", "rows": 2, "form": "images"},
        {"file": "été/", "rows": 1, "form": "images"},
    ]
    assert found.columns == {"id": "text", "image": "image", "label": "text"}
    assert found.not_read == []


def test_ids_are_numbers_where_none_are_mapped():
    make("cat/a.png", "dog/a.png")
    assert read("d")[0]["id"].to_pylist() == ["1", "2"]


@pytest.mark.parametrize("validation", ["val", "valid", "validation", "dev", "VAL"])
def test_folders_above_the_classes_are_splits(validation):
    make("train/cat/a.png", "train/dog/a.png", f"{validation}/cat/a.png", "Test/dog/a.png", "test_night/dog/a.png")
    table, found = read("d", split="split", id="id")
    splits = dict(zip(table["id"].to_pylist(), table["split"].to_pylist(), strict=True))
    assert splits == {
        "train/cat/a.png": "train",
        "train/dog/a.png": "train",
        f"{validation}/cat/a.png": "validation",
        "Test/dog/a.png": "test",
        "test_night/dog/a.png": "test_night",
    }
    assert table["label"].to_pylist() == [path.split("/")[1] for path in table["id"].to_pylist()]
    assert {"file": "train/cat/", "rows": 1, "form": "images"} in found.files


def test_a_split_that_is_mapped_and_not_there_is_named():
    make("cat/a.png", "dog/a.png")
    with pytest.raises(InputError, match=r"^d: no column 'split' \(data.columns.split\); the header is 'id', 'image'"):
        read("d", split="split")


def test_columns_may_be_called_otherwise_by_the_task_only():
    make("cat/a.png", "dog/a.png")
    with pytest.raises(InputError, match=r"^d: no column 'picture' \(data.columns.image\)"):
        read("d", image="picture")


def test_other_files_are_told_and_hidden_ones_passed_over():
    make("cat/a.png", "dog/a.png")
    for other in (
        "README.md",
        "cat/Thumbs.db",
        "cat/notes.txt",
        "_old/cat/a.png",
        ".hidden/a.png",
        "cat/.a.png",
        ".DS_Store",
    ):
        put(f"d/{other}")
    Path("d/link").symlink_to("cat")
    table, found = read("d")
    assert table.num_rows == 2
    assert found.not_read == ["README.md", "_old/", "cat/Thumbs.db", "cat/notes.txt", "link/"]


def test_every_suffix_of_images_is_a_row_that_the_gate_sees():
    make(*(f"cat/a{number}{suffix}" for number, suffix in enumerate(SUFFIXES)), "dog/A.SVG")
    assert read("d")[0].num_rows == len(SUFFIXES) + 1


SHOWN = "images lie in <class>/ or <split>/<class>/"
WRONG = {
    "at-the-top": (
        ["cat/a.png", "dog/a.png", "b.png"],
        rf"d/b.png: at the top, in no class, where {SHOWN}, all alike: move",
    ),
    "top-only": (["a.png", "b.png"], "d/a.png: at the top, in no class"),
    "deeper": (["cat/a.png", "cat/b.png", "dog/x/a.png"], "d/dog/x/a.png: 2 folders deep"),
    "shallower": (["train/cat/a.png", "test/cat/a.png", "dog/a.png"], "d/dog/a.png: 1 folders deep"),
    "deepest": (["a/b/c/d.png"], "d/a/b/c/d.png: 3 folders deep"),
    "no-classes": (["train/a.png", "test/a.png"], f"d: test, train hold images and no folders of classes: {SHOWN}"),
    "no-split": (["train/cat/a.png", "Other/cat/a.png"], "d/Other: holds folders, and 'Other' is no split's name"),
    "no-train": (["animals/cat/a.png", "cars/vw/a.png"], "d: animals, cars hold folders, and none of them is train"),
}


@pytest.mark.parametrize(("paths", "message"), WRONG.values(), ids=WRONG)
def test_an_image_that_lies_in_another_way_is_named_and_none_is_lost(paths, message):
    make(*paths)
    with pytest.raises(InputError) as caught:
        read("d")
    assert str(caught.value).startswith(message)


def test_a_linked_image_stays_within_the_folder():
    made = make("cat/a.png", "dog/a.png")
    put("secret.png")
    Path("d/dog/b.png").symlink_to("../cat/a.png")
    assert read("d")[0]["image"].to_pylist() == [made["cat/a.png"], made["dog/a.png"], made["cat/a.png"]]
    Path("d/dog/c.png").symlink_to("../../secret.png")
    with pytest.raises(InputError, match=r"^d/dog/c.png: leads out of d by a link$"):
        read("d")
    Path("d/dog/c.png").unlink()
    Path("d/dog/c.png").symlink_to("gone.png")
    with pytest.raises(InputError, match=r"^d/dog/c.png: a link to nothing, or gone meanwhile$"):
        read("d")


def test_a_device_and_a_large_file_are_refused():
    make("cat/a.png", "dog/a.png")
    os.mkfifo("d/dog/b.png")
    with pytest.raises(InputError, match=r"^d/dog/b.png: is not a file$"):
        read("d")
    Path("d/dog/b.png").unlink()
    put("d/dog/b.png", bytes(2**24 + 1))
    with pytest.raises(InputError, match=r"^d/dog/b.png: is of over 16 MiB$"):
        read("d")


def test_a_name_with_what_is_no_character_is_refused():
    make("cat/a.png", "dog/a\u202e.png")
    with pytest.raises(InputError, match="a file's name with what is no character: rename it"):
        read("d")


def test_a_table_in_the_folder_is_the_table():
    make("cat/a.png")
    put("d/t.csv", "image,label\ncat/a.png,dog\n")
    assert read("d")[0]["label"].to_pylist() == ["dog"]


def test_a_folder_without_images_and_tables_says_what_is_there():
    put("d/notes.txt")
    with pytest.raises(InputError, match=r"^d: a folder without .*not read: notes.txt$"):
        read("d")
