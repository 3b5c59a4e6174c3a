"""What is written is read back: pixels of every format in the table, and the metadata."""

import struct
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from imgtool import io
from imgtool.errors import ImgtoolError
from imgtool.io import _tiffwriter
from imgtool.io.formats import FORMATS

Build = Callable[..., bytes]
CHANNELS = {"gray": 1, "gray+alpha": 2, "RGB": 3, "RGBA": 4, "multichannel": 5}
CASES = [
    (format_, extension, layout, dtype)
    for format_ in FORMATS
    if not format_.folder or find_spec("zarr")
    for extension in format_.extensions
    for layout, dtypes in format_.holds.items()
    for dtype in sorted(dtypes)
]
LOSSLESS = [pytest.param(*case, id="-".join(case[1:])) for case in CASES if case[0].name not in ("JPEG", "GIF")]


def random_image(shape: tuple[int, ...], dtype: str, channels: int, seed: int = 0) -> io.Image:
    generator = np.random.default_rng(seed)
    size = np.dtype(dtype).itemsize * int(np.prod(shape))
    if dtype == "bool":
        data = generator.integers(0, 2, shape).astype(bool)
    elif np.dtype(dtype).kind in "ui":
        data = np.frombuffer(generator.bytes(size), dtype).reshape(shape)
    else:
        data = generator.normal(size=shape).astype(dtype)
    return io.Image(data, -1 if channels > 1 else None)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    case=st.sampled_from([parameters.values for parameters in LOSSLESS]),
    height=st.integers(1, 20),
    width=st.integers(1, 20),
    pages=st.integers(1, 3),
    seed=st.integers(0, 9),
)
def test_every_lossless_format_returns_every_pixel(
    tmp_path: Path, case: tuple, height: int, width: int, pages: int, seed: int
) -> None:
    format_, extension, layout, dtype = case
    channels = CHANNELS[layout]
    pages = pages if format_.pages else 1
    shape = (pages,) * (pages > 1) + (height, width) + (channels,) * (channels > 1)
    image = random_image(shape, dtype, channels, seed)
    path = tmp_path / f"image{extension}"
    if format_.module == "_npy" and channels == 1 and pages > 1 and 2 <= width <= 4:
        with pytest.raises(ImgtoolError, match="would be mistaken"):
            io.write(path, image, overwrite=True)
        return
    io.write(path, image, overwrite=True)
    back = io.read(path)
    np.testing.assert_array_equal(back.data, image.data, strict=True)
    assert (back.channel_axis, back.has_alpha, len(back.pages)) == (image.channel_axis, image.has_alpha, pages)
    info = io.probe(path)
    assert (info.shape, info.dtype, info.pages) == (image.data.shape, image.data.dtype, pages)
    assert info.pixels == height * width * pages


@pytest.mark.parametrize(("format_", "extension", "layout", "dtype"), LOSSLESS)
def test_every_entry_of_the_table_can_be_written(
    tmp_path: Path, format_: object, extension: str, layout: str, dtype: str
) -> None:
    channels = CHANNELS[layout]
    image = random_image((7, 5, channels) if channels > 1 else (7, 5), dtype, channels)
    io.write(tmp_path / f"image{extension}", image)
    np.testing.assert_array_equal(io.read(tmp_path / f"image{extension}").data, image.data, strict=True)


@pytest.mark.parametrize("shape", [(16, 24), (16, 24, 3)])
def test_jpeg_keeps_smooth_pictures_to_two_gray_levels(tmp_path: Path, shape: tuple[int, ...]) -> None:
    ramp = np.broadcast_to(np.linspace(40, 200, 24).reshape(1, 24, *(1,) * (len(shape) - 2)), shape)
    image = io.Image(ramp.astype(np.uint8), -1 if len(shape) == 3 else None)
    io.write(tmp_path / "ramp.jpg", image)
    back = io.read(tmp_path / "ramp.jpg").data
    assert back.shape == shape
    assert np.abs(back.astype(int) - image.data).max() <= 2


def odd_views(data: np.ndarray) -> list[np.ndarray]:
    backward = data[::-1, ::-1].copy()[::-1, ::-1]
    frozen = data.copy()
    frozen.flags.writeable = False
    return [backward, np.asfortranarray(data), data.astype(data.dtype.newbyteorder(">")), frozen]


@pytest.mark.parametrize("extension", [".png", ".tif", ".npy", ".ppm"])
def test_strides_byte_order_and_writability_do_not_matter(tmp_path: Path, extension: str) -> None:
    image = random_image((6, 9, 3), "uint16", 3)
    for view in odd_views(image.data):
        io.write(tmp_path / f"odd{extension}", io.Image(view, -1), overwrite=True)
        np.testing.assert_array_equal(io.read(tmp_path / f"odd{extension}").data, image.data, strict=True)


@pytest.mark.parametrize("extension", [".png", ".tif", ".npy", ".pgm"])
def test_a_single_channel_is_read_back_without_its_axis(tmp_path: Path, extension: str) -> None:
    image = random_image((4, 5), "uint8", 1)
    io.write(tmp_path / f"one{extension}", io.Image(image.data[..., None], -1))
    back = io.read(tmp_path / f"one{extension}")
    assert back.channel_axis is None
    np.testing.assert_array_equal(back.data, image.data)


@pytest.mark.parametrize(("depth", "expected"), [(1, [True, False]), (2, [255, 0]), (4, [255, 0])])
def test_few_bits_of_gray_are_spread_over_the_whole_range(
    tmp_path: Path, png: Build, depth: int, expected: list
) -> None:
    row = {1: 0b10000000, 2: 0b11000000, 4: 0b11110000}[depth]
    (tmp_path / "gray.png").write_bytes(png(2, 1, depth, 0, bytes([0, row])))
    assert io.read(tmp_path / "gray.png").data.tolist() == [expected]


def test_a_palette_is_read_as_colours_with_its_opacity(tmp_path: Path, png: Build, chunk: Build) -> None:
    palette = chunk(b"PLTE", bytes([1, 2, 3, 4, 5, 6]))
    (tmp_path / "solid.png").write_bytes(png(2, 1, 8, 3, bytes([0, 0, 1]), palette))
    assert io.read(tmp_path / "solid.png").data.tolist() == [[[1, 2, 3], [4, 5, 6]]]
    (tmp_path / "clear.png").write_bytes(png(2, 1, 8, 3, bytes([0, 0, 1]), palette, chunk(b"tRNS", bytes([9]))))
    image = io.read(tmp_path / "clear.png")
    assert image.has_alpha
    assert image.data.tolist() == [[[1, 2, 3, 9], [4, 5, 6, 255]]]


def test_a_colour_key_becomes_alpha_at_full_depth(tmp_path: Path, png: Build, chunk: Build) -> None:
    key = chunk(b"tRNS", struct.pack(">H", 500))
    (tmp_path / "key.png").write_bytes(png(2, 1, 16, 0, struct.pack(">BHH", 0, 500, 501), key))
    image = io.read(tmp_path / "key.png")
    assert image.data.tolist() == [[[500, 0], [501, 65535]]]
    assert image.data.dtype == np.uint16


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (5, 5), (9, 7)])
def test_interlaced_sixteen_bit_colour_is_read_exactly_and_silently(
    tmp_path: Path, png: Build, size: tuple[int, int], capfd: pytest.CaptureFixture[str]
) -> None:
    height, width = size
    data = random_image((height, width, 3), "uint16", 3).data
    passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
    grids = [data[y::dy, x::dx] for x, y, dx, dy in passes]
    raw = b"".join(b"\0" + row.astype(">u2").tobytes() for grid in grids if grid.size for row in grid)
    (tmp_path / "adam7.png").write_bytes(png(width, height, 16, 2, raw, interlaced=1))
    np.testing.assert_array_equal(io.read(tmp_path / "adam7.png").data, data)
    assert capfd.readouterr() == ("", "")


def test_tiff_variants_are_read_as_light(tmp_path: Path) -> None:
    import tifffile

    ramp = np.arange(12, dtype=np.uint8).reshape(3, 4)
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, ramp, photometric="miniswhite")
    np.testing.assert_array_equal(io.read(path).data, 255 - ramp)
    veiled = np.stack([ramp, ramp], axis=-1)
    tifffile.imwrite(path, veiled, photometric="miniswhite", planarconfig="contig", extrasamples=["unassalpha"])
    np.testing.assert_array_equal(io.read(path).data, np.stack([255 - ramp, ramp], axis=-1))
    colours = np.arange(768, dtype=np.uint16).reshape(3, 256) * 80
    tifffile.imwrite(path, ramp, photometric="palette", colormap=colours)
    np.testing.assert_array_equal(io.read(path).data, np.moveaxis(colours[:, ramp] >> 8, 0, -1))
    with tifffile.TiffWriter(path) as file:
        for shift in (0, 5):
            file.write(ramp, photometric="palette", colormap=colours >> shift, metadata=None)
    pages = io.read(path).pages
    np.testing.assert_array_equal(pages[1], np.moveaxis((colours >> 5)[:, ramp] >> 8, 0, -1))
    planar = np.arange(36, dtype=np.uint16).reshape(3, 3, 4)
    tifffile.imwrite(path, planar, photometric="rgb", planarconfig="separate")
    np.testing.assert_array_equal(io.read(path).data, np.moveaxis(planar, 0, -1))
    ink = np.arange(48, dtype=np.uint8).reshape(3, 4, 4)
    tifffile.imwrite(path, ink, photometric="separated")
    image = io.read(path)
    assert not image.has_alpha
    assert image.metadata["mode"] == "CMYK"
    io.write(tmp_path / "b.tif", image)
    assert io.read(tmp_path / "b.tif").metadata["mode"] == "CMYK"


def test_channels_beyond_colour_stay_what_they_are(tmp_path: Path) -> None:
    import tifffile

    bands = np.arange(60, dtype=np.uint16).reshape(3, 4, 5)
    tifffile.imwrite(tmp_path / "a.tif", bands, photometric="rgb", planarconfig="contig", extrasamples=[0, 0])
    io.write(tmp_path / "b.tif", io.read(tmp_path / "a.tif"))
    with tifffile.TiffFile(tmp_path / "b.tif") as file:
        assert (file.pages[0].photometric, file.pages[0].extrasamples) == (2, (0, 0))
    image = io.read(tmp_path / "b.tif")
    assert not image.has_alpha
    np.testing.assert_array_equal(image.data, bands)


def test_a_stack_that_imagej_stores_as_one_page_is_read_whole(tmp_path: Path) -> None:
    import tifffile

    stack = random_image((3, 4, 5), "uint16", 1).data
    note = "ImageJ=1.53\nimages=3\nslices=3\n"
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(stack[0], photometric="minisblack", metadata=None, description=note)
    with (tmp_path / "a.tif").open("ab") as file:
        file.write(stack[1:].tobytes())
    np.testing.assert_array_equal(io.read(tmp_path / "a.tif").data, stack)


def test_cmyk_jpeg_has_four_channels_none_of_them_alpha(tmp_path: Path) -> None:
    from PIL import Image

    Image.new("CMYK", (6, 5), (10, 20, 30, 40)).save(tmp_path / "a.jpg", quality=100)
    image = io.read(tmp_path / "a.jpg")
    assert (image.channels, image.has_alpha, image.metadata["mode"]) == (4, False, "CMYK")
    assert np.abs(image.data[2, 2].astype(int) - [10, 20, 30, 40]).max() <= 2
    with pytest.raises(ImgtoolError, match=r"PNG cannot hold uint8 4 channels; use \.tif"):
        io.write(tmp_path / "a.png", image)


@pytest.mark.parametrize(
    ("shape", "axis"),
    [((4, 5), None), ((6, 5, 3), -1), ((3, 6, 5), None), ((2, 6, 5, 3), -1), ((2, 6, 5, 7), -1)],
)
def test_npy_channels_follow_a_fixed_rule(tmp_path: Path, shape: tuple[int, ...], axis: int | None) -> None:
    np.save(tmp_path / "a.npy", np.asfortranarray(np.arange(np.prod(shape), dtype=">f4").reshape(shape)))
    image = io.read(tmp_path / "a.npy")
    assert image.channel_axis == axis
    assert image.data.dtype == np.dtype("float32")
    assert image.data.flags.c_contiguous
    np.testing.assert_array_equal(image.data.ravel(), np.arange(np.prod(shape)))


@pytest.mark.parametrize(
    "array", [np.array({}), np.zeros(3), np.zeros((0, 4)), np.array([["text"]]), np.zeros((2, 2), "i4,f4")]
)
def test_arrays_that_are_no_images_are_refused_without_unpickling(tmp_path: Path, array: np.ndarray) -> None:
    np.save(tmp_path / "a.npy", array, allow_pickle=True)
    with pytest.raises(ImgtoolError, match="is not an image"):
        io.read(tmp_path / "a.npy")


def test_colour_stored_times_opacity_is_divided_by_it(tmp_path: Path) -> None:
    import tifffile

    stored = np.array([[[50, 100, 0, 128], [0, 0, 0, 0]]], np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", stored, photometric="rgb", extrasamples=["assocalpha"])
    image = io.read(tmp_path / "a.tif")
    assert image.has_alpha
    assert image.data.tolist() == [[[100, 199, 0, 128], [0, 0, 0, 0]]]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"tile": (16, 16)},
        {"compression": "zlib", "predictor": True},
        {"compression": "lzw"},
        {"compression": "zstd"},
        {"bigtiff": True},
        {"byteorder": ">"},
        {"imagej": True},
    ],
)
def test_tiff_pages_tiles_and_compressions_are_read(tmp_path: Path, options: dict) -> None:
    import tifffile

    stack = random_image((3, 20, 33), "uint16", 1).data
    tifffile.imwrite(tmp_path / "stack.tif", stack, photometric="minisblack", **options)
    image = io.read(tmp_path / "stack.tif")
    np.testing.assert_array_equal(image.data, stack, strict=True)
    assert io.probe(tmp_path / "stack.tif").pages == 3


def test_a_reduced_copy_in_a_tiff_is_no_page(tmp_path: Path) -> None:
    import tifffile

    with tifffile.TiffWriter(tmp_path / "pyramid.tif") as file:
        file.write(np.zeros((8, 8), np.uint8), photometric="minisblack", metadata=None)
        file.write(np.zeros((4, 4), np.uint8), photometric="minisblack", subfiletype=1, metadata=None)
    assert io.read(tmp_path / "pyramid.tif").data.shape == (8, 8)


def test_a_written_stack_is_one_series_of_pages(tmp_path: Path) -> None:
    import tifffile

    io.write(tmp_path / "stack.tif", random_image((4, 5, 6, 3), "float32", 3))
    with tifffile.TiffFile(tmp_path / "stack.tif") as file:
        assert (len(file.pages), len(file.series), file.series[0].shape) == (4, 1, (4, 5, 6, 3))


def test_what_is_too_large_for_tiff_becomes_bigtiff(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_tiffwriter, "_BIG", 99)
    for size, version in ((9, b"II*\0"), (10, b"II+\0")):
        image = random_image((size, 11), "uint8", 1)
        io.write(tmp_path / "a.tif", image, overwrite=True)
        assert (tmp_path / "a.tif").read_bytes()[:4] == version
        np.testing.assert_array_equal(io.read(tmp_path / "a.tif").data, image.data)


def test_every_frame_of_a_gif_becomes_a_page(tmp_path: Path) -> None:
    from PIL import Image

    frames = [Image.new("RGB", (4, 3), colour) for colour in ("red", "lime", "blue")]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    image = io.read(tmp_path / "a.gif")
    assert [page[0, 0].tolist() for page in image.pages] == [[255, 0, 0], [0, 255, 0], [0, 0, 255]]


PROFILE = bytes(range(256)) * 3
ORIENTED = struct.pack("<4sIHHHIHHI", b"II*\0", 8, 1, 0x0112, 3, 1, 6, 0, 0)
PACKET = b"<?xpacket begin=''?><x:xmpmeta xmlns:x='adobe:ns:meta/'/><?xpacket end='w'?>"


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("extension", [".png", ".tif", ".jpg", ".webp"])
def test_metadata_survives(tmp_path: Path, extension: str, dtype: str) -> None:
    from PIL import ImageCms

    if dtype == "uint16" and extension in (".jpg", ".webp"):
        dtype = "uint8"
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    metadata = {"icc_profile": profile, "xmp": PACKET, "resolution": (300.0, 150.0, "inch"), "orientation": 6}
    if extension != ".tif":
        metadata["exif"] = ORIENTED
    io.write(tmp_path / f"a{extension}", io.Image(np.zeros((4, 5, 3), dtype), -1, metadata))
    kept = io.read(tmp_path / f"a{extension}").metadata
    if extension == ".webp":
        metadata.pop("resolution")  # the format has no place for it
    else:
        x, y, unit = kept.pop("resolution")
        scale = 2.54 if unit == "cm" else 1
        assert (x * scale, y * scale) == pytest.approx((300, 150), rel=1e-4)
        metadata.pop("resolution")
    assert kept == metadata


@pytest.mark.parametrize("source", [".png", ".tif", ".jpg", ".webp"])
@pytest.mark.parametrize("goal", [".png", ".tif", ".jpg", ".webp"])
def test_orientation_survives_a_change_of_format(tmp_path: Path, source: str, goal: str) -> None:
    io.write(tmp_path / f"a{source}", io.Image(np.zeros((4, 5, 3), np.uint8), -1, {"orientation": 8}))
    io.write(tmp_path / f"b{goal}", io.read(tmp_path / f"a{source}"))
    back = io.read(tmp_path / f"b{goal}")
    assert back.metadata["orientation"] == 8
    assert back.data.shape == (4, 5, 3)


def test_text_and_gamma_of_a_png_are_kept_and_a_damaged_note_is_not_fatal(
    tmp_path: Path, png: Build, chunk: Build
) -> None:
    gamma, note = chunk(b"gAMA", struct.pack(">I", 45455)), chunk(b"tEXt", b"Author\0someone")
    broken = note[:-1] + bytes([note[-1] ^ 1])
    (tmp_path / "a.png").write_bytes(png(1, 1, 8, 0, b"\0\7", gamma, note, broken))
    io.write(tmp_path / "b.png", io.read(tmp_path / "a.png"))
    assert io.read(tmp_path / "b.png").metadata["png_chunks"] == [(b"gAMA", gamma[8:-4]), (b"tEXt", b"Author\0someone")]


def test_the_scale_of_a_pfm_is_kept_and_the_values_too(tmp_path: Path) -> None:
    (tmp_path / "a.pfm").write_bytes(b"Pf\n2 1\n2.5\n" + struct.pack(">2f", 1, 4))
    image = io.read(tmp_path / "a.pfm")
    assert_array_equal(image.data, [[1, 4]])
    assert io.unkept("b.tif", image) == "the scale of the values"
    io.write(tmp_path / "b.pfm", image)
    assert (tmp_path / "b.pfm").read_bytes() == b"Pf\n2 1\n-2.5\n" + struct.pack("<2f", 1, 4)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_an_archive_of_one_array_is_an_image(tmp_path: Path, save: Callable) -> None:
    data = np.random.default_rng(0).normal(size=(5, 9, 7)).astype(np.float32)
    save(tmp_path / "a.npz", cells=data)
    image = io.read(tmp_path / "a.npz")
    assert_array_equal(image.data, data, strict=True)
    with io.open_pages(tmp_path / "a.npz") as pages:
        assert_array_equal([pages[number].data for number in (3, 0)], data[[3, 0]])
    io.write(tmp_path / "b.npz", image)
    with np.load(tmp_path / "b.npz") as archive:
        assert_array_equal(archive["arr_0"], data)
    first = (tmp_path / "b.npz").read_bytes()
    io.write(tmp_path / "b.npz", image, overwrite=True)
    assert (tmp_path / "b.npz").read_bytes() == first


def test_archives_of_other_things_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "two.npz", one=np.zeros((3, 4)), other=np.zeros((3, 4)))
    np.savez(tmp_path / "objects.npz", np.array([{}], object))
    np.savez_compressed(tmp_path / "large.npz", np.zeros((3000, 3000), np.uint8))
    np.savez(tmp_path / "cut.npz", np.zeros((30, 40)))
    content = (tmp_path / "cut.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(content[: len(content) // 2])
    for name, words in {
        "two.npz": r"holds 2 arrays \(one, other\); save one of them as \.npy",
        "objects.npz": "an array of object is not an image",
        "large.npz": "is 9000000 pixels and the limit is 1000000",
        "cut.npz": "is damaged or cut off",
    }.items():
        with pytest.raises(ImgtoolError, match=words):
            io.read(tmp_path / name, max_pixels=1_000_000)


def test_chunks_that_may_be_copied_are_and_others_are_told(tmp_path: Path, png: Build, chunk: Build) -> None:
    copied, unsafe, known = chunk(b"prVt", b"mine"), chunk(b"caBX", b"credentials"), chunk(b"bKGD", b"\0\0")
    (tmp_path / "a.png").write_bytes(png(1, 1, 8, 0, b"\0\7", copied, unsafe, known))
    image = io.read(tmp_path / "a.png")
    assert image.metadata == {"png_chunks": [(b"prVt", b"mine")], "private": ["caBX"]}
    assert io.unkept("b.png", image) == io.unkept("b.tif", image) == "private entries of other programs"
    io.write(tmp_path / "b.png", image)
    assert io.read(tmp_path / "b.png").metadata == {"png_chunks": [(b"prVt", b"mine")]}
    (tmp_path / "c.png").write_bytes(png(1, 1, 8, 0, b"\0\7", copied, known))
    image = io.read(tmp_path / "c.png")
    assert (io.unkept("d.png", image), io.unkept("d.tif", image)) == ("", "private entries of other programs")


def test_segments_of_a_jpeg_that_are_not_kept_are_told(tmp_path: Path) -> None:
    io.write(tmp_path / "a.jpg", io.Image(np.zeros((4, 5, 3), np.uint8), -1, {"xmp": b"<x/>", "exif": ORIENTED}))
    assert "private" not in io.read(tmp_path / "a.jpg").metadata
    content = (tmp_path / "a.jpg").read_bytes()
    (tmp_path / "a.jpg").write_bytes(content[:2] + b"\xff\xeb\0\x07JUMBF" + content[2:])
    image = io.read(tmp_path / "a.jpg")
    assert image.metadata["private"] == ["APP11"]
    assert io.unkept("b.jpg", image) == "private entries of other programs"


def test_the_description_of_a_tiff_is_kept(tmp_path: Path) -> None:
    io.write(tmp_path / "a.tif", io.Image(np.zeros((2, 2)), None, {"description": "slice 7, µm"}))
    assert io.read(tmp_path / "a.tif").metadata["description"] == "slice 7, µm"
