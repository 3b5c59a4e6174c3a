"""imgtool warp: transforms of every kind, labels, grids."""

import json

import imageio.v3 as iio
import numpy as np
import pytest
from numpy.testing import assert_array_equal

from imgtool.io.transforms import write_transform
from imgtool.transforms import Composite, DisplacementField, MatrixTransform, warp

SIZE = (40, 50)


@pytest.fixture
def image(tmp_path):
    """A photograph-like image in a.png."""
    rng = np.random.default_rng(3)
    values = (np.cumsum(np.cumsum(rng.standard_normal(SIZE), 0), 1) * 5).astype(np.uint8)
    iio.imwrite(tmp_path / "a.png", values)
    return values


@pytest.fixture
def turn():
    return MatrixTransform([[0.95, -0.2, 6], [0.2, 0.95, -3], [0, 0, 1]], "affine", SIZE, SIZE)


@pytest.fixture
def bend():
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    return DisplacementField(np.dstack([2 * np.sin(y / 7), 2 * np.cos(x / 7)]), SIZE)


@pytest.mark.parametrize("name", ["t.json", "t.tfm", "t.npy", "t.npz", "t.tif", "t.nii.gz"])
def test_transforms_of_every_format_are_applied(call, image, tmp_path, turn, name):
    write_transform(tmp_path / name, turn)
    result = call("warp", "a.png", "-t", name, "-o", "b.png")
    assert (result.exit_code, result.stderr) == (0, "")
    assert np.abs(iio.imread(tmp_path / "b.png").astype(int) - warp(image, turn)).max() <= 1


def test_several_transforms_lead_from_the_fixed_image_to_the_moving_one(call, image, tmp_path, turn, bend):
    write_transform(tmp_path / "turn.json", turn)
    write_transform(tmp_path / "bend.json", bend)
    assert call("warp", "a.png", "-t", "turn.json", "-t", "bend.json", "-o", "b.png").exit_code == 0
    assert_array_equal(iio.imread(tmp_path / "b.png"), warp(image, Composite((turn, bend))))


@pytest.mark.usefixtures("image")
def test_transforms_that_do_not_follow_one_another_are_named(call, files, tmp_path, turn, bend):
    write_transform(tmp_path / "turn.json", MatrixTransform(turn.matrix, "affine", SIZE, (7, 9)))
    write_transform(tmp_path / "bend.json", bend)
    words = ["warp", "a.png", "-t", "turn.json", "-t", "bend.json", "-o", "b.png"]
    result = call(*words)
    assert result.exit_code == 1
    assert result.stderr == (
        "Error: bend.json: one transform leads to an image of 9x7 pixels, but the next was made for one of 50x40; "
        "check their order, or compose them nevertheless (--force, force=True)\n"
    )
    assert "b.png" not in files()
    assert call(*words, "--force").exit_code == 0


def test_labels_keep_their_values(call, tmp_path, bend):
    labels = np.random.default_rng(1).choice(np.array([0, 1000, 1001, 60000], np.uint16), SIZE)
    iio.imwrite(tmp_path / "labels.png", labels)
    write_transform(tmp_path / "t.json", bend)
    assert call("warp", "labels.png", "-t", "t.json", "--labels", "-o", "b.png").exit_code == 0
    out = iio.imread(tmp_path / "b.png")
    assert set(np.unique(out)) == {0, 1000, 1001, 60000}
    assert_array_equal(out, warp(labels, bend, interpolation="nearest"))


@pytest.mark.usefixtures("image")
def test_labels_are_not_interpolated(call, tmp_path, bend):
    write_transform(tmp_path / "t.json", bend)
    words = ["warp", "a.png", "-t", "t.json", "--labels", "-o", "b.png", "--interpolation"]
    result = call(*words, "cubic")
    assert result.exit_code == 2
    assert "--labels copies pixels, so --interpolation cubic has no meaning with it" in result.stderr
    assert call(*words, "nearest").exit_code == 0


def test_the_grid_may_be_that_of_another_image(call, image, tmp_path, turn):
    iio.imwrite(tmp_path / "grid.png", np.zeros((33, 22, 3), np.uint8))
    write_transform(tmp_path / "t.json", turn)
    options = ["--interpolation", "lanczos", "--fill", "9"]
    assert call("warp", "a.png", "-t", "t.json", "--like", "grid.png", *options, "-o", "b.png").exit_code == 0
    expected = warp(image, turn, shape=(33, 22), interpolation="lanczos", fill=9)
    assert_array_equal(iio.imread(tmp_path / "b.png"), expected)


def test_a_transform_that_says_no_size_keeps_the_grid_of_the_image(call, image, tmp_path):
    (tmp_path / "t.tfm").write_text(
        "#Insight Transform File V1.0\n#Transform 0\nTransform: TranslationTransform_double_2_2\n"
        "Parameters: 3 -2\nFixedParameters:\n"
    )
    result = call("warp", "a.png", "-t", "t.tfm", "-o", "b.png", "--json")
    assert result.exit_code == 0
    record = json.loads(result.stdout)
    assert record["shape"] == list(SIZE)
    assert record["parameters"]["transform"] == ["t.tfm"]
    out = iio.imread(tmp_path / "b.png")
    assert_array_equal(out[2:, :-3], image[:-2, 3:])
    assert not out[:2].any()
    assert not out[:, -3:].any()
