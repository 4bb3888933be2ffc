"""bonafide/sources/images/cifar.py: the four archives, in miniature."""

import gzip
import io
import tarfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from bonafide.project.errors import InputError
from bonafide.sources.images import tar_members
from bonafide.sources.images.cifar import read_cifar
from tests.sources.images import cifar_archives as made

ARCHIVES = {
    "CIFAR-10, binary": made.cifar10_binary,
    "CIFAR-10, pickles": made.cifar10_python,
    "CIFAR-100, binary": made.cifar100_binary,
    "CIFAR-100, pickles": made.cifar100_python,
}


def pixels(data):
    with Image.open(io.BytesIO(data)) as image:
        assert (image.format, image.mode) == ("PNG", "RGB")
        return np.asarray(image)


@pytest.mark.parametrize("form", ARCHIVES)
@pytest.mark.parametrize("suffix", [".tar.gz", ".tgz", ".tar", ".TAR.GZ"])
def test_every_archive_is_known_by_its_members_and_read_in_the_order_of_its_batches(form, suffix):
    found = read_cifar(made.pack(f"anything{suffix}", ARCHIVES[form]()))
    table = found.table
    several = "CIFAR-10," in form
    stems = ["data_batch_1", "data_batch_2", "test_batch"] if several else ["train", "test"]
    assert table["id"].to_pylist() == [f"{stem}/{row}" for stem in stems for row in range(4)]
    assert table["split"].to_pylist() == ["train"] * (len(stems) - 1) * 4 + ["test"] * 4
    assert table["image"].type == pa.large_binary()
    seeds = [1, 2, 99] if several else [1, 99]
    expected = np.concatenate([made.planes(4, seed) for seed in seeds]).reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    assert (np.stack([pixels(one) for one in table["image"].to_pylist()]) == expected).all()
    codes = np.concatenate([made.codes(4, seed) for seed in seeds])
    assert table["label"].to_pylist() == [made.CLASSES[code] for code in codes]
    assert ("coarse_label" in table.column_names) == (not several)
    if not several:
        coarse = np.concatenate([made.coarse(4, seed) for seed in seeds])
        assert table["coarse_label"].to_pylist() == [made.COARSE[code] for code in coarse]
    assert ("filename" in table.column_names) == form.endswith("pickles")
    suffix = ".bin" if form.endswith("binary") else ""
    assert found.files == [{"file": f"{stem}{suffix}", "rows": 4, "form": form} for stem in stems]


@pytest.mark.parametrize(
    "names", [("CIFAR-10, binary", "CIFAR-10, pickles"), ("CIFAR-100, binary", "CIFAR-100, pickles")]
)
def test_binary_and_pickles_are_the_same_rows(names):
    first, second = (read_cifar(made.pack(f"{number}.tar", ARCHIVES[name]())) for number, name in enumerate(names))
    assert first.table.equals(second.table.drop_columns("filename"))


def test_an_array_that_is_stored_by_columns_is_the_same():
    first = read_cifar(made.pack("a.tar", made.cifar10_python()))
    assert first.table.equals(read_cifar(made.pack("b.tar", made.cifar10_python(by_columns=True))).table)


def test_file_names_that_one_batch_lacks_are_left_out():
    members = made.cifar10_python()
    members["test_batch"] = made.pickle2({"labels": [1], "data": made.array(made.planes(1, 99))})
    table = read_cifar(made.pack("a.tar", members)).table
    assert table.column_names == ["id", "image", "label", "split"]
    assert table.num_rows == 9


def test_a_header_with_what_is_no_number_is_refused():
    with tarfile.open("a.tar", "w", format=tarfile.PAX_FORMAT) as archive:
        entry = tarfile.TarInfo("test_batch.bin")
        entry.pax_headers = {"GNU.sparse.map": "x"}
        archive.addfile(entry)
    with pytest.raises(InputError, match=r"^a.tar: not a readable archive: is it whole\?$"):
        read_cifar(Path("a.tar"))


def test_ten_batches_are_in_the_order_of_their_numbers():
    table = read_cifar(made.pack("a.tar", made.cifar10_binary(batches=11, rows=1))).table
    assert table["id"].to_pylist() == [*(f"data_batch_{n}/0" for n in range(1, 12)), "test_batch/0"]


def without(members, *names):
    return {name: content for name, content in members.items() if name not in names}


LACKING = {
    "of-several": (without(made.cifar10_binary(batches=3), "data_batch_2.bin"), "has no data_batch_2.bin: is it whole"),
    "test": (without(made.cifar10_python(), "test_batch"), "CIFAR-10, pickles: has no test_batch: is it whole"),
    "train": (without(made.cifar100_binary(), "train.bin"), "CIFAR-100, binary: has no train.bin: is it whole"),
    "meta": (without(made.cifar10_binary(), "batches.meta.txt"), "has no batches.meta.txt: is it whole"),
    "both": (made.cifar100_binary() | made.cifar100_python(), "an archive, one of several of CIFAR's forms: unpack it"),
    "neither": ({"cat/1.png": b"x"}, "an archive, none of CIFAR's: unpack it, and name a folder of images by class"),
    "cut": (made.cifar10_binary() | {"test_batch.bin": b"123"}, "test_batch.bin: 3 bytes are no rows of 3,073 bytes"),
    "empty": (made.cifar10_binary() | {"test_batch.bin": b""}, "test_batch.bin: 0 bytes are no rows of 3,073 bytes"),
    "code": (
        made.cifar10_binary() | {"test_batch.bin": made.binary(made.planes(2, 1), [np.array([0, 3], np.uint8)])},
        "test_batch.bin: row 1 has the label 3, of 3 names",
    ),
    "names": (made.cifar10_binary() | {"batches.meta.txt": b"\xff"}, "batches.meta.txt: not UTF-8"),
    "no-names": (made.cifar10_python() | {"batches.meta": made.pickle2({"x": 1})}, "batches.meta: no list of labels'"),
    "one-list-of-names": (
        made.cifar100_python() | {"meta": made.pickle2({"fine_label_names": made.CLASSES})},
        "meta: no list of names for 'coarse_label'",
    ),
    "no-dict": (
        made.cifar10_python() | {"test_batch": made.pickle2([1])},
        "test_batch: a pickle of list, not of a dict",
    ),
    "no-array": (
        made.cifar10_python() | {"test_batch": made.pickle2({"data": [1], "labels": [1]})},
        "test_batch: 'data' is no array of bytes with 3,072 columns",
    ),
    "narrow": (
        made.cifar10_python() | {"test_batch": made.pickle2({"data": made.array(made.planes(1, 1)[:, :9])})},
        "test_batch: 'data' is no array of bytes with 3,072 columns",
    ),
    "fewer-labels": (
        made.cifar10_python() | {"test_batch": made.pickle2({"data": made.array(made.planes(2, 1)), "labels": [1]})},
        "test_batch: 2 images and no list of as many numbers for 'label'",
    ),
    "odd-labels": (
        made.cifar10_python() | {"test_batch": made.pickle2({"data": made.array(made.planes(1, 1)), "labels": [-1]})},
        "test_batch: 1 images and no list of as many numbers for 'label'",
    ),
    "hostile": (
        made.cifar10_python() | {"test_batch": b"\x80\x02cposix\nsystem\nU\x09touch ran\x85R."},
        "test_batch: a pickle of Call, not of a dict",
    ),
    "no-pickle": (made.cifar10_python() | {"test_batch": b"<html>"}, "test_batch: not a pickle, or a damaged one"),
}


@pytest.mark.parametrize(("members", "message"), LACKING.values(), ids=LACKING)
def test_another_archive_and_a_damaged_one_are_refused_in_one_line(members, message):
    with pytest.raises(InputError) as caught:
        read_cifar(made.pack("a.tar.gz", members))
    assert str(caught.value).startswith("a.tar.gz: ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not Path("ran").exists()


def test_a_member_that_is_there_twice_is_refused():
    made.pack("a.tar", made.cifar10_binary())
    with tarfile.open("a.tar", "a") as archive:
        archive.addfile(tarfile.TarInfo("other/test_batch.bin"))
    with pytest.raises(InputError, match=r"^a.tar: has test_batch.bin twice$"):
        read_cifar(Path("a.tar"))


def test_links_are_not_followed_and_nothing_is_written():
    Path("secret").write_bytes(made.cifar10_binary()["test_batch.bin"])
    made.pack("a.tar", without(made.cifar10_binary(), "test_batch.bin"))
    before = sorted(Path().iterdir())
    with tarfile.open("a.tar", "a") as archive:
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE):
            entry = tarfile.TarInfo("test_batch.bin")
            entry.type, entry.linkname = kind, str(Path("secret").resolve())
            archive.addfile(entry)
        outside = tarfile.TarInfo("../../outside")
        archive.addfile(outside, io.BytesIO())
    with pytest.raises(InputError, match=r"has no test_batch.bin"):
        read_cifar(Path("a.tar"))
    assert sorted(Path().iterdir()) == before


def test_what_is_no_whole_archive_is_refused():
    whole = made.pack("a.tar.gz", made.cifar10_binary()).read_bytes()
    for number, content in enumerate([b"", b"x" * 1000, whole[:1000], whole[: len(whole) // 2], gzip.compress(b"x")]):
        Path("b.tar.gz").write_bytes(content)
        with pytest.raises(InputError, match=r"^b.tar.gz: (not a readable archive: is it whole\?|an archive, none of)"):
            read_cifar(Path("b.tar.gz"))
        assert number < 5


@pytest.mark.parametrize("limit", ["MAX_MEMBER", "MAX_MEMBERS", "MAX_ALL"])
def test_a_bomb_is_refused_before_it_is_unpacked(limit, monkeypatch):
    monkeypatch.setattr(tar_members, limit, {"MAX_MEMBER": 10_000, "MAX_MEMBERS": 3, "MAX_ALL": 30_000}[limit])
    with pytest.raises(InputError, match=r"^a.tar.gz: an archive of more than any of CIFAR's has: unpack it"):
        read_cifar(made.pack("a.tar.gz", made.cifar10_binary()))


def test_a_long_header_is_no_way_around_the_limit(monkeypatch):
    monkeypatch.setattr(tar_members, "MAX_ALL", 1_000_000)
    with tarfile.open("a.tar.gz", "w:gz", format=tarfile.PAX_FORMAT) as archive:
        entry = tarfile.TarInfo("test_batch.bin")
        entry.pax_headers = {"comment": "x" * 3_000_000}
        archive.addfile(entry)
    assert Path("a.tar.gz").stat().st_size < 10_000
    with pytest.raises(InputError, match=r"^a.tar.gz: an archive of more than any of CIFAR's has"):
        read_cifar(Path("a.tar.gz"))
