"""bonafide/sources/images/cells.py: images in tables, as bytes, paths beside the table and data URIs."""

import base64
import gzip
import json
import os
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bonafide.project.errors import InputError
from bonafide.sources.images.byte_columns import MAX_IMAGE
from bonafide.sources.images.cells import decode_uri
from bonafide.sources.images.image_folder import RefusedError
from tests.sources.images.made_images import image, put, read

A, B = image(1), image(2, "JPEG")
PAIR = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
BYTES = {
    "binary": pa.array([A, None, B], pa.binary()),
    "large_binary": pa.array([A, None, B], pa.large_binary()),
    "binary_view": pa.array([A, None, B], pa.binary_view()),
    "dictionary": pa.array([A, None, B], pa.binary()).dictionary_encode(),
    "pairs": pa.array([{"bytes": A, "path": "a.png"}, None, {"bytes": B, "path": None}], PAIR),
    "pairs-without-paths": pa.array(
        [{"bytes": A}, {"bytes": None}, {"bytes": B}], pa.struct([("bytes", pa.large_binary())])
    ),
    "pairs-of-nulls": pa.array(
        [{"bytes": A, "path": None}, None, {"bytes": B}], pa.struct([("bytes", pa.binary()), ("path", pa.null())])
    ),
}


def write(path, **columns):
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path)


def uri(content, kind="png"):
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


@pytest.mark.parametrize("column", BYTES.values(), ids=BYTES)
def test_bytes_are_untouched_and_a_null_stays_null(column):
    write("t.parquet", picture=column, label=["cat", "dog", "cat"])
    table, found = read("t.parquet", image="picture")
    assert table["image"].type == pa.large_binary()
    assert table["image"].to_pylist() == [A, None, B]
    assert table["label"].to_pylist() == ["cat", "dog", "cat"]
    assert found.columns["picture"] == str(pq.read_schema("t.parquet").field("picture").type)


def test_bytes_of_one_length_and_what_is_no_image_pass_to_the_gate():
    write("t.parquet", image=pa.array([b"\0\xff", b"xx", None], pa.binary(2)), label=["1", "2", "3"])
    assert read("t.parquet")[0]["image"].to_pylist() == [b"\0\xff", b"xx", None]


def test_a_loader_may_return_bytes_pairs_and_data_uris():
    code = "import pandas as pd\ndef load(downloads):\n    return pd.DataFrame({'image': %r, 'label': ['a', 'b']})\n"
    for values in ([A, None], [{"bytes": A, "path": None}, {"bytes": None, "path": None}], [uri(A), None]):
        Path("loader.py").write_text(code % values, encoding="utf-8")
        assert read("loader.py")[0]["image"].to_pylist() == [A, None]
    Path("loader.py").write_text(code % [A, 1], encoding="utf-8")
    with pytest.raises(InputError, match=r"^loader.py: load\(\) returned a column of mixed types$"):
        read("loader.py")
    Path("loader.py").write_text(code % ["a.png", None], encoding="utf-8")
    with pytest.raises(InputError, match=r"^loader.py: the column 'image': row 1 holds a path, and images beside a"):
        read("loader.py")


@pytest.mark.parametrize(
    ("column", "kind"),
    [
        (pa.array([[1, 2]]), "list<.*>"),
        (pa.array([{"bytes": A, "size": 1}]), "struct<.*>"),
        (pa.array([{"path": "a.png"}]), "struct<.*>"),
        (pa.array([{"bytes": 1, "path": "a.png"}]), "struct<.*>"),
        (pa.array([1]), "int64"),
        (pa.array([1.5]), "double"),
    ],
)
def test_what_is_no_column_of_images_is_refused_by_its_type(column, kind):
    write("t.parquet", image=column, label=["a"])
    message = rf"^t.parquet: the column 'image': holds {kind}, not images: give the bytes of image files, paths or"
    with pytest.raises(InputError, match=message):
        read("t.parquet")


def test_a_column_without_any_image_is_refused():
    for column in (
        pa.nulls(1),
        pa.array([None], pa.binary()),
        pa.array([""]),
        pa.array([{"bytes": None, "path": None}], PAIR),
    ):
        write("t.parquet", image=column, label=["a"])
        with pytest.raises(InputError, match=r"^t.parquet: the column 'image': no row has an image$"):
            read("t.parquet")


FORMS = {
    "t.csv": lambda rows: "image,label\n" + "".join(f'"{one}",{label}\n' for one, label in rows),
    "t.tsv": lambda rows: "image\tlabel\n" + "".join(f"{one}\t{label}\n" for one, label in rows),
    "t.jsonl": lambda rows: "".join(json.dumps({"image": one, "label": label}) + "\n" for one, label in rows),
    "t.json": lambda rows: json.dumps([{"image": one, "label": label} for one, label in rows]),
    "t.csv.gz": lambda rows: gzip.compress(FORMS["t.csv"](rows).encode()),
}


@pytest.mark.parametrize("name", FORMS)
def test_paths_are_relative_to_the_table_in_a_folder(name):
    first, second = put("d/sub/img/a 1.png"), put("d/sub/ü.jpg")
    put(
        f"d/sub/{name}", FORMS[name]([("img/a 1.png", "cat"), ("./ü.jpg", "dog"), ("", "cat"), ("img//a 1.png", "dog")])
    )
    put("d/sub/unnamed.png")
    table, found = read("d")
    assert table["image"].to_pylist() == [first, second, None, first]
    assert found.not_read == ["sub/unnamed.png"]
    assert [file["file"] for file in found.files] == [f"sub/{name}"]


@pytest.mark.parametrize("name", FORMS)
def test_data_uris_need_no_folder(name):
    put(name, FORMS[name]([(uri(A), "cat"), (uri(B, "JPEG").replace("data:", "DATA:"), "dog"), ("", "cat")]))
    assert read(name)[0]["image"].to_pylist() == [A, B, None]


def test_parquet_may_hold_paths_too():
    first, second = put("d/a.png"), put("d/b.png")
    for column in (
        pa.array(["a.png", "b.png"], pa.large_string()),
        pa.array(["a.png", "b.png"], pa.string_view()),
        pa.array(["a.png", "b.png"]).dictionary_encode(),
        pa.array([{"bytes": None, "path": "a.png"}, {"bytes": second, "path": "gone.png"}], PAIR),
        pa.array(
            [{"bytes": None, "path": "a.png"}, {"bytes": None, "path": "b.png"}],
            pa.struct([("bytes", pa.null()), ("path", pa.string())]),
        ),
    ):
        write("d/t.parquet", image=column, label=["a", "b"])
        assert read("d")[0]["image"].to_pylist() == [first, second]


def test_tables_that_keep_images_in_different_ways_are_one():
    first = put("d/a.png")
    put("d/1.csv", "image,label\na.png,cat\n")
    write("d/2.parquet", image=[A], label=["dog"])
    put("d/3.jsonl", json.dumps({"image": uri(B), "label": "cat"}))
    table, found = read("d")
    assert table["image"].to_pylist() == [first, A, B]
    assert found.not_read == []


def test_a_path_beside_a_single_table_is_refused_with_what_to_write_instead():
    put("a.png")
    put("t.csv", "image,label\n,cat\na.png,cat\n")
    with pytest.raises(InputError) as caught:
        read("t.csv")
    assert str(caught.value) == (
        "t.csv: the column 'image': row 2 holds a path, and images beside a single table change unseen: put both into "
        "a folder, and name that in data.source"
    )


def test_paths_to_nothing_are_named_by_their_rows():
    put("d/a.png")
    rows = "".join(f"{name},cat\n" for name in ("a.png", "x.png", "a.png/b", "A.PNG", "n" * 300))
    put("d/t.csv", f"image,label\n{rows}")
    with pytest.raises(InputError) as caught:
        read("d")
    assert str(caught.value) == (
        "d/t.csv: the column 'image': 4 of 5 images are not there: row 2 ('x.png'), row 3 ('a.png/b'), row 4 ('A.PNG')"
        ", ...; paths are relative to the folder of the table"
    )


@pytest.mark.parametrize(
    ("cell", "reason"),
    [
        ("/etc/hostname", "leads out of d: paths are relative to the table, within the folder"),
        ("../secret.png", "leads out of d: paths are relative to the table, within the folder"),
        ("sub/../../secret.png", "leads out of d: paths are relative to the table, within the folder"),
        ("sub/../a.png", "leads out of d: paths are relative to the table, within the folder"),
        ("a.png\0", "leads out of d: paths are relative to the table, within the folder"),
        ("link.png", "leads out of d by a link"),
        ("chain.png", "leads out of d by a link"),
        ("out/secret.png", "leads out of d by a link"),
        ("sub", "is not a file"),
        (".", "is not a file"),
        ("pipe.png", "is not a file"),
        ("large.png", "is of over 16 MiB"),
        ("https://example.com/a.png", "holds a URL, which is not fetched: give bytes, a path or a data URI"),
        ("HTTP://example.com/a.png", "holds a URL, which is not fetched: give bytes, a path or a data URI"),
        ("file:///etc/hostname", "holds a URL, which is not fetched: give bytes, a path or a data URI"),
        ("file:a.png", "holds a URL, which is not fetched: give bytes, a path or a data URI"),
        ("ftp://h/a.png", "holds a URL, which is not fetched: give bytes, a path or a data URI"),
        ("s3://bucket/a.png", "holds a URL, which is not fetched: give bytes, a path or a data URI"),
        ("data:text/html;base64,PGI+", "holds a data URI that does not begin with data:image/TYPE;base64,"),
        ("data:image/png,abc", "holds a data URI that does not begin with data:image/TYPE;base64,"),
        ("data:image/png;base64,????", "holds a data URI that is not base64"),
        ("data:image/png;base64,QUJD\n", "holds a data URI that is not base64"),
        ("data:image/png;base64,QUJ", "holds a data URI that is not base64"),
        ("data:image/png;base64,QQ==QQ==", "holds a data URI that is not base64"),
    ],
)
def test_a_cell_that_is_refused_is_one_line_with_its_row(cell, reason):
    put("secret.png")
    put("d/sub/a.png")
    put("d/a.png")
    Path("d/link.png").symlink_to("../secret.png")
    Path("d/chain.png").symlink_to("link.png")
    Path("d/out").symlink_to("..")
    os.mkfifo("d/pipe.png")
    with Path("d/large.png").open("wb") as file:
        file.truncate(MAX_IMAGE + 1)
    write("d/t.parquet", image=["a.png", cell], label=["a", "b"])
    with pytest.raises(InputError) as caught:
        read("d")
    assert str(caught.value) == f"d/t.parquet: the column 'image': row 2 {reason}"


def test_a_link_within_the_folder_is_followed():
    first = put("d/real/a.png")
    Path("d/b.png").symlink_to("real/a.png")
    Path("d/linked").symlink_to("real")
    put("d/t.csv", "image,label\nb.png,cat\nlinked/a.png,dog\n")
    assert read("d")[0]["image"].to_pylist() == [first, first]


def test_a_link_to_itself_is_not_there():
    Path("d").mkdir()
    Path("d/loop.png").symlink_to("loop.png")
    put("d/t.csv", "image,label\nloop.png,cat\n")
    with pytest.raises(InputError, match=r"1 of 1 images are not there: row 1 \('loop.png'\); paths"):
        read("d")


def test_names_that_only_look_like_urls_are_paths():
    first = put("d/img:1.png")
    put("d/t.csv", "image,label\nimg:1.png,cat\n")
    assert read("d")[0]["image"].to_pylist() == [first]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_a_file_that_may_not_be_read_is_refused():
    put("d/a.png")
    Path("d/a.png").chmod(0)
    put("d/t.csv", "image,label\na.png,cat\n")
    with pytest.raises(InputError, match=r"^d/a.png: not readable: permission denied$"):
        read("d")


def test_a_path_that_is_not_utf8_is_named_by_its_row():
    put("d/a.png")
    options = pc.CastOptions(pa.string(), allow_invalid_utf8=True)
    write("d/t.parquet", image=pa.array([b"a.png", b"\xff.png"]).cast(options=options), label=["a", "b"])
    with pytest.raises(InputError, match=r"^d/t.parquet: the column 'image': row 2 is not UTF-8$"):
        read("d")


@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary(), pa.binary_view()])
def test_an_image_of_over_16_mib_is_refused_by_its_row(kind):
    write("t.parquet", image=pa.array([A, bytes(MAX_IMAGE), bytes(MAX_IMAGE + 1)], kind), label=["a", "b", "c"])
    with pytest.raises(InputError, match=r"^t.parquet: row 3 has a field of over 16 MiB in the column 'image'$"):
        read("t.parquet")


def test_other_tasks_read_bytes_as_they_did():
    write("t.parquet", image=[A], label=[b"cat"])
    assert read("t.parquet")[0]["label"].to_pylist() == ["cat"]


@given(st.binary(max_size=200), st.sampled_from(["png", "jpeg", "svg+xml", "x-icon", "vnd.microsoft.icon"]))
def test_every_data_uri_is_decoded_as_it_was_encoded(content, kind):
    assert decode_uri(uri(content, kind).encode()) == content


@given(st.binary(max_size=50))
def test_whatever_stands_in_a_data_uri_is_strict_base64_or_refused(text):
    try:
        found = decode_uri(b"data:image/png;base64," + text)
    except RefusedError:
        return
    assert base64.b64encode(found).rstrip(b"=")[:-1] == text.rstrip(b"=")[: len(text.rstrip(b"=")) - 1]


def test_pandas_keeps_bytes_through_parquet():
    pd.DataFrame({"image": [A, None, B], "label": [1, 2, 3]}).to_parquet("t.parquet")
    assert read("t.parquet")[0]["image"].to_pylist() == [A, None, B]
