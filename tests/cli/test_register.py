"""imgtool register and imgtool warp: what is found, what is written, what is said."""

import json
import re
from dataclasses import replace

import imageio.v3 as iio
import numpy as np
import pytest
import tifffile
from numpy.testing import assert_allclose, assert_array_equal
from scenes import texture

from imgtool import io
from imgtool.registration import register
from imgtool.transforms import MatrixTransform, warp

SIZE = (96, 80)


@pytest.fixture
def pair(picture):
    """A fixed image, and a moving one in which all is 3 pixels further left and 2 further down."""
    picture("fixed.png", shape=SIZE)
    picture("moving.png", shape=SIZE, shift=(3, -2))


def load(path):
    return MatrixTransform.from_dict(json.loads(path.read_text()))


@pytest.mark.usefixtures("pair")
def test_registering_writes_the_warped_image_and_the_transform(call, files, tmp_path):
    result = call("register", "fixed.png", "moving.png", "-m", "translation", "-o", "out.png", "-t", "t.json")
    assert (result.exit_code, result.stderr) == (0, "")
    assert files() == ["fixed.png", "moving.png", "out.png", "t.json"]
    assert_allclose(load(tmp_path / "t.json")([[20, 30]]), [[17, 32]], atol=0.1)
    fixed, warped = iio.imread(tmp_path / "fixed.png"), iio.imread(tmp_path / "out.png")
    assert warped.dtype == np.uint8
    assert np.abs(warped[8:-8, 8:-8].astype(int) - fixed[8:-8, 8:-8]).max() <= 4


@pytest.mark.usefixtures("pair")
def test_the_result_is_that_of_the_library(call, tmp_path):
    call("register", "fixed.png", "moving.png", "-t", "t.json", "--bins", "32")
    expected = register(iio.imread(tmp_path / "fixed.png"), iio.imread(tmp_path / "moving.png"), bins=32)
    fields = json.loads((tmp_path / "t.json").read_text())
    assert fields == expected.transform.to_dict() | {
        "nmi_before": expected.nmi_before,
        "nmi_after": expected.nmi_after,
        "overlap": expected.overlap,
        "confidence": expected.confidence,
        "confident": expected.confident,
    }
    assert list(fields)[:6] == ["format", "version", "model", "matrix", "fixed_shape", "moving_shape"]


@pytest.mark.usefixtures("pair")
def test_a_line_says_what_was_found(call):
    line = call("register", "fixed.png", "moving.png", "-m", "rigid", "-t", "t.json").stdout
    assert re.fullmatch(
        r"moving\.png: NMI 1\.\d{4} -> 1\.\d{4} in \d+ iterations, \d+\.\d\d s; "
        r"rigid: shift -[23]\.\d\d, [12]\.\d\d px, rotation -?\d\.\d\d degrees, scale 1\.0000\n",
        line,
    )


@pytest.mark.usefixtures("pair")
def test_json_takes_the_place_of_the_line(call):
    record = json.loads(call("register", "fixed.png", "moving.png", "-t", "t.json", "--json").stdout)
    assert (record["input"], record["output"], record["transform"]) == ("moving.png", None, "t.json")
    assert record["nmi_after"] > record["nmi_before"] > 1
    assert 0 < record["overlap"] <= 1
    assert np.shape(record["matrix"]) == (3, 3)
    assert record["model"] in ("translation", "rigid", "similarity", "affine", "projective")
    assert record["confident"] is (record["confidence"] >= 0.5)
    assert record["reason"].startswith("rigid is ")
    assert record["mirrored"] is False
    assert record["search"] in ("none", "shift", "rotation", "full")
    assert 0 <= record["static_frame"] < 1
    assert len(record["shift"]) == len(record["scales"]) == 2
    assert record["parameters"] == {
        "fixed": "fixed.png", "model": "auto", "grid_spacing": None, "search": "auto", "background": "auto",
        "flips": False, "bins": 64, "initial": None,
        "landmarks": None, "fixed_mask": None, "moving_mask": None, "channel": ["luminance", "luminance"],
        "nodata": None, "spacing": None, "moving_spacing": None, "strict": False, "interpolation": "linear",
        "fill": 0.0,
    }  # fmt: skip


@pytest.mark.usefixtures("pair")
def test_a_slide_that_lies_upside_down_is_found_by_flips(call, tmp_path):
    iio.imwrite(tmp_path / "moving.png", iio.imread(tmp_path / "moving.png")[::-1])
    result = call("register", "fixed.png", "moving.png", "--flips", "-m", "rigid", "-t", "t.json", "-o", "out.png")
    assert result.exit_code == 0
    assert result.stdout.endswith(", mirrored\n")
    assert_allclose(load(tmp_path / "t.json")([[20, 30]]), [[17, SIZE[0] - 1 - 32]], atol=0.3)


@pytest.mark.usefixtures("pair")
def test_several_moving_images_go_to_folders(call, picture, files):
    picture("sub/other.png", shape=SIZE, shift=(-2, 1))
    words = ("register", "fixed.png", "moving.png", "sub/other.png", "-m", "translation")
    assert call(*words, "-O", "out", "-t", "t/").exit_code == 0
    assert [name for name in files() if name.startswith(("out", "t"))] == [
        "out/moving.png", "out/sub/other.png", "t/moving.json", "t/sub/other.json"
    ]  # fmt: skip
    result = call(*words, "-t", "t.json")
    assert result.exit_code == 2
    assert result.stderr == (
        "Error: -t names one file, but there are 2 moving images; give it a folder: -t t/ "
        "(see imgtool register --help)\n"
    )


@pytest.mark.usefixtures("pair")
@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ([], "nowhere to write; give -o FILE"),
        (["-t", "t.png"], "t.png: a transform is written as one of .json, .tfm"),
        (["-t", "t.png"], "or into a folder with a slash at its end: -t t/ (see"),
        (["-o", "fixed.png"], "fixed.png is an input as well"),
        (["-t", "t.json", "--bins", "3"], "bins must be a whole number from 4 to 256, not 3"),
        (["-t", "t.json", "--ext", "tif"], "without -O they have no effect"),
        (["-t", "t.json", "-m", "elastic"], "'elastic' is not one of"),
        (
            ["-t", "t.json", "--initial", "a.json", "--landmarks", "b.csv"],
            "--initial and --landmarks both say where to",
        ),
        (["-t", "t.json", "--flips", "--search", "none"], "--flips is for a search to try"),
        (["-t", "t.json", "--flips", "-m", "bspline"], "--flips is for models that are matrices"),
        (["-t", "t.json", "--moving-spacing", "2"], "--moving-spacing needs --spacing, the pixel size of the fixed"),
        (["-t", "t.json", "--spacing", "0"], "'0' is no pixel size; give a number above 0"),
        (["-t", "t.json", "--spacing", "1,x"], "'x' is no number such as 2"),
        (["-t", "t.json", "--channel", "cyan"], "'cyan' is no channel; use luminance, all, red"),
        (["-t", "t.json", "--nodata", "black"], "'black' is no number"),
    ],
)
def test_wrong_usage_writes_nothing(call, files, options, sentence):
    result = call("register", "fixed.png", "moving.png", *options)
    assert result.exit_code == 2
    assert sentence in result.stderr
    assert files() == ["fixed.png", "moving.png"]


@pytest.mark.usefixtures("pair")
def test_a_result_worse_than_the_start_is_not_written(call, files, monkeypatch):
    monkeypatch.setattr("imgtool.registration.Registration.improved", False)
    result = call("register", "fixed.png", "moving.png", "-o", "out.png", "-t", "t.json")
    assert (result.exit_code, result.stdout) == (1, "")
    assert re.fullmatch(
        r"Error: moving\.png: NMI would fall from .* nothing is written; try a simpler --model.*\n", result.stderr
    )
    assert files() == ["fixed.png", "moving.png"]


@pytest.mark.usefixtures("pair")
def test_masks_decide_what_counts(call, tmp_path):
    fixed, mask = iio.imread(tmp_path / "fixed.png"), np.zeros(SIZE, np.uint8)
    mask[8:-8, 8:60] = 255
    fixed[:, 60:] = np.random.default_rng(3).integers(0, 256, (SIZE[0], SIZE[1] - 60))
    iio.imwrite(tmp_path / "spoilt.png", fixed)
    iio.imwrite(tmp_path / "mask.png", np.dstack([mask, mask * 0, mask * 0]))  # saved in colour: red
    np.save(tmp_path / "all.npy", np.ones(SIZE, bool))
    words = ("register", "spoilt.png", "moving.png", "-m", "translation", "--moving-mask", "all.npy", "-t")
    assert call(*words, "with.json", "--fixed-mask", "mask.png").exit_code == 0
    assert_allclose(load(tmp_path / "with.json")([[20, 30]]), [[17, 32]], atol=0.1)
    expected = register(fixed, iio.imread(tmp_path / "moving.png"), model="translation", fixed_mask=mask > 0)
    assert_array_equal(load(tmp_path / "with.json").matrix, expected.transform.matrix)


@pytest.mark.usefixtures("pair")
def test_a_mask_of_another_size_is_named(call, files):
    np.save("small.npy", np.ones((5, 5), bool))
    result = call("register", "fixed.png", "moving.png", "--fixed-mask", "small.npy", "-o", "out.png")
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: moving.png onto fixed.png: fixed_mask")
    assert "out.png" not in files()


def test_colour_and_gray_are_registered_by_luminance(call, picture, tmp_path):
    gray = picture("gray.png", shape=SIZE)
    moving = picture("x.png", shape=SIZE, shift=(2, 1))
    rgba = np.dstack([moving, moving, moving, np.full(SIZE, 255, np.uint8)])
    iio.imwrite(tmp_path / "rgba.png", rgba)
    assert call("register", "gray.png", "rgba.png", "-m", "translation", "-o", "out.png", "-t", "t.json").exit_code == 0
    warped = iio.imread(tmp_path / "out.png")
    assert warped.shape == (*gray.shape, 4)
    assert_allclose(load(tmp_path / "t.json")([[20, 30]]), [[18, 29]], atol=0.1)


def test_what_is_no_single_image_of_known_colours_is_refused(call, picture, tmp_path):
    picture("a.png", shape=SIZE)
    tifffile.imwrite(tmp_path / "stack.tif", np.zeros((3, *SIZE), np.uint8), photometric="minisblack")
    io.write(tmp_path / "five.tif", io.Image(np.zeros((*SIZE, 5), np.uint8), -1))
    result = call("register", "a.png", "stack.tif", "five.tif", "-O", "out")
    assert result.exit_code == 1
    assert "Error: stack.tif: has 3 pages; align them by imgtool stack, or extract one\n" in result.stderr
    assert "Error: five.tif: has 5 channels and so no luminance; choose one by --channel 1, or" in result.stderr


# What is looked at


def one_of_four(tmp_path, name, shift, place):
    """An image of four channels of which three are noise."""
    y, x = np.indices(SIZE, float)
    content = texture(x + shift[0], y + shift[1])
    data = np.random.default_rng(len(name) + place).normal(size=(*SIZE, 4))
    data[..., place] = content
    io.write(tmp_path / name, io.Image(data.astype(np.float32), -1, {"alpha": False}))


@pytest.mark.parametrize("channel", ["3,1", "3+4,1+2"])
def test_channels_are_chosen_for_each_image(call, tmp_path, channel):
    one_of_four(tmp_path, "f.tif", (0, 0), 2)
    one_of_four(tmp_path, "m.tif", (3, -2), 0)
    assert call("register", "f.tif", "m.tif", "-m", "translation", "-t", "t.json").exit_code == 1
    assert call("register", "f.tif", "m.tif", "-m", "translation", "--channel", channel, "-t", "t.json").exit_code == 0
    assert_allclose(load(tmp_path / "t.json")([[20, 30]]), [[17, 32]], atol=0.3)


@pytest.mark.usefixtures("pair")
def test_nodata_does_not_count(call, tmp_path):
    fixed, moving = (iio.imread(tmp_path / name).astype(np.float32) for name in ("fixed.png", "moving.png"))
    rng = np.random.default_rng(0)
    # Blocks of a value that lie elsewhere in both images, and would be taken for content.
    for image, value in ((fixed, -9999), (moving, 7.5)):
        for y, x in rng.integers(5, 60, (6, 2)):
            image[y : y + 14, x : x + 14] = value
    io.write(tmp_path / "f.tif", io.Image(fixed))
    io.write(tmp_path / "m.tif", io.Image(moving))
    words = ("register", "f.tif", "m.tif", "-m", "translation", "--search", "none", "--nodata", "-9999,7.5")
    assert call(*words, "-t", "t.json").exit_code == 0
    assert_allclose(load(tmp_path / "t.json")([[20, 30]]), [[17, 32]], atol=0.1)


def test_nodata_of_a_colour_image_is_that_of_all_its_colours(call, picture, tmp_path):
    gray = picture("f.png", shape=SIZE)
    gray[10:40, 10:30] = 0
    colour = np.dstack([gray, np.where(gray == 0, 9, gray), gray])
    iio.imwrite(tmp_path / "f.png", colour)
    picture("m.png", shape=SIZE)
    everywhere, somewhere = (
        json.loads(call("register", "f.png", "m.png", "--nodata", value, "-t", "t.json", "--json", "--exists",
                        "overwrite", "--search", "none").stdout)
        for value in ("0,1e9", "77777")
    )  # fmt: skip
    assert everywhere["nmi_after"] == somewhere["nmi_after"]


def test_pixel_sizes_make_a_motion_rigid(call, tmp_path, picture):
    moving = picture("m.png", shape=(96, 80), shift=(3, -2))
    iio.imwrite(tmp_path / "half.png", moving[:, ::2])
    picture("f.png", shape=(96, 80))
    words = ("register", "f.png", "half.png", "-m", "rigid", "--search", "none")
    assert call(*words, "--spacing", "0.5", "--moving-spacing", "1,0.5", "-t", "t.json").exit_code == 0
    assert_allclose(load(tmp_path / "t.json")([[20, 30]]), [[8.5, 32]], atol=0.2)


def test_pixel_sizes_can_stand_in_the_files(call, tmp_path, picture):
    fixed, moving = picture("f.npy", shape=(96, 80)), picture("m.npy", shape=(96, 80), shift=(3, -2))
    io.write(tmp_path / "f.tif", io.Image(fixed, None, {"resolution": (254.0, 254.0, "inch")}))
    io.write(tmp_path / "half.tif", io.Image(moving[:, ::2].copy(), None, {"resolution": (50.0, 100.0, "cm")}))
    words = ("register", "f.tif", "half.tif", "-m", "rigid", "--search", "none", "--spacing", "tags")
    assert call(*words, "-t", "t.json").exit_code == 0
    assert_allclose(load(tmp_path / "t.json")([[20, 30]]), [[8.5, 32]], atol=0.2)
    result = call("register", "f.npy", "m.npy", "--spacing", "tags", "-t", "u.json")
    assert (result.exit_code, result.stderr) == (
        1, "Error: f.npy: has no resolution in its tags; give its pixel size by --spacing or --moving-spacing\n"
    )  # fmt: skip


# Where it begins


@pytest.fixture
def far_pair(picture):
    """A pair whose content is further apart than a climb without a search reaches."""
    picture("fixed.png", shape=(120, 130))
    picture("moving.png", shape=(120, 130), shift=(26, -17))


@pytest.mark.usefixtures("far_pair")
def test_a_start_from_a_file_is_where_the_climb_begins(call, tmp_path):
    start = MatrixTransform([[1, 0, -24], [0, 1, 16], [0, 0, 1]], "translation", (120, 130), (120, 130))
    (tmp_path / "start.json").write_text(json.dumps(start.to_dict()))
    words = ("register", "fixed.png", "moving.png", "-m", "translation", "--search", "none", "--initial", "start.json")
    assert call(*words, "-t", "t.json").exit_code == 0
    assert_allclose(load(tmp_path / "t.json")([[60, 60]]), [[34, 77]], atol=0.1)


@pytest.mark.usefixtures("far_pair")
@pytest.mark.parametrize(
    "lines",
    [
        "x_fixed,y_fixed,x_moving,y_moving\n60,60,35,76\n90,20,63,38\n30,90,5,106\n",
        "60,60,35,76\n",  # one pair determines a shift
    ],
)
def test_a_start_from_landmarks_is_where_the_climb_begins(call, tmp_path, lines):
    (tmp_path / "pairs.csv").write_text(lines)
    words = ("register", "fixed.png", "moving.png", "-m", "affine", "--search", "none", "--landmarks", "pairs.csv")
    assert call(*words, "-t", "t.json").exit_code == 0
    assert_allclose(load(tmp_path / "t.json")([[60, 60]]), [[34, 77]], atol=0.2)


# What a person looks at


@pytest.mark.usefixtures("pair")
def test_pictures_show_both_images(call, files, tmp_path):
    words = ("register", "fixed.png", "moving.png", "-m", "translation")
    assert call(*words, "--overlay", "o.png", "--checkerboard", "c.tif").exit_code == 0
    assert files() == ["c.tif", "fixed.png", "moving.png", "o.png"]
    overlay, board = iio.imread(tmp_path / "o.png"), iio.imread(tmp_path / "c.tif")
    assert (overlay.shape, board.shape) == ((*SIZE, 3), SIZE)
    red, cyan = overlay[8:-8, 8:-8, 0].astype(int), overlay[8:-8, 8:-8, 1].astype(int)
    assert np.abs(red - cyan).mean() < 3  # they fit: gray
    assert not overlay[:, :2, 1].any()  # where moving does not reach
    assert overlay[:, :2, 0].any()


@pytest.mark.usefixtures("pair")
def test_pictures_of_several_go_to_folders(call, picture, files):
    picture("sub/other.tif", shape=SIZE, shift=(-2, 1))
    words = ("register", "fixed.png", "moving.png", "sub/other.tif", "-m", "translation", "--search", "none")
    assert call(*words, "--overlay", "see/").exit_code == 0
    assert [name for name in files() if name.startswith("see")] == ["see/moving.png", "see/sub/other.png"]
    result = call(*words, "--overlay", "see.png")
    assert result.exit_code == 2
    assert "--overlay names one file, but there are 2 moving images; give it a folder: --overlay see/" in result.stderr


@pytest.mark.usefixtures("pair")
def test_a_picture_in_a_format_that_cannot_hold_it_is_refused_before(call, files):
    result = call("register", "fixed.png", "moving.png", "--overlay", "o.pgm")
    assert (result.exit_code, result.stderr) == (1, "Error: o.pgm: PGM cannot hold uint8 RGB; use .png or .tif\n")
    assert files() == ["fixed.png", "moving.png"]


# Doubt


@pytest.fixture
def doubtful(monkeypatch):
    """Every result is uncertain."""

    def register_in_doubt(*args, **options):
        return replace(register(*args, **options), confident=False, confidence=0.2)

    monkeypatch.setattr("imgtool.registration.register", register_in_doubt)


@pytest.mark.usefixtures("pair", "doubtful")
def test_doubt_is_a_warning(call, tmp_path):
    result = call("register", "fixed.png", "moving.png", "-t", "t.json", "--json")
    assert result.exit_code == 0
    assert result.stderr == (
        "moving.png: the result is not certain (confidence 0.20); look at it by --overlay or --checkerboard\n"
    )
    record = json.loads(result.stdout)
    assert record["confident"] is False
    assert len(record["warnings"]) == 1
    assert json.loads((tmp_path / "t.json").read_text())["confident"] is False


@pytest.mark.usefixtures("pair", "doubtful")
def test_doubt_fails_if_one_is_strict(call, files):
    result = call(
        "register", "fixed.png", "moving.png", "-t", "t.json", "-o", "o.png", "--overlay", "see.png", "--strict"
    )
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith(
        "Error: moving.png: the result is not certain (confidence 0.20), so nothing is written"
    )
    assert files() == ["fixed.png", "moving.png"]


# warp


@pytest.fixture
def transform(tmp_path):
    """A transform from a 30x20 grid to images of 48x40, in t.json."""
    matrix = MatrixTransform([[1, 0.1, 2], [-0.1, 1, 3.5], [0, 0, 1]], "affine", (20, 30), (48, 40))
    (tmp_path / "t.json").write_text(json.dumps(matrix.to_dict()))
    return matrix


@pytest.mark.parametrize("interpolation", ["nearest", "linear", "cubic"])
def test_warp_is_that_of_the_library(call, picture, tmp_path, transform, interpolation):
    image = picture("a.png")
    options = ["--interpolation", interpolation, "--fill", "7"]
    assert call("warp", "a.png", "-t", "t.json", *options, "-o", "b.png").exit_code == 0
    expected = warp(image, transform, interpolation=interpolation, fill=7)
    assert_array_equal(iio.imread(tmp_path / "b.png"), expected)


@pytest.mark.usefixtures("pair")
def test_register_samples_as_warp_does(call, tmp_path):
    for options in (["--interpolation", "cubic"], ["--fill", "9"], []):
        overwrite = ["--exists", "overwrite"]
        call("register", "fixed.png", "moving.png", "-o", "a.png", "-t", "t.json", *options, *overwrite)
        call("warp", "moving.png", "-t", "t.json", "-o", "b.png", *options, *overwrite)
        assert_array_equal(iio.imread(tmp_path / "a.png"), iio.imread(tmp_path / "b.png"))


def test_pages_are_warped_one_by_one(call, picture, tmp_path, transform):
    pages = np.stack([picture("x.npy", shift=(n, 0)) for n in range(3)])
    tifffile.imwrite(tmp_path / "a.tif", pages, photometric="minisblack")
    assert call("warp", "a.tif", "-t", "t.json", "-o", "b.tif").exit_code == 0
    assert_array_equal(io.read(tmp_path / "b.tif").data, [warp(page, transform) for page in pages])


@pytest.mark.usefixtures("transform")
def test_an_image_of_another_size_is_warped_only_by_force(call, picture, files):
    picture("a.png", shape=(50, 40))
    result = call("warp", "a.png", "-t", "t.json", "-o", "b.png")
    assert result.exit_code == 1
    assert result.stderr == (
        "Error: a.png: is 40x50 pixels, but the transform is for 40x48; --force applies it nevertheless\n"
    )
    assert files() == ["a.png", "t.json"]
    assert call("warp", "a.png", "-t", "t.json", "-o", "b.png", "--force").exit_code == 0
    assert iio.imread("b.png").shape == (20, 30)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "Error: bad.json: "),
        ("[1, 2]", "Error: bad.json: this is not an imgtool transform"),
        ('{"format": "imgtool-transform", "version": 9}', "Error: bad.json: transform version 9 is unknown"),
        ('{"format": "imgtool-transform", "version": 1}', "Error: bad.json: the transform lacks model"),
    ],
)
def test_a_damaged_transform_is_named(call, picture, files, tmp_path, text, sentence):
    picture("a.png")
    (tmp_path / "bad.json").write_text(text)
    result = call("warp", "a.png", "-t", "bad.json", "-o", "b.png")
    assert result.exit_code == 1
    assert result.stderr.startswith(sentence)
    assert result.stderr.count("\n") == 1
    assert files() == ["a.png", "bad.json"]
