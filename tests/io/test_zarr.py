"""OME-Zarr folders in and out: axes and sizes kept, chunks checked, nothing else on the disk touched."""

import json
import os
import sys
from time import time

import numpy as np
import pytest
import tifffile
from numpy.testing import assert_array_equal

from imgtool import io
from imgtool.errors import ImgtoolError
from imgtool.io import Image, _folders
from imgtool.io.summary import summary

zarr = pytest.importorskip("zarr", reason="OME-Zarr needs the extra zarr")

UNIT = {"type": "space", "unit": "micrometer"}
AXES = [{"name": "t", "type": "time", "unit": "second"}, {"name": "c", "type": "channel"}] + [
    {"name": name} | UNIT for name in "zyx"
]
SCALE, TRANSLATION = [2.0, 1.0, 0.5, 0.25, 0.125], [0.0, 0.0, 3.0, 10.0, 20.0]
OMERO = {"channels": [{"label": "DAPI", "color": "0000FF", "window": {"start": 0, "end": 9, "min": 0, "max": 99}}] * 2}


def pixels(shape=(2, 2, 3, 20, 30), dtype="uint16"):
    return (np.random.default_rng(0).normal(size=shape) * 50).astype(dtype)


def made(path, data, version="0.4", **more):
    """What another program writes: two levels, and the attributes of an image."""
    newer = version == "0.5"
    group = zarr.open_group(path, mode="w", zarr_format=3 if newer else 2)
    for level in range(2):
        part = data[..., :: 1 << level, :: 1 << level]
        options = {"chunks": (1,) * (data.ndim - 3) + (2, 16, 16), "chunk_key_encoding": {"separator": "/"}} | more
        if newer:
            options |= {"dimension_names": [axis["name"] for axis in AXES[-data.ndim :]]}
            options["chunk_key_encoding"] = {"name": "default", "separator": "/"}
        else:
            options["chunk_key_encoding"] = {"name": "v2", "separator": "."}
        group.create_array(f"s{level}", data=part, **options)
    steps = [
        {"type": "scale", "scale": SCALE[-data.ndim :]},
        {"type": "translation", "translation": TRANSLATION[-data.ndim :]},
    ]
    datasets = [{"path": f"s{level}", "coordinateTransformations": steps} for level in range(2)]
    attributes = {"multiscales": [{"name": "cells", "axes": AXES[-data.ndim :], "datasets": datasets}], "omero": OMERO}
    group.attrs.update({"ome": {"version": "0.5"} | attributes} if newer else attributes)
    return path


def attributes_of(path):
    attributes = dict(zarr.open_group(path, mode="r").attrs)
    return attributes.get("ome", attributes)


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_an_image_of_another_program_keeps_axes_sizes_channels_and_origin(tmp_path, version):
    data = pixels()
    made(tmp_path / "a.ome.zarr", data, version)
    info, metadata = io.describe(tmp_path / "a.ome.zarr")
    assert (info.format, info.shape, info.dtype, info.pages) == ("OME-Zarr", (12, 20, 30), np.dtype("uint16"), 12)
    assert metadata["resolution"] == pytest.approx((80_000, 40_000)) or metadata["resolution"][2] == "cm"
    assert summary(metadata)["ome_zarr"]["axes"] == {"t": 2, "c": 2, "z": 3}
    assert summary(metadata)["ome_zarr"]["pixel_size"]["x"] == (0.125, "micrometer")
    assert metadata["further_images"] == 1
    image = io.read(tmp_path / "a.ome.zarr")
    assert_array_equal(image.data, data.reshape(12, 20, 30), strict=True)
    io.write(tmp_path / "b.ome.zarr", image)
    told = attributes_of(tmp_path / "b.ome.zarr")
    assert told["omero"] == OMERO
    (multiscale,) = told["multiscales"]
    assert (multiscale["axes"], multiscale["name"]) == (AXES, "cells")
    (level,) = multiscale["datasets"]
    assert level["coordinateTransformations"] == [
        {"type": "scale", "scale": SCALE},
        {"type": "translation", "translation": TRANSLATION},
    ]
    array = zarr.open_group(tmp_path / "b.ome.zarr", mode="r")[level["path"]]
    assert_array_equal(array[...], data)
    assert array.metadata.zarr_format == (3 if version == "0.5" else 2)
    assert (told if version == "0.5" else multiscale)["version"] == version


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_pages_are_read_and_written_singly(tmp_path, version):
    data = pixels()
    made(tmp_path / "a.zarr", data, version)
    with io.open_pages(tmp_path / "a.zarr") as pages:
        first = pages[0]
        with io.page_writer(tmp_path / "b.zarr", first, len(pages)) as append:
            for number in range(len(pages)):
                append(pages[number].data)
    assert_array_equal(io.read(tmp_path / "b.zarr").data, data.reshape(12, 20, 30))
    with io.open_pages(tmp_path / "a.zarr") as pages:
        assert_array_equal([pages[number].data for number in (11, 0, 5)], data.reshape(12, 20, 30)[[11, 0, 5]])


@pytest.mark.parametrize(
    "dtype", ["bool", "uint8", "int16", "uint32", "int64", "float16", "float32", "float64", "complex64"]
)
@pytest.mark.parametrize("shape", [(9, 7), (3, 9, 7)])
def test_every_type_is_held(tmp_path, dtype, shape):
    data = pixels(shape, dtype)
    io.write(tmp_path / "a.zarr", Image(data))
    assert_array_equal(io.read(tmp_path / "a.zarr").data, data, strict=True)
    with pytest.raises(ImgtoolError, match=r"OME-Zarr cannot hold .* RGB"):
        io.check_output(tmp_path / "b.zarr", dtype="uint8", channels=3)


def test_large_pages_are_tiles_and_empty_tiles_are_zero(tmp_path):
    data = np.zeros((1100, 1500), np.uint8)
    data[:8, :8] = 7
    io.write(tmp_path / "a.zarr", Image(data))
    array = zarr.open_group(tmp_path / "a.zarr", mode="r")["0"]
    assert array.chunks == (1024, 1024)
    assert not (tmp_path / "a.zarr/0/1/1").exists()
    assert_array_equal(io.read(tmp_path / "a.zarr").data, data)


def test_shards_and_big_endian_numbers_are_read(tmp_path):
    data = pixels((4, 32, 32))
    made(tmp_path / "shards.zarr", data, "0.5", chunks=(1, 16, 16), shards=(2, 32, 32))
    made(tmp_path / "turned.zarr", data.astype(">u2"), "0.4")
    for name in ("shards.zarr", "turned.zarr"):
        assert_array_equal(io.read(tmp_path / name).data, data, strict=True)


def test_an_origin_is_dropped_when_the_pixels_have_moved_and_axes_with_the_pages(tmp_path):
    image = io.read(made(tmp_path / "a.zarr", pixels()))
    levels = "the file's further images (reduced copies, labels)"
    smaller = Image(image.data[:, 1:-1], None, image.metadata)
    assert io.unkept("b.zarr", smaller) == f"{levels} and the origin"
    io.write(tmp_path / "b.zarr", smaller)
    (level,) = attributes_of(tmp_path / "b.zarr")["multiscales"][0]["datasets"]
    assert level["coordinateTransformations"] == [{"type": "scale", "scale": SCALE}]
    assert io.displaced(image)[1] == "the origin"
    fewer = Image(image.data[:4], None, image.metadata)
    assert io.unkept("c.zarr", fewer) == f"{levels}, the axes of OME-Zarr and the origin"
    io.write(tmp_path / "c.zarr", fewer)
    (multiscale,) = attributes_of(tmp_path / "c.zarr")["multiscales"]
    assert [axis["name"] for axis in multiscale["axes"]] == ["z", "y", "x"]
    steps = multiscale["datasets"][0]["coordinateTransformations"]
    assert steps[0]["scale"] == pytest.approx([1, 0.25, 0.125])


def test_the_axes_of_an_ome_tiff_are_those_of_the_folder_made_of_it(tmp_path):
    data = pixels((2, 3, 4, 9, 7))
    about = {"axes": "TZCYX", "PhysicalSizeX": 0.1, "PhysicalSizeZ": 2.0, "PhysicalSizeZUnit": "µm"}
    tifffile.imwrite(tmp_path / "a.ome.tif", data, ome=True, metadata=about, photometric="minisblack")
    io.write(tmp_path / "b.zarr", io.read(tmp_path / "a.ome.tif"))
    (multiscale,) = attributes_of(tmp_path / "b.zarr")["multiscales"]
    assert [axis["name"] for axis in multiscale["axes"]] == ["t", "c", "z", "y", "x"]
    assert [axis.get("unit") for axis in multiscale["axes"]] == [None, None, "micrometer", None, "micrometer"]
    assert multiscale["datasets"][0]["coordinateTransformations"][0]["scale"] == [1.0, 1.0, 2.0, 1.0, 0.1]
    assert_array_equal(zarr.open_group(tmp_path / "b.zarr", mode="r")["0"][...], data.swapaxes(1, 2))


def test_axes_sizes_and_channels_go_into_an_ome_tiff(tmp_path):
    data = pixels((2, 2, 3, 20, 30))
    folder = made(tmp_path / "a.zarr", data)
    edited(folder, ".zattrs", omero={"channels": [{"label": 'D<"&>'}, {"label": "GFP"}]})
    image = io.read(folder)
    assert io.unkept("b.ome.tif", image) == "the file's further images (reduced copies, labels) and the origin"
    assert "the axes of OME-Zarr" in io.unkept("b.tif", image)
    io.write(tmp_path / "b.ome.tif", image)
    with tifffile.TiffFile(tmp_path / "b.ome.tif") as file:
        assert file.series[0].axes == "TCZYX"
        assert_array_equal(file.series[0].asarray(), data)
    told = summary(io.read(tmp_path / "b.ome.tif").metadata)["ome_xml"]
    assert told["pixel_size"] == {"x": (0.125, "µm"), "y": (0.25, "µm"), "z": (0.5, "µm")}
    assert told["channels"] == ['D<"&>', "GFP"]
    moved = dict(image.metadata["ome_zarr"])
    moved["axes"] = [AXES[1], AXES[0], *AXES[2:]]
    assert "the axes of OME-Zarr" in io.unkept("b.ome.tif", Image(image.data, None, {"ome_zarr": moved}))


def test_the_limit_of_pixels_is_checked_before_a_chunk_is_read(tmp_path):
    made(tmp_path / "a.zarr", pixels())
    for chunk in (tmp_path / "a.zarr/s0").glob("[0-9]*"):
        chunk.write_bytes(b"no chunk")
    with pytest.raises(ImgtoolError, match="30 x 20 x 12 pages is 7200 pixels and the limit is 7199"):
        io.read(tmp_path / "a.zarr", max_pixels=7199)
    with pytest.raises(ImgtoolError, match=r"a\.zarr: the image is damaged or cut off"):
        io.read(tmp_path / "a.zarr")


def edited(path, key, **changes):
    fields = json.loads((path / key).read_text())
    (path / key).write_text(json.dumps(fields | changes))


def image_at(level):
    return {"multiscales": [{"axes": AXES, "datasets": [{"path": level}]}]}


HOSTILE = {
    "no JSON": (lambda a: (a / ".zattrs").write_bytes(b"{"), r"\.zattrs: holds no JSON object"),
    "deep JSON": (lambda a: (a / ".zattrs").write_bytes(b"[" * 100_000), r"\.zattrs: holds no JSON object"),
    "no object": (lambda a: (a / ".zattrs").write_bytes(b"[1]"), r"\.zattrs: holds no JSON object"),
    "a folder for JSON": (lambda a: ((a / ".zattrs").unlink(), (a / ".zattrs").mkdir()), "holds no JSON object"),
    "no image": (lambda a: (a / ".zattrs").write_text("{}"), r"name the folder of one image in it, such as"),
    "a plate": (lambda a: (a / ".zattrs").write_text('{"plate": {}}'), "holds a plate of wells; name the folder"),
    "a path outside": (lambda a: edited(a, ".zattrs", **image_at("../b.zarr/0")), "leads to no array in it"),
    "an absolute path": (lambda a: edited(a, ".zattrs", **image_at("/etc")), "leads to no array in it"),
    "no path": (lambda a: edited(a, ".zattrs", **image_at(7)), "leads to no array in it"),
    "no array": (lambda a: edited(a, ".zattrs", **image_at("s7")), r"a folder without \.zarray is no OME-Zarr image"),
    "no datasets": (lambda a: edited(a, ".zattrs", multiscales=[{}]), "leads to no array in it"),
    "odd axes": (lambda a: edited(a, ".zattrs", multiscales=[{"axes": [1], "datasets": [{"path": "s0"}]}]), "no names"),
    "other axes": (
        lambda a: edited(a, ".zattrs", multiscales=[{"axes": AXES[::-1], "datasets": [{"path": "s0"}]}]),
        r"its axes are x, y, z, c, t, but those of its array should end in y, x",
    ),
    "few axes": (
        lambda a: edited(a, ".zattrs", multiscales=[{"axes": AXES[1:], "datasets": [{"path": "s0"}]}]),
        "but those of its array should end in y, x",
    ),
    "a huge image": (lambda a: edited(a, "s0/.zarray", shape=[1, 1, 1, 1 << 20, 1 << 20]), "chunks of less than"),
    "a huge chunk": (lambda a: edited(a, "s0/.zarray", chunks=[1, 1, 1, 1 << 20, 1 << 20]), "larger than"),
    "tiny chunks": (
        lambda a: edited(a, "s0/.zarray", shape=[9] * 3 + [999] * 2, chunks=[1] * 5),
        "chunks of less than 1024 pixels",
    ),
    "negative sizes": (lambda a: edited(a, "s0/.zarray", shape=[2, 2, 3, -20, 30]), "has no shape and chunks"),
    "sizes of text": (lambda a: edited(a, "s0/.zarray", shape="large"), "has no shape and chunks"),
    "objects": (lambda a: edited(a, "s0/.zarray", dtype="|O", filters=[{"id": "pickle"}]), r"arrays of \|O are no"),
    "a structure": (lambda a: edited(a, "s0/.zarray", dtype=[["a", "<u2"]]), "are no images"),
    "odd numbers": (lambda a: edited(a, "s0/.zarray", dtype="<u3"), "is damaged"),
    "pickles": (lambda a: edited(a, "s0/.zarray", filters=[{"id": "pickle"}]), "the codec pickle is not supported"),
    "no codec": (lambda a: edited(a, "s0/.zarray", compressor={"id": ["x"]}), "is not supported"),
    "a link out": (
        lambda a: ((a / "s0/0.0.0.0.0").unlink(), (a / "s0/0.0.0.0.0").symlink_to("/etc/passwd")),
        r"0\.0\.0\.0\.0: a link that leads out of it",
    ),
    "a link out for an array": (
        lambda a: ((a / "s0").rename(a.parent / "out"), (a / "s0").symlink_to(a.parent / "out")),
        "a link that leads out of it",
    ),
    "a pipe": (lambda a: ((a / "s0/0.0.0.0.0").unlink(), os.mkfifo(a / "s0/0.0.0.0.0")), "no file, or larger"),
    "a pipe for JSON": (lambda a: ((a / ".zattrs").unlink(), os.mkfifo(a / ".zattrs")), "no file, or larger"),
    "a large chunk": (lambda a: (a / "s0/0.0.0.0.0").write_bytes(bytes(1 << 25)), "larger than a chunk can be"),
}


@pytest.mark.parametrize("fault", HOSTILE)
def test_hostile_folders_end_in_a_sentence(tmp_path, fault):
    folder = made(tmp_path / "a.zarr", pixels())
    spoil, words = HOSTILE[fault]
    spoil(folder)
    with pytest.raises(ImgtoolError, match=words) as caught:
        io.read(folder)
    assert str(caught.value).startswith(str(folder))
    assert str(caught.value).isprintable()


def test_codecs_of_the_newer_format_are_checked_too(tmp_path):
    folder = made(tmp_path / "a.zarr", pixels(), "0.5")
    edited(
        folder, "s0/zarr.json", codecs=[{"name": "sharding_indexed", "configuration": {"codecs": [{"name": "vlen"}]}}]
    )
    with pytest.raises(ImgtoolError, match="the codec vlen is not supported"):
        io.read(folder)


def test_a_folder_that_is_none_is_refused(tmp_path):
    (tmp_path / "a.zarr").mkdir()
    with pytest.raises(ImgtoolError, match=r"a\.zarr: a folder without zarr\.json or \.zattrs .* is no OME-Zarr image"):
        io.read(tmp_path / "a.zarr")
    (tmp_path / "plain").mkdir()
    with pytest.raises(ImgtoolError, match="plain: a directory, not a file"):
        io.read(tmp_path / "plain")


def test_an_image_within_a_folder_of_images_can_be_named(tmp_path):
    zarr.open_group(tmp_path / "many.zarr", mode="w", zarr_format=2)
    made(tmp_path / "many.zarr" / "0", pixels())
    with pytest.raises(ImgtoolError, match=r"no OME-Zarr image of its own; name .* such as many\.zarr/0"):
        io.read(tmp_path / "many.zarr")
    assert len(io.read(tmp_path / "many.zarr" / "0").data) == 12


def test_without_the_extra_one_sentence_names_it(tmp_path, monkeypatch):
    made(tmp_path / "a.zarr", pixels())
    monkeypatch.setitem(sys.modules, "zarr", None)
    for work in (
        lambda: io.probe(tmp_path / "a.zarr"),
        lambda: io.check_output(tmp_path / "b.zarr", dtype="uint8"),
        lambda: io.write(tmp_path / "b.zarr", Image(pixels((9, 7)))),
    ):
        with pytest.raises(ImgtoolError, match=r"OME-Zarr needs the extra zarr; pip install 'imgtool\[zarr\]'"):
            work()
    assert [path.name for path in tmp_path.iterdir()] == ["a.zarr"]


def test_an_error_on_the_way_leaves_what_was_there(tmp_path):
    io.write(tmp_path / "a.zarr", Image(pixels((9, 7))))
    for goal in ("a.zarr", "b.zarr"):
        with (
            pytest.raises(KeyError),
            io.page_writer(tmp_path / goal, Image(pixels((9, 7))), 3, overwrite=True) as append,
        ):
            append(pixels((9, 7)))
            raise KeyError
    assert [path.name for path in tmp_path.iterdir()] == ["a.zarr"]
    assert_array_equal(io.read(tmp_path / "a.zarr").data, pixels((9, 7)))


@pytest.mark.parametrize("at_once", [True, False])
def test_a_folder_of_zarr_is_replaced_if_that_is_allowed_and_no_other(tmp_path, monkeypatch, at_once):
    if not at_once:
        monkeypatch.setattr(_folders, "_exchanged", lambda *_: False)
    io.write(tmp_path / "a.zarr", Image(pixels((5, 9, 7))))
    with pytest.raises(ImgtoolError, match=r"a\.zarr: the file exists"):
        io.write(tmp_path / "a.zarr", Image(pixels((9, 7))))
    io.write(tmp_path / "a.zarr", Image(pixels((9, 7))), overwrite=True)
    assert io.read(tmp_path / "a.zarr").data.shape == (9, 7)
    (tmp_path / "b.zarr").mkdir()
    (tmp_path / "b.zarr" / "thesis.txt").write_text("words")
    with pytest.raises(ImgtoolError, match="a folder that holds no OME-Zarr image is not replaced"):
        io.write(tmp_path / "b.zarr", Image(pixels((9, 7))), overwrite=True)
    (tmp_path / "c.zarr").write_text("words")
    with pytest.raises(ImgtoolError, match="a file, and OME-Zarr images are folders"):
        io.write(tmp_path / "c.zarr", Image(pixels((9, 7))), overwrite=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.zarr", "b.zarr", "c.zarr"]


def test_a_place_that_is_taken_meanwhile_is_left_alone(tmp_path):
    with (
        pytest.raises(ImgtoolError, match=r"a\.zarr: the file exists"),
        io.page_writer(tmp_path / "a.zarr", Image(pixels((9, 7))), 1) as append,
    ):
        append(pixels((9, 7)))
        io.write(tmp_path / "a.zarr", Image(pixels((5, 7))))
    assert io.read(tmp_path / "a.zarr").data.shape == (5, 7)


def test_old_drafts_that_nobody_holds_are_swept_away(tmp_path):
    drafts = [tmp_path / f".imgtool-{number:016x}.tmp" for number in range(2)]
    for draft in drafts:
        (draft / "0").mkdir(parents=True)
    os.utime(drafts[0], (time() - 100_000,) * 2)
    io.sweep(tmp_path)
    assert not drafts[0].exists()
    assert drafts[1].exists()
