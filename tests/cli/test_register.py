"""imgtool register and imgtool warp: what is found, what is written, what is said."""

import json
import re

import imageio.v3 as iio
import numpy as np
import pytest
import tifffile
from numpy.testing import assert_allclose, assert_array_equal

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
    expected = register(
        iio.imread(tmp_path / "fixed.png"), iio.imread(tmp_path / "moving.png"), bins=32, model="affine"
    )
    fields = json.loads((tmp_path / "t.json").read_text())
    assert fields == expected.transform.to_dict() | {
        "nmi_before": expected.nmi_before,
        "nmi_after": expected.nmi_after,
        "overlap": expected.overlap,
    }
    assert list(fields)[:6] == ["format", "version", "model", "matrix", "fixed_shape", "moving_shape"]


@pytest.mark.usefixtures("pair")
def test_a_line_says_what_was_found(call):
    line = call("register", "fixed.png", "moving.png", "-m", "rigid", "-t", "t.json").stdout
    assert re.fullmatch(
        r"moving\.png: NMI 1\.\d{4} -> 1\.\d{4} in \d+ iterations, \d+\.\d\d s; "
        r"shift -[23]\.\d\d, [12]\.\d\d px, rotation -?\d\.\d\d degrees, scale 1\.0000\n",
        line,
    )


@pytest.mark.usefixtures("pair")
def test_json_takes_the_place_of_the_line(call):
    record = json.loads(call("register", "fixed.png", "moving.png", "-t", "t.json", "--json").stdout)
    assert (record["input"], record["output"], record["transform"]) == ("moving.png", None, "t.json")
    assert record["nmi_after"] > record["nmi_before"] > 1
    assert 0 < record["overlap"] <= 1
    assert np.shape(record["matrix"]) == (3, 3)
    assert record["parameters"] == {
        "fixed": "fixed.png", "model": "affine", "grid_spacing": None, "fixed_mask": None, "moving_mask": None, "bins": 64,
        "interpolation": "linear", "fill": 0.0,
    }  # fmt: skip


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
        (["-t", "t.txt"], "-t writes JSON; name a .json file, or a folder with a slash at its end: t/ (see"),
        (["-o", "fixed.png"], "fixed.png is an input as well"),
        (["-t", "t.json", "--bins", "3"], "bins must be a whole number from 4 to 256, not 3"),
        (["-t", "t.json", "--ext", "tif"], "without -O they have no effect"),
        (["-t", "t.json", "-m", "elastic"], "'elastic' is not one of"),
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


def test_what_is_no_single_gray_or_rgb_image_is_refused(call, picture, tmp_path):
    picture("a.png", shape=SIZE)
    tifffile.imwrite(tmp_path / "stack.tif", np.zeros((3, *SIZE), np.uint8), photometric="minisblack")
    io.write(tmp_path / "five.tif", io.Image(np.zeros((*SIZE, 5), np.uint8), -1))
    result = call("register", "a.png", "stack.tif", "five.tif", "-O", "out")
    assert result.exit_code == 1
    assert "Error: stack.tif: has 3 pages; extract one, only single images are registered\n" in result.stderr
    assert "Error: five.tif: has 5 channels; only gray and RGB images are registered\n" in result.stderr


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
