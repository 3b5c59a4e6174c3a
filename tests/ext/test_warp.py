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


def window(image, taps):
    """An image with the mirrored pixels around it that interpolation reads, and the place of its first pixel."""
    before, after = {2: (0, 1), 4: (1, 2), 6: (2, 5)}[taps]
    padded = np.full([size + before + after for size in image.shape], np.nan, image.dtype)
    if taps == 4:
        assert _ext.spline_coefficients(image, padded, before, after) == 0
    else:
        padded[before : before + image.shape[0], before : before + image.shape[1]] = image
        _ext.mirror_border(padded, before, after)
    return padded, -before


def warped(image, matrix, shape, taps, fill=9.0):
    padded, origin = window(image, taps)
    out = np.empty(shape, image.dtype)
    places = _ext.Places(matrix, None, 0, 0, origin, origin, *image.shape)
    _ext.warp_real(padded, places, taps, fill, out)
    return out


@pytest.mark.parametrize("bits", [np.uint8, np.uint16, np.uint32, np.uint64])
def test_nearest_copies_every_bit_pattern_also_from_strided_planes(isa, rng, bits):
    image = rng.integers(0, np.iinfo(bits).max, (30, 50, 2), dtype=bits)[::-1, :, 1]
    out = np.empty((20, 33, 3), bits)[..., 1]
    matrix = TURN + [[0, 0, np.pi / 100], [0, 0, np.pi / 100], [0, 0, 0]]  # no position is half way
    _ext.warp_nearest(image, _ext.Places(matrix, None, 0, 0, 0, 0, 30, 50), 7, out)
    x, y, within = positions(matrix, out.shape, image.shape)
    expected = np.full(out.shape, 7, bits)
    expected[within] = image[np.floor(y[within] + 0.5).astype(int), np.floor(x[within] + 0.5).astype(int)]
    np.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("size", [(40, 50), (5, 7), (2, 3), (1, 6), (9, 1), (1, 1)])
@pytest.mark.parametrize("matrix", [TURN, SHRINK])
@pytest.mark.parametrize("taps", [2, 4])
def test_linear_and_cubic_agree_with_scipy(isa, rng, dtype, size, matrix, taps):
    image = rng.standard_normal(size).astype(dtype)
    out = warped(image, matrix, (31, 42), taps)
    x, y, inside = positions(matrix, out.shape, size)
    expected = ndimage.map_coordinates(image.astype(np.float64), [y, x], order=taps - 1, mode="mirror")
    expected[~inside] = 9
    np.testing.assert_allclose(out, expected, atol=1e-12 if dtype is np.float64 else 2e-5)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("size", [(40, 50), (5, 7), (1, 6), (1, 1)])
@pytest.mark.parametrize("matrix", [TURN, SHRINK])
def test_lanczos_is_the_windowed_sinc(isa, rng, dtype, size, matrix):
    image = rng.standard_normal(size).astype(dtype)
    out = warped(image, matrix, (31, 42), 6)
    x, y, inside = positions(matrix, out.shape, size)

    def weighted(place, length):
        """For each position a row of weights on the pixels of an axis, the mirrored ones added to their originals."""
        taps = np.floor(place).astype(int)[..., None] + np.arange(-2, 4)
        weights = np.sinc(place[..., None] - taps) * np.sinc((place[..., None] - taps) / 3)
        weights /= weights.sum(axis=-1, keepdims=True)
        period = max(2 * length - 2, 1)
        taps = (length - 1) - np.abs(taps % period - (length - 1)) if length > 1 else 0 * taps
        return (weights[..., None] * (taps[..., None] == np.arange(length))).sum(axis=-2)

    expected = np.einsum("rcy,yx,rcx->rc", weighted(y, size[0]), image.astype(float), weighted(x, size[1]))
    np.testing.assert_allclose(out[inside], expected[inside], atol=1e-9 if dtype is np.float64 else 5e-6)
    assert (out[~inside] == 9).all()


@pytest.mark.parametrize("taps", [2, 4, 6])
@pytest.mark.parametrize("matrix", [TURN, TURN + [[0, 0, 0], [0, 0, 0], [0.01, 0.004, 0]]])
def test_given_positions_and_windows_change_nothing(isa, rng, taps, matrix):
    image = rng.standard_normal((40, 300))
    whole = warped(image, matrix, (20, 280), taps)
    padded, origin = window(image, taps)
    y, x = np.mgrid[3:20, 5:280]
    w = matrix[2, 0] * x + matrix[2, 1] * y + 1
    given = np.stack([(row[0] * x + row[1] * y + row[2]) / w for row in matrix[:2]])
    out = np.empty((17, 275, 2))
    _ext.warp_real(padded, _ext.Places(None, given, 3, 5, origin, origin, 40, 300), taps, 9.0, out[..., 1])
    np.testing.assert_allclose(out[..., 1], whole[3:, 5:], atol=1e-10)
    _ext.warp_real(padded, _ext.Places(matrix, None, 3, 5, origin, origin, 40, 300), taps, 9.0, out[..., 0])
    np.testing.assert_allclose(out[..., 0], whole[3:, 5:], atol=1e-12)


def test_beyond_the_horizon_of_a_projective_map_there_is_nothing(isa):
    matrix = np.array([[1, 0, 0], [0, 1, 0], [-0.1, 0, 1.0]])
    out = np.empty((4, 30))
    _ext.warp_real(np.ones((60, 60)), _ext.Places(matrix, None, 0, 0, 0, 0, 60, 60), 2, -1.0, out)
    assert (out[:, 10:] == -1).all()
    assert (out[:, :8] == 1).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("size", [(1, 9), (2, 2), (3, 40), (39, 3), (41, 90), (200, 300)])
def test_spline_coefficients_agree_with_scipy(isa, rng, dtype, size):
    image = rng.standard_normal(size).astype(dtype)
    padded, _ = window(image, 4)
    expected = image.astype(np.float64)
    for axis in (0, 1):
        if size[axis] > 1:
            expected = ndimage.spline_filter1d(expected, order=3, axis=axis, mode="mirror")
    expected = np.pad(expected, (1, 2), mode="reflect" if min(size) > 1 else "edge")
    if min(size) > 1:
        np.testing.assert_allclose(padded, expected, atol=1e-12 if dtype is np.float64 else 3e-6)
    else:
        np.testing.assert_allclose(
            padded[1:-2, 1:-2], expected[1:-2, 1:-2], atol=1e-12 if dtype is np.float64 else 3e-6
        )


def test_rounding_in_the_matrix_loses_no_border_pixel(isa):
    image = np.arange(12.0).reshape(3, 4)
    for shift in (0.5, -0.5):
        for error in (-1e-9, 0, 1e-9):
            matrix = np.eye(3) + [[0, 0, shift + error], [0, 0, 0], [0, 0, 0]]
            out = warped(image, matrix, (3, 4), 2, np.nan)
            np.testing.assert_allclose(out, np.clip(np.arange(4) + shift, 0, 3) + image[:, :1], atol=1e-7)


@pytest.mark.parametrize("taps", [2, 4, 6])
def test_on_the_pixels_themselves_the_image_is_what_it_was(isa, rng, taps):
    image = rng.standard_normal((9, 11))
    quarter_turn = np.array([[0, -1, 8], [1, 0, 0], [0, 0, 1.0]])
    out = warped(image, quarter_turn, (11, 9), taps)
    expected = np.array([[image[c, 8 - r] if r <= 8 else 9 for c in range(9)] for r in range(11)])
    np.testing.assert_allclose(out, expected, atol=1e-9)


def test_a_missing_pixel_of_weight_0_does_not_count_in_linear_interpolation(isa):
    image = np.array([[1.0, np.nan, 3.0], [4.0, np.inf, 6.0], [7.0, 8.0, 9.0]])
    out = warped(image, np.array([[2.0, 0, 0], [0, 2.0, 0], [0, 0, 1]]), (2, 2), 2)
    np.testing.assert_array_equal(out, [[1, 3], [7, 9]])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_missing_values_are_counted_and_filled_from_beside(isa, dtype):
    nan, inf = np.nan, np.inf
    values = np.array([[nan] * 5, [nan, 2, inf, -inf, 5], [nan] * 5, [6, 7, 8, 9, nan]], dtype)
    window = np.full((4 + 3, 5 + 3), 99, dtype)
    window[1:5, 1:6] = values
    assert _ext.spline_coefficients(values, window, 1, 2) == 5 + 3 + 5 + 1
    np.testing.assert_array_equal(window[1:5, 1:6], values)
    assert _ext.fill_missing(window, 1, 2) == 5 + 3 + 5 + 1
    row = [2, 2, 2, 2, 5]
    np.testing.assert_array_equal(window[1:5, 1:6], [row, row, row, [6, 7, 8, 9, 9]])
    assert (window[[0, 5, 6]] == 99).all()
    assert (window[:, [0, 6, 7]] == 99).all()
    nothing = np.full((4, 5), nan, dtype)
    assert _ext.fill_missing(nothing, 0, 0) == 20
    assert not nothing.any()


def test_coefficients_may_be_written_in_place(isa, rng):
    image = rng.standard_normal((9, 40))
    apart, plane = np.zeros((12, 43)), np.zeros((12, 43))
    plane[1:10, 1:41] = image
    _ext.spline_coefficients(image, apart, 1, 2)
    _ext.spline_coefficients(plane[1:10, 1:41], plane, 1, 2)
    np.testing.assert_array_equal(apart, plane)


@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8"])
@pytest.mark.parametrize("real", [np.float32, np.float64])
def test_values_are_rounded_half_to_even_and_saturated(isa, dtype, real):
    limits = np.iinfo(dtype)
    values = np.array([[0.5, 1.5, 2.5, 99.6, 1e30], [np.nan, -0.5, -1e30, np.inf, -np.inf]], real)
    out = np.zeros((2, 5, 2), dtype)
    _ext.round_into(values, out[..., 1])
    assert out[0, :, 1].tolist() == [0, 2, 2, 100, limits.max]
    assert out[1, :, 1].tolist() == [0, 0, limits.min, limits.max, limits.min]
    assert not out[..., 0].any()


@pytest.mark.parametrize("count", [1, 7, 8, 9, 100])
def test_the_extent_of_positions_leaves_out_what_is_no_number(isa, rng, count):
    positions = rng.standard_normal((2, 1, count))
    expected = [*np.sort(positions[0, 0])[[0, -1]], *np.sort(positions[1, 0])[[0, -1]]]
    assert _ext.extent(positions) == tuple(expected)
    holes = np.full((2, 2, count), np.nan)
    holes[:, 1] = positions[:, 0]
    assert _ext.extent(holes) == tuple(expected)
    assert _ext.extent(holes[:, :1].copy()) == (np.inf, -np.inf, np.inf, -np.inf)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_field_moves_points_linearly_and_goes_on_beyond_its_border(isa, rng, dtype):
    field = rng.standard_normal((6, 8, 2)).astype(dtype)
    points = rng.uniform(-4, 12, (2, 30, 5))
    out = np.empty_like(points)
    _ext.displace(field, points, out)
    for component in (0, 1):
        moved = ndimage.map_coordinates(field[..., component].astype(float), points[::-1], order=1, mode="nearest")
        np.testing.assert_allclose(out[component], points[component] + moved, atol=1e-12)
    pixels = np.empty((2, 3, 4))
    _ext.displace_pixels(field, 2, 3, pixels)
    np.testing.assert_allclose(pixels[0], np.arange(3, 7) + field[2:5, 3:7, 0].astype(float))
    np.testing.assert_allclose(pixels[1], np.arange(2, 5)[:, None] + field[2:5, 3:7, 1].astype(float))
