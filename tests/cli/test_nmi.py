"""imgtool nmi, from files to figures and files."""

import json

import imageio.v3 as iio
import numpy as np
import pytest
import tifffile
from scipy import ndimage

import imgtool


@pytest.fixture
def pair(tmp_path):
    """Two images that depend on each other, as PNG files of 8 bits."""
    rng = np.random.default_rng(4)
    fixed = ndimage.gaussian_filter(rng.standard_normal((48, 60)), 3)
    moving = np.cos(15 * fixed)
    images = [np.rint(255 * (a - a.min()) / np.ptp(a)).astype(np.uint8) for a in (fixed, moving)]
    for name, image in zip(("a.png", "b.png"), images, strict=True):
        iio.imwrite(tmp_path / name, image)
    return images


def test_the_figures_are_those_of_the_library(call, pair):
    result = call("nmi", "a.png", "b.png", "--json", "--bins", "32")
    assert result.exit_code == 0
    record = json.loads(result.stdout)
    expected = imgtool.similarity(*pair, bins=32)
    assert record["nmi"] == expected.nmi == imgtool.nmi(*pair, bins=32)
    assert record["mutual_information"] == pytest.approx(
        record["fixed_entropy"] + record["moving_entropy"] - record["joint_entropy"]
    )
    assert (record["samples"], record["overlap"], record["missing"]) == (48 * 60, 1.0, 0)
    assert record["fixed_range"] == list(expected.fixed_range)


def test_several_images_are_compared_with_one(call, pair):
    result = call("nmi", "a.png", "b.png", "a.png")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert [line.split(":")[0] for line in lines] == ["b.png", "a.png"]
    assert f"NMI {imgtool.nmi(pair[0], pair[0]):.6f}" in lines[1]


def test_one_bad_image_does_not_stop_the_others(call, pair, tmp_path):
    iio.imwrite(tmp_path / "small.png", pair[0][:20])
    iio.imwrite(tmp_path / "flat.png", np.full_like(pair[0], 7))
    result = call("nmi", "a.png", "small.png", "none.png", "flat.png", "b.png", "--json")
    assert result.exit_code == 1
    records = [json.loads(line) for line in result.stdout.splitlines()]
    assert [(record["input"], record["error"] is None) for record in records] == [
        ("none.png", False), ("small.png", False), ("flat.png", False), ("b.png", True)
    ]  # fmt: skip
    *errors, sum_up = result.stderr.splitlines()
    assert sum_up == "1 of 4 images done, 3 failed"
    for name, words, line in zip(
        ("none.png", "small.png", "flat.png"), ("no such file", "shape", "constant"), errors, strict=True
    ):
        assert line.startswith("Error: ")
        assert name in line
        assert words in line


def test_comparisons_are_a_batch_like_any_other(call, pair, files, tmp_path):
    names = [f"in/{n}.png" for n in range(9)]
    for n, name in enumerate(names):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        iio.imwrite(tmp_path / name, np.roll(pair[1], n, 0))
    (tmp_path / "list").write_text("\0".join(names))
    lines = call("nmi", "a.png", *names, "-q").stdout
    assert [line.split(":")[0] for line in lines.splitlines()] == names
    assert call("nmi", "a.png", "--files-from", "list", "-0", "-j", "3", "-q").stdout == lines
    assert call("nmi", "a.png", "-r", "in", "-j", "1", "--threads", "2", "-q").stdout == lines
    shards = [call("nmi", "a.png", *names, "--shard", f"{n}/2", "-q").stdout.splitlines() for n in (1, 2)]
    assert sorted(shards[0] + shards[1]) == sorted(lines.splitlines())
    planned = call("nmi", "a.png", *names, "--gradient", "out/", "--dry-run")
    assert planned.stdout.splitlines()[3] == "in/3.png -> out/in/3.tif"
    assert not [name for name in files() if name.startswith("out")]
    assert call("nmi", "a.png", names[0], "--gradient", "out/").exit_code == 0
    again = call("nmi", "a.png", *names[:2], "--gradient", "out/", "--exists", "skip")
    assert again.stderr == "1 of 2 images done, 1 skipped\n"


def test_masks_percentiles_and_transparency_count(call, pair, tmp_path):
    mask = np.zeros((48, 60), np.uint8)
    mask[:24] = 255
    iio.imwrite(tmp_path / "mask.png", np.stack([mask] * 3, -1))
    iio.imwrite(
        tmp_path / "clear.png",
        np.stack([pair[1], np.where(np.arange(60) < 30, 0, 255) + 0 * mask], -1, dtype=np.uint8, casting="unsafe"),
    )
    result = call("nmi", "a.png", "clear.png", "--mask", "mask.png", "--percentiles", "1,99", "--json")
    assert result.exit_code == 0, result.stderr
    record = json.loads(result.stdout)
    assert (record["samples"], record["masked"], record["missing"]) == (24 * 30, 24 * 60, 24 * 30)
    keep = mask.astype(bool)
    values = np.where(np.arange(60) < 30, np.nan, pair[1].astype(np.float32))
    expected = imgtool.nmi(pair[0], values, mask=keep, percentiles=(1, 99))
    assert record["nmi"] == expected
    assert record["nmi"] != imgtool.nmi(pair[0], values, mask=keep)


def test_colours_are_compared_by_their_luminance(call, pair, tmp_path):
    iio.imwrite(tmp_path / "rgb.png", np.stack([pair[1]] * 3, -1))
    gray, colour = (json.loads(call("nmi", "a.png", name, "--json").stdout) for name in ("b.png", "rgb.png"))
    assert colour["nmi"] == pytest.approx(gray["nmi"], abs=1e-5)


def test_the_gradient_is_written_as_x_and_y(call, pair, tmp_path):
    for name in ("force.tif", "force.npy"):
        assert call("nmi", "a.png", "b.png", "--gradient", name).exit_code == 0
    pages, array = tifffile.imread(tmp_path / "force.tif"), np.load(tmp_path / "force.npy")
    np.testing.assert_array_equal(pages, array)
    assert array.dtype == np.float32
    y, x = np.gradient(pair[1].astype(np.float32))
    _, expected = imgtool.nmi_gradient(*pair, np.stack([x, y]))
    np.testing.assert_allclose(array, expected, rtol=1e-6)


def test_the_joint_histogram_is_drawn_with_moving_upwards_or_written_as_numbers(call, tmp_path):
    ramp = np.arange(64.0).reshape(1, 64).repeat(64, 0).astype(np.uint8)
    iio.imwrite(tmp_path / "ramp.png", ramp)
    iio.imwrite(tmp_path / "inverse.png", 63 - ramp)
    assert call("nmi", "ramp.png", "inverse.png", "--joint-histogram", "joint.npy").exit_code == 0
    joint = np.load(tmp_path / "joint.npy")
    assert joint.shape == (64, 64)
    assert joint.sum() == pytest.approx(64 * 64)
    assert joint[:28, :28].sum() < 1 < joint[:30, 34:].sum()
    assert call("nmi", "ramp.png", "ramp.png", "--joint-histogram", "joint.png").exit_code == 0
    picture = iio.imread(tmp_path / "joint.png")
    square = picture[78:590, 30:542].astype(int).sum(axis=-1)
    # Equal images: a bright line from the lower left to the upper right.
    assert square[[500, 256, 12], [12, 256, 500]].min() > 200
    assert square[[12, 500], [12, 500]].max() < 80


def test_outputs_of_several_images_go_into_a_folder(call, pair, tmp_path):
    assert call("nmi", "a.png", "b.png", "a.png", "--joint-histogram", "out.png").exit_code == 2
    result = call("nmi", "a.png", "b.png", "a.png", "--joint-histogram", "out/", "--gradient", "out/")
    assert result.exit_code == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.png", "a.tif", "b.png", "b.tif"]


def test_nothing_is_overwritten_unless_asked(call, pair, tmp_path):
    (tmp_path / "force.npy").write_bytes(b"precious")
    result = call("nmi", "a.png", "b.png", "--gradient", "force.npy")
    assert result.exit_code == 1
    assert "--exists overwrite" in result.stderr
    assert (tmp_path / "force.npy").read_bytes() == b"precious"
    assert call("nmi", "a.png", "b.png", "--gradient", "force.npy", "--exists", "overwrite").exit_code == 0
    assert np.load(tmp_path / "force.npy").shape == (2, 48, 60)
    assert call("nmi", "a.png", "b.png", "--joint-histogram", "a.png", "--exists", "overwrite").exit_code == 2


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--bins", "3"], "whole number from 4 to 256, not 3"),
        (["--percentiles", "5"], "two rising numbers"),
        (["--percentiles", "60,40"], "two rising numbers"),
        (["--threads", "0"], "0"),
    ],
)
def test_values_that_make_no_sense_are_wrong_usage(call, pair, words, sentence):
    result = call("nmi", "a.png", "b.png", *words)
    assert result.exit_code == 2
    assert sentence in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_stacks_are_compared_as_volumes(call, tmp_path):
    volume = np.random.default_rng(1).random((5, 12, 14)).astype(np.float32)
    tifffile.imwrite(tmp_path / "v.tif", volume)
    result = call("nmi", "v.tif", "v.tif", "--gradient", "force.npy", "--json")
    assert result.exit_code == 0
    assert json.loads(result.stdout)["nmi"] == imgtool.nmi(volume, volume)
    assert np.load(tmp_path / "force.npy").shape == (3, 5, 12, 14)
    assert "use .npy" in call("nmi", "v.tif", "v.tif", "--gradient", "force.tif").stderr
