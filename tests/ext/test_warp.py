"""The resampling kernels, every build of them, against SciPy and plain NumPy."""

import numpy as np
import pytest
from scipy import ndimage

from imgtool import _ext

TURN = np.array([[0.9, -0.35, 4.3], [0.3, 1.05, -3.7], [0, 0, 1.0]])
SHRINK = np.array([[0.3, 0.05, 0.2], [0.02, 0.4, 0.1], [0, 0, 1.0]])


@pytest.fixture
def rng():
    return np.random.default_rng(5)


def positions(matrix, shape, size):
    """Columns and rows of the input under each output pixel, held on the image, and whether they are inside."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    x, y = (matrix[i, 0] * x + matrix[i, 1] * y + matrix[i, 2] for i in (0, 1))
    inside = (x >= -0.5) & (x <= size[1] - 0.5) & (y >= -0.5) & (y <= size[0] - 0.5)
    return np.clip(x, 0, size[1] - 1), np.clip(y, 0, size[0] - 1), inside


@pytest.mark.parametrize("bits", [np.uint8, np.uint16, np.uint32, np.uint64])
def test_nearest_copies_every_bit_pattern_also_from_strided_planes(isa, rng, bits):
    image = rng.integers(0, np.iinfo(bits).max, (30, 50, 2), dtype=bits)[::-1, :, 1]
    out = np.empty((20, 33), bits)
    matrix = TURN + [[0, 0, np.pi / 100], [0, 0, np.pi / 100], [0, 0, 0]]  # no position is half way
    _ext.warp_nearest(image, matrix, 7, out, 0, 20)
    x, y, within = positions(matrix, out.shape, image.shape)
    expected = np.full(out.shape, 7, bits)
    expected[within] = image[np.floor(y[within] + 0.5).astype(int), np.floor(x[within] + 0.5).astype(int)]
    np.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("size", [(40, 50), (5, 7), (2, 3), (1, 6), (9, 1), (1, 1)])
@pytest.mark.parametrize("matrix", [TURN, SHRINK])
@pytest.mark.parametrize("order", [1, 3])
def test_linear_and_cubic_agree_with_scipy(isa, rng, dtype, size, matrix, order):
    image = rng.standard_normal(size).astype(dtype)
    out = np.empty((31, 42), dtype)
    if order == 1:
        _ext.warp_linear(image, matrix, 9.0, out, 0, 31)
    else:
        coefficients = image.copy()
        _ext.spline_columns(coefficients, 0, size[1])
        coefficients = np.ascontiguousarray(coefficients.T)
        _ext.spline_columns(coefficients, 0, size[0])
        _ext.warp_cubic(np.ascontiguousarray(coefficients.T), matrix, 9.0, out, 0, 31)
    x, y, inside = positions(matrix, out.shape, size)
    expected = ndimage.map_coordinates(image.astype(np.float64), [y, x], order=order, mode="mirror")
    expected[~inside] = 9
    np.testing.assert_allclose(out, expected, atol=1e-12 if dtype is np.float64 else 2e-5)


@pytest.mark.parametrize("height", [1, 2, 3, 5, 39, 40, 41, 90])
def test_spline_coefficients_agree_with_scipy(isa, rng, height):
    image = rng.standard_normal((height, 6))
    out = image.copy()
    _ext.spline_columns(out, 1, 5)
    np.testing.assert_array_equal(out[:, [0, 5]], image[:, [0, 5]])
    expected = ndimage.spline_filter1d(image, order=3, axis=0, mode="mirror") if height > 1 else image
    np.testing.assert_allclose(out[:, 1:5], expected[:, 1:5], atol=1e-13)


def test_rounding_in_the_matrix_loses_no_border_pixel(isa):
    image = np.arange(12.0).reshape(3, 4)
    for shift in (0.5, -0.5):
        for error in (-1e-9, 0, 1e-9):
            matrix = np.eye(3) + [[0, 0, shift + error], [0, 0, 0], [0, 0, 0]]
            out = np.empty((3, 4))
            _ext.warp_linear(image, matrix, np.nan, out, 0, 3)
            np.testing.assert_allclose(out, np.clip(np.arange(4) + shift, 0, 3) + image[:, :1], atol=1e-7)


def test_only_the_asked_for_rows_are_written(isa, rng):
    out = np.full((10, 10), 5.0)
    _ext.warp_linear(rng.standard_normal((10, 10)), np.eye(3), 0.0, out, 3, 6)
    assert (out[[0, 1, 2, 6, 7, 8, 9]] == 5).all()
    assert (out[3:6] != 5).all()


NO_OFFSETS = np.zeros((2, 1, 1))


def sampled(image, matrix, shape, offsets=NO_OFFSETS):
    value, along_x, along_y = (np.full(shape, 3, image.dtype) for _ in range(3))
    _ext.sample_affine(image, matrix, offsets, value, along_x, along_y, 0, shape[0])
    return value, along_x, along_y


def test_sampling_gives_the_linear_interpolant_and_its_derivatives(isa, rng):
    image = rng.standard_normal((30, 40)).astype(np.float32)
    value, along_x, along_y = sampled(image, TURN, (25, 30))
    expected = np.empty((25, 30))
    _ext.warp_linear(image.astype(np.float64), TURN, np.nan, expected, 0, 25)
    np.testing.assert_allclose(value, expected, atol=1e-5)
    x, y, whole = positions(TURN, value.shape, image.shape)
    # Central differences that stay within one cell of the interpolant are exact up to rounding.
    step = 1e-3
    for along, other, derivative, change in ((x, y, along_x, (0, step)), (y, x, along_y, (step, 0))):
        one_cell = whole & (np.abs(along % 1 - 0.5) < 0.49) & (np.abs(other % 1 - 0.5) < 0.499)
        ends = [
            ndimage.map_coordinates(image.astype(float), [y + s * change[0], x + s * change[1]], order=1)
            for s in (1, -1)
        ]
        numeric = (ends[0] - ends[1]) / (2 * step)
        assert one_cell.sum() > 100
        np.testing.assert_allclose(derivative[one_cell], numeric[one_cell], atol=1e-5)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_offsets_move_the_output_positions_and_repeat_like_tiles(isa, rng, dtype):
    image = rng.standard_normal((30, 40)).astype(dtype)
    offsets = rng.uniform(-0.5, 0.5, (2, 3, 4))
    value, _, _ = sampled(image, TURN, (20, 30), offsets)
    x, y = np.meshgrid(np.arange(30.0), np.arange(20.0))
    over = np.tile(offsets, (1, 7, 8))[:, :20, :30]
    u, v = (row[0] * (x + over[0]) + row[1] * (y + over[1]) + row[2] for row in TURN[:2])
    expected = ndimage.map_coordinates(image.astype(float), [v, u], order=1, mode="nearest")
    expected[(u < -0.5) | (u > 39.5) | (v < -0.5) | (v > 29.5)] = np.nan
    np.testing.assert_allclose(value, expected, atol=1e-12 if dtype is np.float64 else 1e-5)


def test_samples_outside_or_beside_a_missing_pixel_are_missing_and_flat(isa, rng):
    image = rng.standard_normal((8, 9)).astype(np.float32)
    image[4, 4] = np.nan
    shift = np.array([[1, 0, 1.25], [0, 1, 1.25], [0, 0, 1.0]])
    value, along_x, along_y = sampled(image, shift, (8, 9))
    missing = np.zeros((8, 9), bool)
    missing[7], missing[:, 8], missing[2:4, 2:4] = True, True, True
    # In the half pixel beyond the outermost centres the image goes on and is flat across the border.
    assert not along_x[:, 7].any()
    assert not along_y[6].any()
    assert along_y[:2, 7].all()
    np.testing.assert_array_equal(np.isnan(value), missing)
    assert not along_x[missing].any()
    assert not along_y[missing].any()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_affine_sums_are_derivatives_with_respect_to_the_matrix(isa, rng, dtype):
    slope, along_x, along_y = rng.standard_normal((3, 12, 17)).astype(dtype)
    offsets = rng.uniform(-0.5, 0.5, (2, 4, 5))
    sums = np.zeros((2, 3))
    _ext.affine_sums(slope, along_x, along_y, offsets, sums, 0, 5)
    _ext.affine_sums(slope, along_x, along_y, offsets, sums, 5, 12)
    x, y = np.meshgrid(np.arange(17.0), np.arange(12.0))
    over = np.tile(offsets, (1, 3, 4))[:, :12, :17]
    points = np.stack([x + over[0], y + over[1], np.ones_like(x)])
    field = np.stack([along_x, along_y]).astype(float) * slope
    np.testing.assert_allclose(sums, np.einsum("iyx,jyx->ij", field, points), rtol=1e-10, atol=1e-10)
