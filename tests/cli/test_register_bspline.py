"""imgtool register -m bspline: what is written, and what is refused."""

import json

import imageio.v3 as iio
import numpy as np
import pytest

from imgtool.registration import register
from imgtool.transforms import BSplineTransform, Transform, warp


@pytest.fixture
def pair(picture):
    picture("fixed.png", shape=(96, 80))
    picture("moving.png", shape=(96, 80), shift=(3, -2))


@pytest.mark.usefixtures("pair")
def test_the_deformation_is_written_and_warps_the_image(call, tmp_path):
    result = call(
        "register", "fixed.png", "moving.png", "-m", "bspline", "--grid-spacing", 20, "-o", "out.png", "-t", "t.json"
    )
    assert (result.exit_code, result.stderr) == (0, "")
    transform = Transform.from_dict(json.loads((tmp_path / "t.json").read_text()))
    fixed, moving = (iio.imread(tmp_path / f"{name}.png") for name in ("fixed", "moving"))
    expected = register(fixed, moving, model="bspline", grid_spacing=20).transform
    assert isinstance(transform, BSplineTransform)
    np.testing.assert_array_equal(transform.coefficients, expected.coefficients)
    np.testing.assert_array_equal(iio.imread(tmp_path / "out.png"), warp(moving, transform))
    assert (transform.jacobian_determinant() > 0).all()


@pytest.mark.usefixtures("pair")
@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["-m", "bspline", "--grid-spacing", "0.5"], "grid_spacing must be a number of pixels from 1 on, not 0.5"),
        (["-m", "bspline", "--grid-spacing", "nan"], "grid_spacing must be a number of pixels from 1 on"),
        (["-m", "rigid", "--grid-spacing", "8"], "--grid-spacing is for -m bspline; the model is rigid"),
    ],
)
def test_a_spacing_that_makes_no_grid_is_wrong_usage(call, files, options, sentence):
    result = call("register", "fixed.png", "moving.png", *options, "-o", "out.png")
    assert result.exit_code == 2
    assert sentence in " ".join(result.stderr.split())
    assert files() == ["fixed.png", "moving.png"]
