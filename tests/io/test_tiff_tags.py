"""What TIFF files say by their tags: ImageJ's own, those of single pages, and those that are told to be lost."""

import struct

import numpy as np
import pytest
import tifffile
from numpy.testing import assert_array_equal

from imgtool import io
from imgtool.errors import ImgtoolError
from imgtool.io import Image, _imagej, _tiffwriter
from imgtool.io._exif import EXIF, GPS, Tag, block_of, tags_of
from imgtool.io.summary import summary

DATE, PAGE_NAME, WHITE_POINT, IPTC, PHOTOSHOP, MICRO_MANAGER, OTHER = 306, 285, 318, 33723, 34377, 51123, 65123


def stack(pages=3, dtype=np.uint16):
    return np.random.default_rng(0).integers(0, 250, (pages, 12, 17)).astype(dtype)


def hyperstack(path, byteorder, **more):
    tables = [np.arange(768, dtype=np.uint8).reshape(3, 256), np.zeros((3, 256), np.uint8)]
    about = {
        "axes": "CYX",
        "mode": "composite",
        "Labels": ["nuclei µ", "actin"],
        "Ranges": (0.0, 249.0, 3.5, 200.25),
        "LUTs": tables,
        "Info": "an\ninfo",
        "Properties": {"key": "value"},
        "ROI": b"Iout\0one",
        "Overlays": [b"Iout\0two", b"Iout\0threee"],
        **more,
    }
    tifffile.imwrite(path, stack(2), imagej=True, byteorder=byteorder, metadata=about)
    with tifffile.TiffFile(path) as file:
        return file.imagej_metadata


def same(one, other):
    return one.keys() == other.keys() and all(np.array_equal(one[key], other[key]) for key in one)


@pytest.mark.parametrize("byteorder", ["<", ">"])
def test_labels_ranges_tables_and_overlays_of_imagej_are_kept(tmp_path, byteorder):
    expected = hyperstack(tmp_path / "a.tif", byteorder)
    assert {"Labels", "Ranges", "LUTs", "Info", "Properties", "ROI", "Overlays"} <= expected.keys()
    image = io.read(tmp_path / "a.tif")
    assert io.unkept("b.tif", image) == ""
    for compression in ("none", "deflate"):
        io.write(tmp_path / f"{compression}.tif", image, compression=compression)
        with tifffile.TiffFile(tmp_path / f"{compression}.tif") as file:
            assert same(file.imagej_metadata, expected)
            assert_array_equal(file.series[0].asarray(), stack(2))
    told = summary(image.metadata)
    assert told["imagej_tags"]["labels"] == ["nuclei µ", "actin"]
    assert told["imagej_tags"]["ranges"] == [0.0, 249.0, 3.5, 200.25]
    assert told["overlays"] == {"selections": 1, "overlays": 2}


def test_overlays_are_dropped_with_the_pixels_that_they_were_drawn_on_and_labels_with_the_pages(tmp_path):
    hyperstack(tmp_path / "a.tif", "<")
    image = io.read(tmp_path / "a.tif")
    smaller = Image(image.data[:, 1:-1], None, image.metadata)
    assert io.unkept("b.tif", smaller) == "ImageJ's overlays"
    io.write(tmp_path / "b.tif", smaller)
    assert io.read(tmp_path / "b.tif").metadata.keys() >= {"imagej", "imagej_tags"}
    assert "overlays" not in io.read(tmp_path / "b.tif").metadata
    moved, place = io.displaced(image)
    assert (place, io.unkept("b.tif", moved)) == ("ImageJ's overlays", "")
    notes = "ImageJ's notes, ImageJ's labels and ranges and ImageJ's overlays"
    assert io.unkept("b.tif", Image(image.data[:1], None, image.metadata)) == notes
    assert io.unkept("b.ome.tif", image) == notes


def test_damaged_tags_of_imagej_are_left_out():
    entries = {"labl": [b"a\0", b"b\0"], "rang": [struct.pack("<2d", 0, 1)], "over": [b"xyz"]}
    (_, sizes), (_, content) = (_imagej.tags_of(entries)[code] for code in (_imagej.SIZES, _imagej.CONTENT))
    assert _imagej.entries_of(sizes, content, big_endian=False) == entries
    for length in range(len(content)):
        found = _imagej.entries_of(sizes, content[:length], big_endian=False)
        assert all(found[kind] == entries[kind][: len(found[kind])] for kind in found)
    for length in range(len(sizes)):
        _imagej.entries_of(sizes[:length], content, big_endian=True)
        _imagej.entries_of(sizes[:length], content, big_endian=False)
    many = content.replace(struct.pack("<I", 2), b"\xff\xff\xff\xff", 1)
    assert _imagej.entries_of(sizes, many, big_endian=False)["labl"][:2] == [b"a\0", b"b\0"]
    assert _imagej.summary({"rang": [struct.pack("<d", float("nan")) + b"rest"], "labl": [b"\0\xd8"]}) == {
        "ranges": [None],
        "labels": ["\ufffd"],
    }


def every_page_says(number, exposure):
    return {
        "description": f"page {number}, 5 µm",
        "icc_profile": b"profile %d" % (number % 2),
        "xmp": b"<x:xmpmeta>%d</x:xmpmeta>" % number,
        "photoshop": b"8BIM%d" % number,
        "resolution": (100.0 + number, 50.0, "cm"),
        "orientation": 2 + number,
        "exif": block_of(
            {
                DATE: Tag(2, b"2020:01:02 03:04:%02d\0" % number),
                PAGE_NAME: Tag(2, b"name %d\0" % number),
                274: Tag(3, bytes((2 + number, 0))),
                EXIF: Tag(4, {33434: Tag(5, struct.pack("<2I", 1, exposure))}),
                GPS: Tag(4, {1: Tag(2, b"N\0")}),
            }
        ),
        "tiff_tags": {MICRO_MANAGER: Tag(2, b'{"Z": %d}\0' % number)},
    }


@pytest.mark.parametrize("compression", ["none", "lzw"])
@pytest.mark.parametrize("big", [False, True])
def test_every_page_keeps_what_it_says(tmp_path, monkeypatch, compression, big):
    if big:
        monkeypatch.setattr(_tiffwriter, "_BIG", 10)
    first, *others = (every_page_says(number, 60 + number) for number in range(3))
    others[1] |= {key: others[0][key] for key in ("exif", "orientation")}
    del others[0]["exif"]
    metadata = first | {"pages": others}
    io.write(tmp_path / "a.tif", Image(stack(), None, metadata), compression=compression)
    assert (tmp_path / "a.tif").read_bytes()[:3] == (b"II+" if big else b"II*")
    image = io.read(tmp_path / "a.tif")
    assert_array_equal(image.data, stack())
    image.metadata.pop("compression", None)
    assert tags_of(image.metadata.pop("exif")) == tags_of(metadata.pop("exif"))
    own, expected = (entries.pop("pages") for entries in (image.metadata, metadata))
    assert image.metadata == metadata
    assert [tags_of(entries.pop("exif", b"")) for entries in own] == [
        tags_of(entries.pop("exif", b"")) for entries in expected
    ]
    assert own == expected
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        assert [len(series.pages) for series in file.series] == [3]
        assert [page.tags[270].value for page in file.pages] == [f"page {number}, 5 µm" for number in range(3)]
        assert [page.tags[MICRO_MANAGER].value for page in file.pages] == [{"Z": number} for number in range(3)]


def test_pages_are_written_one_by_one_with_what_they_say(tmp_path):
    metadata = every_page_says(0, 60) | {"pages": [every_page_says(number, 60) for number in (1, 2)]}
    io.write(tmp_path / "a.tif", Image(stack(), None, metadata))
    with (
        io.open_pages(tmp_path / "a.tif") as pages,
        io.page_writer(tmp_path / "b.tif", pages[0], len(pages)) as append,
    ):
        for number in range(len(pages)):
            append(pages[number].data)
    assert (tmp_path / "b.tif").read_bytes() == (tmp_path / "a.tif").read_bytes()


def test_pages_that_say_nothing_of_their_own_lie_behind_one_another(tmp_path):
    io.write(tmp_path / "a.tif", Image(stack(), None, {"description": "x", "resolution": (3.0, 4.0, "cm")}))
    assert "pages" not in io.read(tmp_path / "a.tif").metadata
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        assert file.series[0].dataoffset is not None


def test_what_pages_say_is_dropped_with_pages(tmp_path):
    image = Image(stack(), None, {"pages": [{"description": "b"}, {"description": "c"}]})
    fewer = Image(image.data[:2], None, image.metadata)
    assert io.unkept("b.tif", fewer) == "what single pages say"
    io.write(tmp_path / "b.tif", fewer)
    assert io.read(tmp_path / "b.tif").metadata == {}
    assert io.unkept("b.npy", image) == "what single pages say"
    assert io.stripped(image).metadata == {}


def test_each_page_is_turned_as_it_asks_for(tmp_path):
    image = Image(stack(), None, {"orientation": 2, "pages": [{"orientation": 4}, {"description": "not turned"}]})
    io.write(tmp_path / "a.tif", image)
    upright = io.read(tmp_path / "a.tif", auto_orient=True)
    one, other, third = image.data
    assert_array_equal(upright.data, [one[:, ::-1], other[::-1], third])
    assert upright.metadata == {"pages": [{}, {"description": "not turned"}]}
    with io.open_pages(tmp_path / "a.tif", auto_orient=True) as pages:
        assert_array_equal([pages[number].data for number in range(3)], upright.data)
    io.write(tmp_path / "b.tif", Image(stack(), None, {"orientation": 6, "pages": [{}, {}]}))
    with pytest.raises(ImgtoolError, match=r"b\.tif: some pages are to be turned by a quarter and some not"):
        io.read(tmp_path / "b.tif", auto_orient=True)


def test_tags_that_are_not_kept_are_told_and_those_that_are_copied_stay(tmp_path):
    tags = [
        (WHITE_POINT, 5, 2, (3127, 10000, 3290, 10000), True),
        (IPTC, 4, 2, struct.unpack(">2I", b"\x1c\x02\x05\0\x02hi\0"), True),
        (PHOTOSHOP, 1, 8, b"8BIM\x04\x04\0\0", True),
        (OTHER, 1, 8, b"12345678", True),
    ]
    tifffile.imwrite(tmp_path / "a.tif", stack(1)[0], extratags=tags, byteorder=">", metadata=None, software=False)
    image = io.read(tmp_path / "a.tif")
    assert summary(image.metadata) == {
        "photoshop": {"bytes": 8},
        "tiff_tags": [WHITE_POINT, IPTC],
        "private": [OTHER],
    }
    assert io.unkept("b.tif", image) == "private entries of other programs"
    assert io.unkept("b.png", image) == "Photoshop's resources, further TIFF tags and private entries of other programs"
    io.write(tmp_path / "b.tif", image)
    with tifffile.TiffFile(tmp_path / "b.tif") as file:
        found = {tag.code: tag.value for tag in file.pages[0].tags}
    assert (found[WHITE_POINT], found[PHOTOSHOP]) == ((3127, 10000, 3290, 10000), b"8BIM\x04\x04\0\0")
    assert found[IPTC] == b"\x1c\x02\x05\0\x02hi\0"
    assert OTHER not in found


def test_of_a_pyramid_the_largest_images_are_read_and_the_rest_is_told(tmp_path):
    data = np.random.default_rng(0).integers(0, 250, (2, 64, 64)).astype(np.uint8)
    with tifffile.TiffWriter(tmp_path / "a.ome.tif", ome=True) as writer:
        tiles = {"tile": (16, 16), "photometric": "minisblack"}
        writer.write(data, subifds=2, metadata={"axes": "ZYX"}, **tiles)
        writer.write(data[:, ::2, ::2], subfiletype=1, **tiles)
        writer.write(data[:, ::4, ::4], subfiletype=1, **tiles)
    image = io.read(tmp_path / "a.ome.tif")
    assert_array_equal(image.data, data)
    assert image.metadata["further_images"] == 4
    assert io.unkept("b.ome.tif", image) == "the file's further images (reduced copies, labels)"
    assert io.unkept("b.ome.tif", io.stripped(image)) == ""


def test_of_a_slide_the_tissue_is_read_and_the_rest_is_told(tmp_path):
    levels = [np.full((size, size, 3), size, np.uint8) for size in (64, 16, 32)]
    with tifffile.TiffWriter(tmp_path / "a.svs") as writer:
        for place, level in enumerate(levels):
            text = f"Aperio Image Library v11.2.1 \r\n64x64 [0,0 64x64] (16x16) |MPP = 0.25 |place = {place}"
            writer.write(level, description=text, tile=(16, 16), metadata=None, photometric="rgb")
    image = io.read(tmp_path / "a.svs")
    assert_array_equal(image.data, levels[0])
    assert image.metadata["further_images"] == 2
    assert "MPP = 0.25" in image.metadata["description"]
