"""Animated PNG, WebP and GIF: every frame, its time, and no more of them in memory than must be."""

import struct
import zlib

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from PIL import Image as Pictures

from imgtool import io
from imgtool.errors import ImgtoolError
from imgtool.io import Image, _apng

ANIMATED = (".png", ".webp", ".gif")


def frames(count=4, channels=3, dtype=np.uint8):
    """A picture of few colours on which something moves."""
    generator = np.random.default_rng(0)
    full = np.iinfo(dtype).max
    picture = (generator.integers(0, 4, (20, 31, channels)) * (full // 3)).astype(dtype)
    if channels in (2, 4):
        picture[..., -1] = np.where(picture[..., -1] > full // 2, full, 0)
        picture[picture[..., -1] == 0] = 0
    stack = np.stack([picture] * count)
    for number, frame in enumerate(stack):
        frame[3 + number : 8 + number, 5:11] = full
    return stack


def animation(stack, durations=(40, 50, 120, 70), plays=3, **more):
    return Image(stack, -1, {"frames": {"durations": list(map(float, durations)), "plays": plays}, **more})


@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("extension", ANIMATED)
def test_every_frame_its_time_and_the_number_of_plays_survive(tmp_path, extension, channels):
    image = animation(frames(channels=channels))
    io.write(tmp_path / f"a{extension}", image)
    back = io.read(tmp_path / f"a{extension}")
    assert_array_equal(back.data, image.data)
    assert back.metadata["frames"] == image.metadata["frames"]
    info = io.probe(tmp_path / f"a{extension}")
    assert (info.shape, info.pages, info.animated, info.has_alpha) == (image.data.shape, 4, True, channels == 4)


@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("extension", ANIMATED)
def test_pillow_sees_the_same_animation(tmp_path, extension, channels):
    image = animation(frames(channels=channels), durations=(40, 50, 120, 40))
    io.write(tmp_path / f"a{extension}", image)
    mode = "RGB" if channels == 3 else "RGBA"
    with Pictures.open(tmp_path / f"a{extension}") as picture:
        assert picture.n_frames == 4
        assert picture.info["loop"] == (2 if extension == ".gif" else 3)  # GIF counts repetitions
        for number, frame in enumerate(image.data):
            picture.seek(number)
            assert_array_equal(np.asarray(picture.convert(mode)), frame)
            assert round(picture.info["duration"]) == [40, 50, 120, 40][number]


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [((20, 31), np.uint8), ((20, 31), np.uint16), ((20, 31, 2), np.uint16), ((20, 31, 4), np.uint16)],
)
def test_an_animated_png_keeps_its_depth(tmp_path, shape, dtype):
    generator = np.random.default_rng(1)
    stack = generator.integers(0, np.iinfo(dtype).max, (3, *shape)).astype(dtype)
    image = Image(stack, -1 if len(shape) == 3 else None, {"frames": {"durations": [1000 / 30] * 3, "plays": 0}})
    io.write(tmp_path / "a.png", image)
    back = io.read(tmp_path / "a.png")
    assert_array_equal(back.data, stack, strict=True)
    assert back.metadata["frames"] == image.metadata["frames"]


def test_an_animated_png_of_one_bit_is_bool(tmp_path):
    stack = np.random.default_rng(2).integers(0, 2, (3, 9, 13)).astype(bool)
    io.write(tmp_path / "a.png", Image(stack, None, {"frames": {"durations": [10.0, 20.0, 30.0], "plays": 0}}))
    assert_array_equal(io.read(tmp_path / "a.png").data, stack, strict=True)


@pytest.mark.parametrize(("disposal", "blend"), [(0, 0), (1, 0), (2, 0), (0, 1), (1, 1)])
def test_frames_that_pillow_drew_over_one_another_are_put_together_alike(tmp_path, disposal, blend):
    """But for (2, 1), where Pillow restores what the frame itself has been drawn into."""
    pictures = [Pictures.fromarray(frame) for frame in frames(channels=4)]
    still = Pictures.new("RGBA", pictures[0].size, (10, 20, 30, 255))
    save = {"save_all": True, "append_images": pictures, "duration": [10, 20, 30, 40, 50]}
    still.save(tmp_path / "a.png", **save, disposal=[0] + [disposal] * 4, blend=blend)
    back = io.read(tmp_path / "a.png")
    with Pictures.open(tmp_path / "a.png") as picture:
        for number in range(picture.n_frames):
            picture.seek(number)
            expected = np.array(picture.convert("RGBA"))
            seen = back.data[number].copy()
            for colours in (expected, seen):
                colours[colours[..., 3] == 0] = 0
            assert_array_equal(seen, expected)


def apng(size, parts, chunk):
    """A gray animated PNG from (x, y, rows of pixels, disposal, blending) of each frame."""
    width, height = size
    sequence = iter(range(100))
    file = [b"\x89PNG\r\n\x1a\n", chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))]
    file.append(chunk(b"acTL", struct.pack(">II", len(parts), 0)))
    for number, (x, y, pixels, disposal, blending) in enumerate(parts):
        rows, columns = len(pixels), len(pixels[0])
        control = (next(sequence), columns, rows, x, y, 1, 10, disposal, blending)
        file.append(chunk(b"fcTL", struct.pack(">IIIIIHHBB", *control)))
        packed = zlib.compress(b"".join(b"\0" + bytes(row) for row in pixels))
        file.append(chunk(b"fdAT", struct.pack(">I", next(sequence)) + packed) if number else chunk(b"IDAT", packed))
    return b"".join([*file, chunk(b"IEND", b"")])


def test_a_removed_frame_leaves_transparency_or_what_was_before(tmp_path, chunk):
    whole = [[9, 9, 9], [9, 9, 9]]
    (tmp_path / "clear.png").write_bytes(apng((3, 2), [(0, 0, whole, 1, 0), (1, 0, [[5]], 0, 0)], chunk))
    image = io.read(tmp_path / "clear.png")
    assert image.has_alpha
    assert image.data[0].tolist() == [[[9, 255]] * 3] * 2
    assert image.data[1].tolist() == [[[0, 0], [5, 255], [0, 0]], [[0, 0]] * 3]
    parts = [(0, 0, whole, 0, 0), (1, 0, [[5]], 2, 0), (0, 1, [[6]], 0, 0)]
    (tmp_path / "before.png").write_bytes(apng((3, 2), parts, chunk))
    image = io.read(tmp_path / "before.png")
    assert not image.has_alpha
    assert image.data.tolist() == [whole, [[9, 5, 9], [9, 9, 9]], [[9, 9, 9], [6, 9, 9]]]


def test_frames_can_be_asked_for_in_any_order(tmp_path):
    image = animation(frames())
    for extension in ANIMATED:
        io.write(tmp_path / f"a{extension}", image)
        with io.open_pages(tmp_path / f"a{extension}") as pages:
            for number in (3, 0, 2, 2, 1):
                assert_array_equal(pages[number].data, image.data[number])


@pytest.mark.parametrize("extension", ANIMATED)
def test_an_animation_written_frame_by_frame_is_the_same_file(tmp_path, extension):
    image = animation(frames())
    io.write(tmp_path / f"whole{extension}", image)
    with io.page_writer(tmp_path / f"a{extension}", Image(image.data[0], -1, image.metadata), 4) as append:
        for frame in image.data:
            append(frame)
    assert (tmp_path / f"a{extension}").read_bytes() == (tmp_path / f"whole{extension}").read_bytes()


def test_frames_of_one_animation_become_those_of_another_format(tmp_path):
    io.write(tmp_path / "a.gif", animation(frames(), plays=0))
    io.write(tmp_path / "b.webp", io.read(tmp_path / "a.gif"))
    io.write(tmp_path / "c.png", io.read(tmp_path / "b.webp"))
    last = io.read(tmp_path / "c.png")
    assert_array_equal(last.data, frames())
    assert last.metadata["frames"] == {"durations": [40.0, 50.0, 120.0, 70.0], "plays": 0}


def test_times_too_fine_for_gif_are_rounded_without_drifting(tmp_path):
    io.write(tmp_path / "a.gif", animation(frames(6), durations=[1000 / 30] * 6))
    assert io.read(tmp_path / "a.gif").metadata["frames"]["durations"] == [30.0, 40.0, 30.0, 30.0, 40.0, 30.0]


def test_a_stack_is_no_animation_and_an_animation_is_a_stack(tmp_path):
    for extension in ANIMATED:
        with pytest.raises(ImgtoolError, match=r"cannot hold 4 pages; use \.tif"):
            io.write(tmp_path / f"a{extension}", Image(frames(), -1))
    with pytest.raises(ImgtoolError, match=r"JPEG cannot hold 4 frames; use \.png or \.tif"):
        io.write(tmp_path / "a.jpg", animation(frames()))
    image = animation(frames())
    io.write(tmp_path / "a.tif", image)
    assert_array_equal(io.read(tmp_path / "a.tif").data, image.data)
    assert io.unkept("a.tif", image) == "the timing of the frames"


@pytest.mark.parametrize("extension", ANIMATED)
def test_profiles_and_texts_of_an_animation_are_kept_where_there_is_a_place(tmp_path, extension):
    given = {"icc_profile": b"profile", "xmp": b"<x/>", "description": "two words", "orientation": 6}
    image = animation(frames(), **given)
    io.write(tmp_path / f"a{extension}", image)
    kept = io.read(tmp_path / f"a{extension}").metadata
    wanted = {".png": set(given), ".webp": {"icc_profile", "xmp", "orientation"}, ".gif": {"description"}}[extension]
    assert {key: kept[key] for key in given if key in kept} == {key: given[key] for key in wanted}


def test_gif_holds_grays_exactly_and_the_best_of_many_colours(tmp_path):
    grays = np.arange(256, dtype=np.uint8).reshape(16, 16)
    io.write(tmp_path / "gray.gif", Image(grays))
    assert_array_equal(io.read(tmp_path / "gray.gif").data, np.stack([grays] * 3, axis=-1))
    y, x = np.mgrid[:64, :64]
    smooth = np.stack([4 * y, 4 * x, 2 * (y + x)], axis=-1).astype(np.uint8)
    io.write(tmp_path / "smooth.gif", Image(smooth, -1))
    assert np.abs(io.read(tmp_path / "smooth.gif").data.astype(int) - smooth).mean() < 8


@pytest.mark.parametrize("extension", ANIMATED)
def test_an_animation_that_is_cut_off_is_told_of(tmp_path, extension):
    io.write(tmp_path / f"a{extension}", animation(frames()))
    content = (tmp_path / f"a{extension}").read_bytes()
    for part in range(1, 8):
        (tmp_path / "cut").write_bytes(content[: len(content) * part // 8])
        try:
            image = io.read(tmp_path / "cut")
        except ImgtoolError as error:
            assert "cut off" in str(error) or "damaged" in str(error)
        else:  # as far as it goes, in formats that do not say how many frames there are
            assert extension != ".png"
            assert_array_equal(np.array(image.pages), frames()[: len(image.pages)])


def test_a_damaged_frame_and_a_lying_one_are_refused(tmp_path, chunk):
    whole = [[9, 9, 9], [9, 9, 9]]
    sound = apng((3, 2), [(0, 0, whole, 0, 0), (0, 0, whole, 0, 0)], chunk)
    place = sound.index(b"fdAT")
    for content in (
        sound[: place + 9] + b"\0" + sound[place + 10 :],
        apng((3, 2), [(0, 0, whole, 0, 0), (2, 0, [[5, 5]], 0, 0)], chunk),
        apng((3, 2), [(0, 0, whole, 0, 0), (0, 0, whole, 7, 0)], chunk),
        sound.replace(chunk(b"acTL", struct.pack(">II", 2, 0)), chunk(b"acTL", struct.pack(">II", 3, 0))),
    ):
        (tmp_path / "a.png").write_bytes(content)
        with pytest.raises(ImgtoolError, match="damaged"):
            io.read(tmp_path / "a.png")
    control = struct.pack(">IIIIIHHBB", 1, 10**5, 10**5, 0, 0, 1, 10, 0, 0)
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 10**5, 10**5, 8, 0, 0, 0, 0))
    place = sound.index(b"IDAT") - 4
    huge = sound[:8] + head + sound[33:place]
    (tmp_path / "a.png").write_bytes(huge + chunk(b"IDAT", b"x" * 10) + chunk(b"fcTL", control) + chunk(b"IEND", b""))
    with pytest.raises(ImgtoolError, match="cut off"):
        io.read(tmp_path / "a.png")


def test_all_frames_together_are_held_to_the_limit(tmp_path):
    io.write(tmp_path / "a.gif", animation(frames()))
    with pytest.raises(ImgtoolError, match=r"31 x 20 x 4 frames is 2480 pixels and the limit is 2000"):
        io.read(tmp_path / "a.gif", max_pixels=2000)
    with (
        pytest.raises(ImgtoolError, match="4 frames is 2480 pixels"),
        io.open_pages(tmp_path / "a.gif", max_pixels=2000, together=True),
    ):
        pass


def test_gaps_are_found_by_what_frames_leave(tmp_path):
    def frame(x, width, disposal):
        return _apng.Frame(width, 2, x, 0, 0, disposal, 0, sequenced=True)

    assert not _apng.leaves_gaps([frame(0, 4, 0), frame(1, 2, 1), frame(0, 3, 0)], 4, 2)
    assert _apng.leaves_gaps([frame(0, 4, 0), frame(1, 2, 1), frame(2, 2, 0)], 4, 2)
    assert _apng.leaves_gaps([frame(0, 3, 0)], 4, 2)
    assert _apng.leaves_gaps([frame(0, 4, 2), frame(0, 4, 2), frame(0, 3, 0)], 4, 2)
