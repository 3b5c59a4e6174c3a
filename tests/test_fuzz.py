"""Whatever users and files throw at our parsers: a value, or an error in one sentence. `just fuzz` runs many more."""

import json
import os
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import click
import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from imgtool import io, kernels, transforms
from imgtool.cli.inputs import listed
from imgtool.cli.template import parse_template
from imgtool.errors import ImgtoolError
from imgtool.io._exif import block_of, tags_of, with_orientation
from imgtool.io._ome import fitted, made, summary
from imgtool.io.summary import summary as told

# Pieces that mean something to a parser, so that more is reached than the first complaint.
WORDS = [
    "gaussian",
    "sobel",
    "box",
    "motion",
    "sigma",
    "length",
    "1e308",
    "1e-320",
    "nan",
    "inf",
    "0x1",
    "1_0",
    "\ud800",
]
PIECES = [*WORDS, *':=,;/@-+.#[]{}"x019\u0663 \n\t\0']
TEXT = st.lists(st.sampled_from(PIECES)).map("".join) | st.text(max_size=40)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


def one_sentence(error):
    text = str(error)
    assert text
    assert "\n" not in text
    assert len(text) < 1000


def checked_kernel(text, **options):
    try:
        kernel = kernels.parse_kernel(text, **options)
    except ImgtoolError as error:
        one_sentence(error)
        return
    assert all(array.size and np.isfinite(array).all() for array in kernel.arrays)


@given(TEXT, st.sampled_from([2, 3]))
@example(" @\ngaussian", 2)
def test_any_text_is_a_kernel_or_no_kernel(text, axes):
    assume(not text.startswith("@"))
    checked_kernel(text, axes=axes)


@given(TEXT.map(lambda text: text.encode("utf-8", "surrogatepass")) | st.binary(max_size=200), st.sampled_from([2, 3]))
@example(b"PK\x03\x04", 2)
@pytest.mark.parametrize("extension", ["txt", "csv", "json", "mat", "npy"])
def test_any_file_is_a_kernel_or_no_kernel(extension, content, axes):
    with TemporaryDirectory() as folder:
        path = Path(folder) / f"k.{extension}"
        path.write_bytes(content)
        checked_kernel(f"@{path}", axes=axes, read_image=None)


@given(JSON)
def test_any_json_is_a_kernel_or_no_kernel(content):
    with TemporaryDirectory() as folder:
        path = Path(folder) / "k.json"
        path.write_text(json.dumps(content))
        checked_kernel(f"@{path}", axes=2, read_image=None)


WHOLE = {
    "format": transforms.FORMAT,
    "version": transforms.VERSION,
    "model": "affine",
    "matrix": np.eye(3).tolist(),
    "fixed_shape": [4, 5],
    "moving_shape": [4, 5],
}


@given(
    st.dictionaries(st.sampled_from(sorted(WHOLE)), JSON, max_size=3),
    st.sets(st.sampled_from(sorted(WHOLE)), max_size=1),
)
def test_any_json_is_a_transform_or_none(changes, missing):
    fields = {name: value for name, value in (WHOLE | changes).items() if name not in missing}
    try:
        transform = transforms.MatrixTransform.from_dict(fields)
    except ImgtoolError as error:
        one_sentence(error)
        return
    assert np.isfinite(transform.matrix).all()


@given(TEXT, TEXT)
def test_any_template_is_a_path_below_or_none(text, name):
    names = {"dir": "a/b", "name": name, "stem": name, "suffix": "", "ext": ".png", "index": 1}
    try:
        path = parse_template(text).path(names)
    except ImgtoolError as error:
        assert "template" in str(error)
        return
    assert not path.is_absolute()
    assert ".." not in path.parts


@given(st.binary(max_size=60), st.booleans())
def test_any_bytes_are_a_list_of_names_or_none(content, null):
    with TemporaryDirectory() as folder:
        path = Path(folder) / "list"
        path.write_bytes(content)
        try:
            names = listed(str(path), null=null)
        except click.UsageError:
            assert b"\0" in content
            assert not null
            return
    assert [os.fsencode(name) for name in names] == [name for name in content.split(b"\0" if null else b"\n") if name]


@cache
def sample(extension):
    """The bytes of a small image."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / f"a.{extension}"
        colour = extension in ("jpg", "webp", "bmp", "ppm", "gif", "apng", "ome.tif")
        frames = (3,) * (extension in ("gif", "apng"))
        shape = (*frames, 7, 9, 3) if colour else (7, 9)
        data = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
        data = data.astype(np.float32) if extension == "pfm" else data
        metadata = {"exif": with_orientation(6), "frames": {"durations": [10.0], "plays": 0}}
        if extension == "stack.tif":
            data = np.stack([data] * 2)
            metadata = {"imagej": "ImageJ=1\nimages=2\n", "imagej_tags": {"labl": [b"a\0"] * 2, "rang": [bytes(16)]}}
            metadata |= {"overlays": {"size": (7, 9), "entries": {"over": [b"x"]}}}
            metadata |= {"pages": [{"orientation": 2, "description": "b", "xmp": b"<x/>"}]}
        io.write(path, io.Image(data, -1 if colour else None, metadata))
        return path.read_bytes()


@given(
    st.lists(st.tuples(st.integers(0, 1400), st.integers(0, 255)), max_size=4),
    st.integers(0, 400),
    st.binary(max_size=8),
)
@pytest.mark.parametrize(
    "extension",
    ["png", "apng", "tif", "ome.tif", "stack.tif", "npy", "npz", "jpg", "webp", "gif", "bmp", "ppm", "pgm", "pfm"],
)
def test_a_damaged_image_is_an_image_or_none(extension, flips, cut, more):
    content = bytearray(sample(extension))
    for place, value in flips:
        content[place % len(content)] = value
    if cut < 100:
        del content[len(content) - cut :]
    with TemporaryDirectory() as folder:
        path = Path(folder) / "a"
        path.write_bytes(bytes(content) + more)
        try:
            info, metadata = io.describe(path, auto_orient=True)
            json.dumps(told(metadata), allow_nan=False)
            image = io.read(path, max_pixels=10**6, auto_orient=True)
        except ImgtoolError as error:
            one_sentence(error)
            assert str(path) in str(error)
            return
    assert image.data.shape == info.shape
    assert image.data.dtype == info.dtype


@given(st.binary(max_size=200), st.sampled_from([b"II*\0\x08\0\0\0", b"MM\0*\0\0\0\x08"]))
def test_any_bytes_are_tags_or_none_and_go_into_a_block_again(content, head):
    found = tags_of(head + content)
    assert tags_of(block_of(found)) == found


@given(st.lists(st.tuples(st.integers(0, 500), st.sampled_from(list("<>\"'=/ 09xYZ&;")))), st.booleans())
@example([(469, ">")], False)
def test_any_text_is_ome_xml_or_none(changes, removed):
    text = list(made(pages=2, height=3, width=4, channels=1, dtype="uint8"))
    for place, letter in changes:
        text[place % len(text)] = "" if removed else letter
    odd = "".join(text)
    again = fitted(odd, pages=2, height=5, width=6, channels=1, dtype="uint16")
    assert again is None or summary(again)["axes"] == {"Z": 2, "Y": 5, "X": 6}


def replaced(value, keys, other):
    """`value` with something else at a place within, which is found by going down."""
    if not keys or not value or not isinstance(value, dict | list):
        return other
    places = sorted(value) if isinstance(value, dict) else range(len(value))
    place = places[keys[0] % len(places)]
    changed = dict(value) if isinstance(value, dict) else list(value)
    changed[place] = replaced(value[place], keys[1:], other)
    return changed


@given(
    st.sampled_from([".zattrs", "0/.zarray"]),
    st.lists(st.integers(0, 9), min_size=1, max_size=7),
    JSON | st.just("../0"),
)
def test_any_attributes_are_an_image_or_none(file, keys, other):
    pytest.importorskip("zarr", reason="OME-Zarr needs the extra zarr")
    with TemporaryDirectory() as folder:
        path = Path(folder) / "a.zarr"
        io.write(path, io.Image(np.zeros((2, 7, 9), np.uint8), None, {"resolution": (3.0, 4.0, "cm")}))
        (path / file).write_text(json.dumps(replaced(json.loads((path / file).read_text()), keys, other)))
        try:
            info, metadata = io.describe(path)
            json.dumps(told(metadata), allow_nan=False)
            image = io.read(path, max_pixels=10**6)
            io.write(f"{path}.zarr", image)
        except ImgtoolError as error:
            one_sentence(error)
            assert str(path) in str(error)
            return
    assert image.data.shape == info.shape
