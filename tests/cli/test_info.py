"""imgtool info and imgtool formats."""

import json

import numpy as np
import pytest

from imgtool import io
from imgtool.io.formats import FORMATS


def records(result):
    return [json.loads(line) for line in result.stdout.splitlines()]


@pytest.mark.parametrize(
    ("name", "shape", "dtype", "words"),
    [
        ("a.png", (5, 7), "uint16", "a.png: PNG, 7 x 5, gray, uint16"),
        ("b.png", (5, 7, 4), "uint8", "b.png: PNG, 7 x 5, RGBA, uint8"),
        ("c.tif", (3, 5, 7), "float32", "c.tif: TIFF, 7 x 5, gray, float32, 3 pages"),
        ("d.tif", (5, 7, 3), "int16", "d.tif: TIFF, 7 x 5, RGB, int16"),
        ("e.npy", (5, 7), "complex64", "e.npy: NPY, 7 x 5, gray, complex64"),
        ("f.tif", (5, 7, 6), "uint8", "f.tif: TIFF, 7 x 5, 6 channels, uint8"),
    ],
)
def test_an_image_is_one_line_and_json_agrees_with_what_is_read(call, tmp_path, name, shape, dtype, words):
    axis = -1 if len(shape) == 3 and shape[0] == 5 else None
    io.write(tmp_path / name, io.Image(np.ones(shape, dtype), axis))
    assert call("info", name).stdout.rstrip("\n").partition("; ")[0] == words
    (record,) = records(call("info", "--json", name))
    image = io.read(tmp_path / name)
    assert (tuple(record["shape"]), record["dtype"]) == (image.data.shape, str(image.data.dtype))
    assert (record["channels"], record["alpha"], record["pages"]) == (image.channels, image.has_alpha, len(image.pages))


def test_metadata_is_told_and_binary_blocks_by_their_size(call, tmp_path):
    metadata = {"resolution": (300.0, 150.0, "inch"), "icc_profile": b"profile" * 20, "description": "a scan"}
    io.write(tmp_path / "a.tif", io.Image(np.ones((5, 7), np.uint8), None, metadata))
    (record,) = records(call("info", "--json", "a.tif"))
    assert record["metadata"] == {
        "resolution": [300.0, 150.0, "inch"], "icc_profile": {"bytes": 140}, "description": "a scan"
    }  # fmt: skip
    assert call("info", "a.tif").stdout.endswith("; description, icc profile, resolution\n")


def test_what_cannot_be_read_is_one_line_and_the_others_are_told(call, picture, tmp_path):
    picture("sub/a.png")
    picture("b.png")
    (tmp_path / "sub" / "text.png").write_text("no image")
    result = call("info", "b.png", "-r", "sub", "none.png")
    assert result.exit_code == 1
    assert [line.partition(":")[0] for line in result.stdout.splitlines()] == ["b.png", "sub/a.png"]
    assert [line.partition(":")[2].strip().partition(":")[0] for line in result.stderr.splitlines()] == [
        "sub/text.png", "none.png"
    ]  # fmt: skip
    told = records(call("info", "--json", "b.png", "none.png"))
    assert [sorted(record) == ["error", "input"] for record in told] == [False, True]


def test_a_list_names_images_too(call, picture, tmp_path):
    picture("a.png")
    picture("b.png")
    (tmp_path / "list").write_bytes(b"a.png\0b.png\0")
    assert len(call("info", "--files-from", "list", "-0").stdout.splitlines()) == 2
    result = call("info")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("Error: Missing argument 'IMAGE...'")


def test_hostile_files_end_in_a_line_each(call, shared_data):
    names = sorted(str(path) for path in (shared_data / "hostile").rglob("*") if path.is_file())
    result = call("info", *names)
    assert result.exit_code == 1
    assert len(result.stdout.splitlines()) + len(result.stderr.splitlines()) == len(names) > 0
    assert "Traceback" not in result.stderr


def test_formats_prints_the_table_by_which_outputs_are_refused(call):
    lines = call("formats").stdout.splitlines()
    assert [line.partition(" ")[0] for line in lines if not line.startswith(" ")] == [entry.name for entry in FORMATS]
    for record, entry in zip(records(call("formats", "--json")), FORMATS, strict=True):
        assert record["extensions"] == list(entry.extensions)
        assert (record["pages"], record["animation"]) == (entry.pages, entry.animation)
        assert set(record["keeps"]) == entry.keeps
        assert {layout: set(names) for layout, names in record["holds"].items()} == {
            layout: set(names) for layout, names in entry.holds.items()
        }
