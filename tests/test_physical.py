"""Registration where pixels have sizes."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scenes import texture

from imgtool import physical
from imgtool.errors import ImgtoolError
from imgtool.registration import register
from imgtool.transforms import MatrixTransform, warp

POINTS = [[20, 20], [70, 30], [40, 60]]


def sampled(shape, spacing, place=lambda x, y: (x, y)):
    """The texture, by millimetres, on pixels of a size, the origin at the corner of the first pixel."""
    y, x = np.indices(shape)
    return texture(*place((x + 0.5) * spacing[0], (y + 0.5) * spacing[1]))


def turned(angle):
    """A rotation about (48, 40) mm as a function of places, with its matrix in millimetres."""
    cos, sin = np.cos(angle), np.sin(angle)
    about = np.array([[cos, -sin, 48 - cos * 48 + sin * 40], [sin, cos, 40 - sin * 48 - cos * 40], [0, 0, 1]])
    return about, lambda x, y: (
        about[0, 0] * x + about[0, 1] * y + about[0, 2],
        about[1, 0] * x + about[1, 1] * y + about[1, 2],
    )


def in_millimetres(spacing):
    return np.array([[spacing[0], 0, spacing[0] / 2], [0, spacing[1], spacing[1] / 2], [0, 0, 1]])


@pytest.mark.parametrize("sizes", [((1, 1), (1, 2)), ((1, 1), (2, 2)), ((0.5, 1), (1, 1)), ((2, 1), (1, 2))], ids=str)
def test_a_rotation_is_rigid_in_millimetres_whatever_the_pixels(sizes):
    fixed_size, moving_size = sizes
    about, back = turned(-0.12)
    fixed = sampled((round(80 / fixed_size[1]), round(96 / fixed_size[0])), fixed_size)
    moving = sampled((round(80 / moving_size[1]), round(96 / moving_size[0])), moving_size, back)
    found = physical.register(fixed, moving, fixed_size, moving_size, model="rigid", search="none")
    expected = np.linalg.inv(in_millimetres(moving_size)) @ np.linalg.inv(about) @ in_millimetres(fixed_size)
    points = np.array(POINTS) / fixed_size
    truth = np.column_stack([points, np.ones(3)]) @ expected[:2].T
    assert_allclose((found.transform(points) - truth) * moving_size, 0, atol=0.25)
    assert found.transform.model == "affine"
    assert found.warped.shape == fixed.shape


def test_equal_square_pixels_change_nothing():
    fixed, moving = sampled((64, 60), (1, 1)), sampled((64, 60), (1, 1), lambda x, y: (x + 2, y - 1))
    plain = register(fixed, moving, model="rigid")
    spaced = physical.register(fixed, moving, (0.3, 0.3), (0.3, 0.3), model="rigid")
    assert_allclose(spaced.transform.matrix, plain.transform.matrix, atol=1e-9)
    assert spaced.transform.model == "rigid"
    assert_array_equal(spaced.warped, warp(moving, spaced.transform))


def test_an_initial_transform_is_told_in_pixels():
    fixed, moving = sampled((64, 64), (1, 1)), sampled((32, 64), (1, 2), lambda x, y: (x + 9, y))
    start = MatrixTransform([[1, 0, -8.5], [0, 0.5, -0.25], [0, 0, 1]], "affine", (64, 64), (32, 64))
    found = physical.register(fixed, moving, (1, 1), (1, 2), model="translation", initial=start, search="none")
    assert_allclose(found.transform([[30, 30]]), [[21, 14.75]], atol=0.2)


def test_masks_count_on_the_common_grid():
    fixed, moving = sampled((64, 64), (1, 1)), sampled((64, 64), (1, 1), lambda x, y: (x + 3, y))
    fixed[:, 40:] = np.random.default_rng(0).normal(size=(64, 24)) * 3
    mask = np.zeros((64, 64), bool)
    mask[:, :38] = True
    found = physical.register(fixed, moving[::2], (1, 1), (1, 2), fixed_mask=mask, model="translation", search="none")
    assert_allclose(found.transform([[20, 20]])[0, 0], 17, atol=0.2)


@pytest.mark.parametrize("spacings", [((1, 1), (1, 2)), ((2, 1), (1, 1)), ((0.5, 1), (0.5, 0.5))])
def test_a_deformation_is_told_in_pixels(spacings):
    def bulge(x, y):
        return x + 1.5 * np.sin(y / 12), y + 1.5 * np.cos(x / 12)

    shapes = [(round(96 / y), round(96 / x)) for x, y in spacings]
    fixed = sampled(shapes[0], spacings[0], bulge)
    moving = sampled(shapes[1], spacings[1])
    found = physical.register(fixed, moving, *spacings, model="bspline", grid_spacing=14, search="none")
    points = np.array([[30, 30], [50, 40], [60, 66.0]])
    fixed_size, moving_size = np.array(spacings)
    moved = (found.transform(points / fixed_size - 0.5) + 0.5) * moving_size
    assert_allclose(moved, np.transpose(bulge(*points.T)), atol=0.15)
    assert found.transform.fixed_shape == shapes[0]
    assert found.transform.moving_shape == shapes[1]
    assert found.transform.least_determinant() > 0


def test_control_points_finer_than_the_common_grid_are_refused():
    with pytest.raises(ImgtoolError, match=r"is less than the common pixel size of both images; use 2 or more"):
        physical.register(np.eye(64), np.eye(32), (1, 1), (2, 2), model="bspline", grid_spacing=1.5)


@pytest.mark.parametrize(
    ("spacing", "said"),
    [
        ((0, 1), "spacing must be two numbers above 0"),
        ((1, np.nan), "spacing must be two numbers above 0"),
        ((1, 1e9), "check the spacing of both images"),
        ((100, 100), "at the common pixel size of 100 an image of 64x64 would have 1x1 pixels"),
    ],
)
def test_sizes_that_cannot_be_are_refused(spacing, said):
    with pytest.raises(ImgtoolError, match=said):
        physical.register(np.eye(64), np.eye(64), (1, 1), spacing)
