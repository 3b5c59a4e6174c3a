"""What files say beside their pixels: kept, fitted to what has become of the image, or told to be lost."""

import re
from pathlib import Path

import numpy as np
import pytest
import tifffile
from numpy.testing import assert_array_equal
from PIL import Image as Pictures
from PIL import ImageOps

from imgtool import io
from imgtool.errors import ImgtoolError
from imgtool.io import Image, _exif, _ome, _tiffwriter

EXIF, GPS = 0x8769, 0x8825
XMP = b"<x:xmpmeta xmlns:x='adobe:ns:meta/'><rdf:Description tiff:Orientation='6'/></x:xmpmeta>"
CAMERA = {271: "Maker", 272: "Model", 306: "2020:01:02 03:04:05", 33432: "(c) somebody"}
EXPOSURE = {33434: (1, 125), 36867: "2020:01:02 03:04:05", 37500: bytes(range(25)), 37510: b"ASCII\0\0\0words"}
PLACE = {1: "N", 2: (47.0, 22.0, 10.5), 3: "E", 4: (8.0, 32.0, 0.25)}


def block(orientation=1):
    exif = Pictures.Exif()
    exif.update(CAMERA)
    if orientation != 1:
        exif[274] = orientation
    exif.get_ifd(EXIF).update(EXPOSURE)
    exif.get_ifd(GPS).update(PLACE)
    return exif.tobytes().removeprefix(b"Exif\0\0")


def colours(height=12, width=17):
    return np.random.default_rng(0).integers(0, 256, (height, width, 3)).astype(np.uint8)


def tags(path):
    with Pictures.open(path) as picture:
        exif = picture.getexif()
        return dict(exif), exif.get_ifd(EXIF), exif.get_ifd(GPS)


@pytest.mark.parametrize("source", [".jpg", ".png", ".webp", ".tif"])
@pytest.mark.parametrize("goal", [".jpg", ".png", ".webp", ".tif"])
def test_camera_exposure_and_place_go_from_every_format_into_every_other(tmp_path, source, goal):
    io.write(tmp_path / f"a{source}", Image(colours(), -1, {"exif": block(6), "orientation": 6}))
    image = io.read(tmp_path / f"a{source}")
    assert image.metadata["orientation"] == 6
    assert io.unkept(f"b{goal}", image) == ""
    io.write(tmp_path / f"b{goal}", image)
    camera, exposure, place = tags(tmp_path / f"b{goal}")
    assert {code: camera[code] for code in CAMERA} == CAMERA
    assert camera[274] == 6
    assert exposure == EXPOSURE
    assert place == PLACE


@pytest.mark.parametrize("extension", [".jpg", ".png", ".webp"])
def test_an_exif_block_is_kept_byte_for_byte(tmp_path, extension):
    given = block(3)
    io.write(tmp_path / f"a{extension}", Image(colours(), -1, {"exif": given}))
    io.write(tmp_path / f"b{extension}", io.read(tmp_path / f"a{extension}"))
    assert io.read(tmp_path / f"b{extension}").metadata["exif"] == given


def test_bigtiff_and_big_endian_files_tell_of_the_camera_too(tmp_path, monkeypatch):
    monkeypatch.setattr(_tiffwriter, "_BIG", 10)
    io.write(tmp_path / "big.tif", Image(colours(), -1, {"exif": block()}))
    assert (tmp_path / "big.tif").read_bytes()[:4] == b"II+\0"
    exif = Pictures.Exif()
    exif.load(block())
    exif.endian = ">"
    Pictures.fromarray(colours()).save(tmp_path / "turned.jpg", exif=exif.tobytes())
    monkeypatch.undo()
    io.write(tmp_path / "turned.tif", io.read(tmp_path / "turned.jpg"))
    with tifffile.TiffFile(tmp_path / "turned.tif", mode="r+b") as file:
        assert len(file.pages) == 1
    for name in ("big.tif", "turned.tif"):
        io.write(tmp_path / f"{name}.png", io.read(tmp_path / name))
        camera, exposure, place = tags(tmp_path / f"{name}.png")
        assert ({code: camera[code] for code in CAMERA}, exposure, place) == (CAMERA, EXPOSURE, PLACE)


def test_directories_that_run_in_a_circle_or_claim_too_much_end():
    entries = {EXIF: _exif.Tag(4, {37510: _exif.Tag(7, b"abcdefgh")}), 271: _exif.Tag(2, b"maker\0")}
    circle = bytearray(_exif.block_of(entries))
    place = circle.index((EXIF).to_bytes(2, "little")) + 8
    circle[place : place + 4] = (8).to_bytes(4, "little")
    found = _exif.tags_of(bytes(circle))
    assert found[271] == entries[271]
    for length in range(len(circle)):
        _exif.tags_of(bytes(circle[:length]))
    circle[circle.index(b"\x0f\x01\x02\0") + 4 :][:4] = b"\xff\xff\xff\x7f"
    assert EXIF in _exif.tags_of(bytes(circle))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("extension", [".jpg", ".png", ".webp", ".tif"])
def test_an_image_is_turned_upright_once_and_says_so_everywhere(tmp_path, extension, orientation):
    metadata = {
        "exif": block(orientation),
        "orientation": orientation,
        "xmp": XMP,
        "resolution": (300.0, 150.0, "inch"),
    }
    io.write(tmp_path / f"a{extension}", Image(colours(), -1, metadata))
    with Pictures.open(tmp_path / f"a{extension}") as picture:
        expected = np.asarray(ImageOps.exif_transpose(picture))
    image = io.read(tmp_path / f"a{extension}", auto_orient=True)
    assert_array_equal(image.data, expected)
    info = io.probe(tmp_path / f"a{extension}", auto_orient=True)
    assert (info.shape, info.dtype) == (image.data.shape, image.data.dtype)
    if extension != ".webp":
        x, y, _ = image.metadata["resolution"]
        assert x / y == pytest.approx(0.5 if orientation > 4 else 2, rel=1e-3)
    io.write(tmp_path / f"b{extension}", image)
    assert tags(tmp_path / f"b{extension}")[0].get(274, 1) == 1
    again = io.read(tmp_path / f"b{extension}", auto_orient=True)
    assert again.data.shape == image.data.shape
    if orientation != 1:
        assert b"tiff:Orientation='1'" in again.metadata["xmp"]
    assert tags(tmp_path / f"b{extension}")[1] == EXPOSURE


def test_pages_and_frames_are_turned_too(tmp_path):
    stack = np.random.default_rng(0).integers(0, 99, (3, 5, 7)).astype(np.uint16)
    io.write(tmp_path / "a.tif", Image(stack, None, {"orientation": 8}))
    with io.open_pages(tmp_path / "a.tif", auto_orient=True) as pages:
        assert pages.info.shape == (3, 7, 5)
        assert_array_equal([page.data for page in (pages[0], pages[2])], np.rot90(stack, axes=(1, 2))[[0, 2]])
    assert_array_equal(io.read(tmp_path / "a.tif", auto_orient=True).data, np.rot90(stack, axes=(1, 2)))


def test_a_turned_block_keeps_its_length_and_has_no_thumbnail():
    exif = Pictures.Exif()
    exif.endian = "<"
    exif[274] = 6
    exif.get_ifd(EXIF).update(EXPOSURE)
    given = exif.tobytes().removeprefix(b"Exif\0\0")
    thumbnail = len(given)
    count = int.from_bytes(given[8:10], "little")
    linked = bytearray(given + b"\0\0\0\0\0\0")
    linked[10 + 12 * count : 14 + 12 * count] = thumbnail.to_bytes(4, "little")
    turned = _exif.upright(bytes(linked))
    assert len(turned) == len(linked)
    assert turned[10 + 12 * count : 14 + 12 * count] == bytes(4)
    assert _exif.tags_of(turned)[EXIF] == _exif.tags_of(given)[EXIF]
    assert [_exif.upright(odd) for odd in (b"", b"II*\0", b"MM\0*\xff\xff\xff\xff")] == [
        b"",
        b"II*\0",
        b"MM\0*\xff\xff\xff\xff",
    ]


def test_stripping_leaves_what_the_pixels_are(tmp_path):
    image = Image(colours(), -1, {"exif": block(6), "orientation": 6, "xmp": XMP, "mode": "RGB", "compression": "lzw"})
    assert io.stripped(image).metadata == {"mode": "RGB", "compression": "lzw"}
    io.write(tmp_path / "a.png", io.stripped(image))
    with Pictures.open(tmp_path / "a.png") as picture:
        assert not picture.info


@pytest.mark.parametrize(
    ("name", "metadata", "words"),
    [
        (
            "a.ppm",
            {"icc_profile": b"p", "exif": b"e", "resolution": (1.0, 1.0, "cm")},
            "the ICC profile, EXIF and the resolution",
        ),
        ("a.webp", {"resolution": (1.0, 1.0, "cm"), "description": "x"}, "the resolution and the description"),
        ("a.bmp", {"resolution": (1.0, 1.0, "cm"), "orientation": 1, "mode": "RGB"}, ""),
        ("a.jpg", {"xmp": bytes(70_000), "exif": bytes(70_000), "icc_profile": bytes(70_000)}, "EXIF and XMP"),
        ("a.tif", {"png_chunks": [(b"tEXt", b"Author\0x"), (b"gAMA", b"1234")]}, "the texts and gamma and primaries"),
        ("a.tif", {"png_chunks": [(b"tEXt", b"Description\0x"), (b"sRGB", b"\0")], "description": "x"}, ""),
        ("a.png", {"ome_xml": "<OME/>", "imagej": "ImageJ=1"}, "OME-XML and ImageJ's notes"),
        ("a.tif", {"ome_xml": "<OME/>", "geo": {"size": (1, 1), "tags": {}}}, "OME-XML and the georeference"),
    ],
)
def test_what_a_format_cannot_hold_is_told_in_words(tmp_path, name, metadata, words):
    image = Image(colours(), -1, metadata)
    assert io.unkept(name, image) == words
    assert io.unkept("odd name", image, extension=Path(name).suffix) == words


@pytest.mark.parametrize("source", [".jpg", ".png", ".tif", ".gif"])
@pytest.mark.parametrize("goal", [".jpg", ".png", ".tif", ".gif"])
def test_a_description_goes_from_every_format_into_every_other(tmp_path, source, goal):
    io.write(tmp_path / f"a{source}", Image(colours(), -1, {"description": "naïve, 5 µm"}))
    io.write(tmp_path / f"b{goal}", io.read(tmp_path / f"a{source}"))
    assert io.read(tmp_path / f"b{goal}").metadata["description"] == "naïve, 5 µm"


def test_photoshops_resources_go_between_jpeg_and_tiff(tmp_path):
    resources = b"8BIM\x04\x04\0\0\0\0\0\x08\x1c\x02\x05\0\x03cat"
    io.write(tmp_path / "a.jpg", Image(colours(), -1, {"photoshop": resources, "icc_profile": b"profile", "xmp": XMP}))
    with Pictures.open(tmp_path / "a.jpg") as picture:
        assert picture.info["photoshop"] == {0x0404: resources[12:]}
        assert picture.info["icc_profile"] == b"profile"
    io.write(tmp_path / "b.tif", io.read(tmp_path / "a.jpg"))
    io.write(tmp_path / "c.jpg", io.read(tmp_path / "b.tif"))
    image = io.read(tmp_path / "c.jpg")
    assert (image.metadata["photoshop"], image.metadata["xmp"]) == (resources, XMP)
    assert io.unkept("d.jpg", Image(colours(), -1, {"photoshop": bytes(70_000)})) == "Photoshop's resources"


def test_of_a_jpeg_with_several_images_the_first_is_read_and_the_others_are_told(tmp_path):
    first, second = (Pictures.fromarray(data) for data in (colours(), colours(6, 8)))
    first.save(tmp_path / "a.jpg", format="MPO", save_all=True, append_images=[second])
    image = io.read(tmp_path / "a.jpg")
    assert image.data.shape == (12, 17, 3)
    assert io.unkept("b.jpg", image) == "the file's further images (reduced copies, labels)"


def test_a_description_stands_in_a_png_once(tmp_path):
    io.write(tmp_path / "a.png", Image(colours(), -1, {"description": "words"}))
    io.write(tmp_path / "b.png", io.read(tmp_path / "a.png"))
    assert (tmp_path / "b.png").read_bytes().count(b"words") == 1


def microscope(path, **more):
    data = np.random.default_rng(0).integers(0, 65535, (2, 3, 12, 17)).astype(np.uint16)
    about = {
        "axes": "ZCYX",
        "PhysicalSizeX": 0.1,
        "PhysicalSizeXUnit": "µm",
        "PhysicalSizeZ": 2.0,
        "SignificantBits": 12,
        "Channel": {"Name": ["DAPI", "GFP", "x > y"]},
    }
    tifffile.imwrite(path, data, ome=True, metadata=about, photometric="minisblack", **more)
    return data


@pytest.mark.parametrize("dtype", ["uint16", "float32", "uint8"])
@pytest.mark.parametrize("compression", [None, "deflate"])
def test_an_ome_tiff_stays_one(tmp_path, dtype, compression):
    data = microscope(tmp_path / "a.ome.tif")
    image = io.read(tmp_path / "a.ome.tif")
    work = (image.data[:, 1:-1, 2:-2] // 256).astype(dtype)
    io.write(tmp_path / "b.ome.tif", Image(work, None, image.metadata), compression=compression)
    with tifffile.TiffFile(tmp_path / "b.ome.tif") as file:
        (series,) = file.series
        assert (file.is_ome, series.axes, series.shape, series.dtype) == (True, "ZCYX", (2, 3, 10, 13), dtype)
        assert_array_equal(series.asarray().reshape(work.shape), work)
        text = file.ome_metadata
    assert (tmp_path / "b.ome.tif").read_bytes().count(b"<OME") == 1
    assert ("SignificantBits" in text) == (dtype == "uint16")
    assert "UUID" not in text
    told = _ome.summary(text)
    assert told["axes"] == {"Z": 2, "C": 3, "Y": 10, "X": 13}
    assert told["pixel_size"] == {"x": (0.1, "µm"), "z": (2.0, "µm")}
    assert told["channels"] == ["DAPI", "GFP", "x > y"]
    assert len(data) == 2


def test_ome_xml_that_describes_other_pages_is_left_out(tmp_path):
    microscope(tmp_path / "a.ome.tif")
    image = io.read(tmp_path / "a.ome.tif")
    fewer = Image(image.data[:2], None, image.metadata)
    assert io.unkept("b.tif", fewer) == "OME-XML"
    io.write(tmp_path / "b.tif", fewer)
    assert "ome_xml" not in io.read(tmp_path / "b.tif").metadata
    io.write(tmp_path / "c.ome.tif", fewer)
    assert _ome.summary(io.read(tmp_path / "c.ome.tif").metadata["ome_xml"])["axes"] == {"Z": 2, "Y": 12, "X": 17}
    assert io.unkept("b.tif", Image(image.data.astype(np.int64), None, image.metadata)) == "OME-XML"


@pytest.mark.parametrize(
    "text",
    [
        "<OME",
        "<!DOCTYPE a [<!ENTITY b 'c'>]><OME><Pixels SizeX='1'/></OME>",
        "<OME><Image/></OME>",
        "<OME><Pixels SizeX='1' SizeY='1' SizeZ='x' Type='uint8'/></OME>",
        "<OME><Pixels Type='uint8'><UUID FileName='a'>1</UUID><UUID FileName='b'>2</UUID></Pixels></OME>",
    ],
)
def test_odd_ome_xml_describes_nothing(text):
    assert _ome.fitted(text, pages=1, height=1, width=1, channels=1, dtype="uint8") is None


def test_colours_and_single_planes_make_an_ome_tiff(tmp_path):
    for shape, axis, axes in (((12, 17, 3), -1, "YXS"), ((4, 12, 17), None, "ZYX"), ((12, 17), None, "YX")):
        io.write(tmp_path / "a.ome.tif", Image(np.zeros(shape, np.uint8), axis), overwrite=True)
        with tifffile.TiffFile(tmp_path / "a.ome.tif") as file:
            assert (file.is_ome, file.series[0].axes, file.series[0].shape) == (True, axes, shape)


def test_a_hyperstack_of_imagej_stays_one(tmp_path):
    data = np.random.default_rng(0).normal(size=(2, 3, 12, 17)).astype(np.float32)
    about = {"axes": "ZCYX", "spacing": 3.0, "unit": "um"}
    tifffile.imwrite(tmp_path / "a.tif", data, imagej=True, metadata=about, resolution=(10, 10))
    image = io.read(tmp_path / "a.tif")
    io.write(tmp_path / "b.tif", image)
    with tifffile.TiffFile(tmp_path / "b.tif") as file:
        assert (file.series[0].axes, file.series[0].shape) == ("ZCYX", data.shape)
        assert (file.imagej_metadata["spacing"], file.imagej_metadata["unit"]) == (3.0, "um")
    fewer = Image(image.data[:2], None, image.metadata)
    assert io.unkept("c.tif", fewer) == "ImageJ's notes"
    io.write(tmp_path / "c.tif", fewer)
    assert "imagej" not in io.read(tmp_path / "c.tif").metadata


def test_a_georeference_is_kept_as_long_as_the_pixels_are_where_they_were(tmp_path):
    keys = (1, 1, 0, 1, 1024, 0, 1, 2)
    geo = [
        (33550, 12, 3, (10.0, 10.0, 0.0), True),
        (33922, 12, 6, (0.0, 0.0, 0.0, 5e5, 4e6, 0.0), True),
        (34735, 3, len(keys), keys, True),
        (34737, 2, None, "WGS 84|", True),
        (42113, 2, None, "-9999", True),
    ]
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((12, 17), np.float32), extratags=geo, byteorder=">", metadata=None)
    image = io.read(tmp_path / "a.tif")
    io.write(tmp_path / "b.tif", image)
    with tifffile.TiffFile(tmp_path / "a.tif") as one, tifffile.TiffFile(tmp_path / "b.tif") as other:
        assert one.geotiff_metadata == other.geotiff_metadata
        for code, *_ in geo:
            assert one.pages[0].tags[code].value == other.pages[0].tags[code].value
    smaller = Image(image.data[1:-1], None, image.metadata)
    assert io.unkept("c.tif", smaller) == "the georeference"
    io.write(tmp_path / "c.tif", smaller)
    assert "geo" not in io.read(tmp_path / "c.tif").metadata


@pytest.mark.parametrize("compression", ["none", "packbits", "lzw", "deflate", "zstd"])
@pytest.mark.parametrize(
    "dtype", ["bool", "uint8", "int16", "uint32", "int64", "float16", "float32", "float64", "complex64"]
)
def test_every_compression_of_tiff_holds_every_type(tmp_path, compression, dtype):
    data = (np.random.default_rng(0).normal(size=(3, 40, 30)) * 50).astype(dtype)
    io.write(tmp_path / "a.tif", Image(data), compression=compression)
    image = io.read(tmp_path / "a.tif")
    assert_array_equal(image.data, data, strict=True)
    assert image.metadata.get("compression", "none") == compression
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        assert (len(file.pages), len(file.series)) == (3, 1)


def test_a_tiff_is_packed_as_the_one_it_comes_from(tmp_path):
    flat = Image(np.zeros((200, 300), np.uint8))
    io.write(tmp_path / "a.tif", flat, compression="deflate")
    io.write(tmp_path / "b.tif", io.read(tmp_path / "a.tif"))
    io.write(tmp_path / "c.tif", io.read(tmp_path / "a.tif"), compression="none")
    assert io.read(tmp_path / "b.tif").metadata["compression"] == "deflate"
    assert (tmp_path / "b.tif").stat().st_size < 2000 < 60_000 < (tmp_path / "c.tif").stat().st_size


def test_profiles_of_packed_stacks_are_written_once(tmp_path):
    metadata = {"icc_profile": b"profile" * 99, "xmp": b"<packet/>" * 99, "description": "words" * 99}
    io.write(tmp_path / "a.tif", Image(np.zeros((3, 12, 17), np.uint8), None, metadata), compression="lzw")
    content = (tmp_path / "a.tif").read_bytes()
    assert [content.count(block) for block in (b"profile" * 99, b"<packet/>" * 99, b"words" * 99)] == [1, 1, 1]


def test_png_levels_make_smaller_files_of_the_same_pixels(tmp_path):
    y, x = np.mgrid[:200, :300]
    smooth = (100 + 50 * np.sin(x / 20) * np.cos(y / 30)).astype(np.uint8)
    sizes = {}
    for level in (None, 0, 1, 6, 9):
        io.write(tmp_path / f"{level}.png", Image(smooth), png_level=level)
        assert_array_equal(io.read(tmp_path / f"{level}.png").data, smooth)
        sizes[level] = (tmp_path / f"{level}.png").stat().st_size
    assert sizes[9] <= sizes[6] < sizes[1] < sizes[0]
    assert sizes[None] < sizes[0]
    io.write(tmp_path / "bits.png", Image(smooth > 100), png_level=9)
    assert_array_equal(io.read(tmp_path / "bits.png").data, smooth > 100)


def test_the_longest_extension_names_the_format():
    for name, expected in (
        ("a.ome.tif", "OME-TIFF"),
        ("a.OME.TIFF", "OME-TIFF"),
        ("ome.tif", "TIFF"),
        ("b.apng", "PNG"),
    ):
        assert io.formats.named(name).name == expected
    with pytest.raises(ImgtoolError, match=re.escape("the name has no extension")):
        io.formats.named(".png")
