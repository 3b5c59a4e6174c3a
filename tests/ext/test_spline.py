"""The B-spline kernels, every build of them, against SciPy and plain NumPy."""

import numpy as np
import pytest
from scipy import ndimage
from scipy.interpolate import BSpline

from imgtool import _ext


@pytest.fixture
def rng():
    return np.random.default_rng(11)


def table(positions, origin, spacing, cells, order=0, dtype=np.float64):
    first = np.empty(len(positions), np.int32)
    weights = np.empty((4, len(positions)), dtype)
    _ext.spline_axis(np.asarray(positions, float), origin, spacing, cells, order, first, weights)
    return first, weights


def matrix(first, weights, points):
    """The table as a dense matrix (positions, control points)."""
    out = np.zeros((len(first), points))
    for k in range(4):
        out[np.arange(len(first)), first + k] += weights[k]
    return out


@pytest.mark.parametrize("order", [0, 1, 2])
def test_tables_are_the_basis_functions_of_scipy_and_their_derivatives(isa, rng, order):
    origin, spacing, cells = -0.5, 2.75, 6
    positions = rng.uniform(origin, origin + cells * spacing, 200)
    knots = origin + spacing * np.arange(-3, cells + 4)
    expected = BSpline(knots, np.eye(cells + 3), 3)(positions, nu=order)
    np.testing.assert_allclose(
        matrix(*table(positions, origin, spacing, cells, order), cells + 3), expected, atol=1e-13
    )


def test_the_grid_ends_with_its_border_values_and_no_slope(isa):
    outside = [-1e300, -9.0, 12.0, np.inf, np.nan]
    _, ends = table([-0.5, -0.5, 11.5, 11.5, -0.5], -0.5, 3, 4)
    first, weights = table(outside, -0.5, 3, 4)
    assert first.tolist() == [0, 0, 3, 3, 0]
    np.testing.assert_array_equal(weights, ends)
    assert not table(outside[:4], -0.5, 3, 4, 1)[1].any()
    assert not table(outside[:4], -0.5, 3, 4, 2)[1].any()
    assert table([-0.5, 11.5], -0.5, 3, 4, 1)[1].any(axis=0).all()


# Rows that share a control row, that use each one, and that leave some out.
SPACINGS = [7.3, 1.0, 0.21]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("shape", [(31, 45), (1, 70), (23, 1)])
def test_a_field_is_the_tensor_product_of_its_tables(isa, rng, dtype, spacing, shape):
    cells = [int(np.ceil(size / spacing)) for size in shape]
    control = rng.standard_normal([count + 3 for count in cells]).astype(dtype)
    rows, columns = (
        table(np.arange(size), -0.5, spacing, count, 0, dtype) for size, count in zip(shape, cells, strict=True)
    )
    out = np.empty(shape, dtype)
    _ext.spline_field(control, *columns, *rows, out)
    expected = matrix(*rows, cells[0] + 3) @ control @ matrix(*columns, cells[1] + 3).T
    np.testing.assert_allclose(out, expected, atol=1e-13 if dtype is np.float64 else 3e-6)


@pytest.mark.parametrize("spacing", SPACINGS)
def test_the_adjoint_passes_the_dot_product_test_also_in_parts(isa, rng, spacing):
    shape = 37, 50
    cells = [int(np.ceil(size / spacing)) for size in shape]
    control, field = rng.standard_normal([count + 3 for count in cells]), rng.standard_normal(shape)
    rows, columns = (table(np.arange(size), -0.5, spacing, count) for size, count in zip(shape, cells, strict=True))
    forward, adjoint = np.empty(shape), np.zeros_like(control)
    _ext.spline_field(control, *columns, *rows, forward)
    for start, stop in ((0, 9), (9, 9), (9, 10), (10, 37)):
        first, weights = rows[0][start:stop], np.ascontiguousarray(rows[1][:, start:stop])
        base = first[0] if len(first) else 0
        _ext.spline_adjoint(field[start:stop], *columns, first, weights, adjoint[base:], base)
    one, other = np.vdot(forward, field), np.vdot(control, adjoint)
    assert abs(one - other) <= 1e-12 * np.linalg.norm(forward) * np.linalg.norm(field)


def test_the_adjoint_of_single_precision_adds_in_double(isa, rng):
    field = rng.standard_normal((40, 300)).astype(np.float32)
    rows, columns = (table(np.arange(size), -0.5, 8, size // 8 + 1, 0, np.float32) for size in field.shape)
    out = np.zeros((40 // 8 + 4, 300 // 8 + 4))
    _ext.spline_adjoint(field, *columns, *rows, out, 0)
    expected = matrix(*rows, out.shape[0]).T @ field.astype(float) @ matrix(*columns, out.shape[1])
    np.testing.assert_allclose(out, expected, atol=1e-4)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_points_read_the_same_field_as_crossings(isa, rng, dtype):
    control = rng.standard_normal((9, 11)).astype(dtype)
    rows, columns = table(rng.uniform(0, 30, 12), -0.5, 5, 6, 1, dtype), table(np.arange(12.0), -0.5, 4.5, 8, 0, dtype)
    out, diagonal = np.empty((12, 12), dtype), np.empty(12, dtype)
    order = np.argsort(rows[0], kind="stable")
    rows = rows[0][order], np.ascontiguousarray(rows[1][:, order])
    _ext.spline_field(control, *columns, *rows, out)
    _ext.spline_points(control, *columns, *rows, diagonal)
    np.testing.assert_allclose(diagonal, np.diag(out), rtol=1e-12 if dtype is np.float64 else 1e-5, atol=1e-6)


@pytest.mark.parametrize("left_out", [0, 1])
def test_refinement_does_not_change_the_field(isa, rng, left_out):
    control = rng.standard_normal((8, 9))
    fine = np.empty((13 - left_out, 15 - left_out))
    _ext.spline_refined(control, fine)
    positions = np.linspace(-0.5, 3.0 * (10 - left_out) / 2 - 0.5, 41)
    coarse_field, fine_field = np.empty((41, 41)), np.empty((41, 41))
    _ext.spline_field(control, *table(positions, -0.5, 3, 6), *table(positions, -0.5, 3, 5), coarse_field)
    halves = table(positions, -0.5, 1.5, 12 - left_out), table(positions, -0.5, 1.5, 10 - left_out)
    _ext.spline_field(fine, *halves[0], *halves[1], fine_field)
    np.testing.assert_allclose(fine_field, coarse_field, atol=1e-12)


def coefficients(image):
    """The cubic B-spline through the pixels, padded for sampling."""
    out = np.empty((image.shape[0] + 3, image.shape[1] + 3), image.dtype)
    out[1:-2, 1:-2] = image
    _ext.spline_coefficients(out[1:-2, 1:-2], out, 1, 2)
    return out


ABOUT = np.array([[0.9, -0.3, 5.0], [0.25, 1.1, -4.0], [0, 0, 1]])


def test_sampling_at_displaced_positions_gives_the_spline_and_its_slopes(isa, rng):
    image = rng.standard_normal((30, 40))
    columns, rows = np.arange(160) / 4 + 0.1, np.arange(33.0) - 0.2
    shift_x, shift_y = rng.uniform(-3, 3, (2, 33, 160))
    value, along_x, along_y = np.empty((3, 33, 160))
    places = ABOUT, columns, rows, shift_x, shift_y
    _ext.sample_displaced(coefficients(image), *places, -9.0, 9.0, value, along_x, along_y)
    x, y = columns + shift_x, rows[:, None] + shift_y
    x, y = (ABOUT[i, 0] * x + ABOUT[i, 1] * y + ABOUT[i, 2] for i in (0, 1))
    inside = (x >= -0.5) & (x <= 39.5) & (y >= -0.5) & (y <= 29.5)
    np.testing.assert_array_equal(np.isnan(value), ~inside)
    assert 0.2 < inside.mean() < 0.9
    assert not along_x[~inside].any()
    assert not along_y[~inside].any()

    def interpolated(x, y):
        return ndimage.map_coordinates(image, [np.clip(y, 0, 29), np.clip(x, 0, 39)], order=3, mode="mirror")

    np.testing.assert_allclose(value[inside], interpolated(x, y)[inside], atol=1e-10)
    step = 1e-5
    smooth = inside & (abs(x - 19.5) < 19) & (abs(y - 14.5) < 14)
    for along, dx, dy in ((along_x, step, 0), (along_y, 0, step)):
        numeric = (interpolated(x + dx, y + dy) - interpolated(x - dx, y - dy)) / (2 * step)
        np.testing.assert_allclose(along[smooth], numeric[smooth], atol=1e-7)
    assert not along_x[inside & ((x < 0) | (x > 39))].any()
    assert not along_y[inside & ((y < 0) | (y > 29))].any()


def test_values_beyond_the_limits_are_held_and_do_not_move(isa, rng):
    image = rng.standard_normal((20, 20))
    places = np.eye(3), np.arange(20.0), np.arange(20.0), *np.full((2, 20, 20), 0.3)
    free, held = np.empty((2, 3, 20, 20))
    _ext.sample_displaced(coefficients(image), *places, -9.0, 9.0, *free)
    _ext.sample_displaced(coefficients(image), *places, -0.2, 0.3, *held)
    np.testing.assert_array_equal(held[0], np.clip(free[0], -0.2, 0.3))
    moves = (free[0] > -0.2) & (free[0] < 0.3)
    assert 10 < moves.sum() < 390
    np.testing.assert_array_equal(held[1:], np.where(moves, free[1:], 0))


def test_samples_that_touch_a_missing_coefficient_are_missing_and_flat(isa, rng):
    padded = coefficients(rng.standard_normal((8, 9)).astype(np.float32))
    padded[1 + 4, 1 + 4] = np.nan
    value, along_x, along_y = np.ones((3, 8, 9), np.float32)
    still = np.full((2, 8, 9), 0.25, np.float32)
    _ext.sample_displaced(padded, np.eye(3), np.arange(9.0), np.arange(8.0), *still, -9.0, 9.0, value, along_x, along_y)
    missing = np.zeros((8, 9), bool)
    missing[2:6, 2:6] = True
    np.testing.assert_array_equal(np.isnan(value), missing)
    assert not along_x[missing].any()
    assert not along_y[missing].any()


def test_single_precision_samples_like_double(isa, rng):
    image, shift = rng.standard_normal((50, 60)), rng.uniform(-2, 2, (2, 50, 60)).astype(np.float32)
    results = []
    for dtype in (np.float32, np.float64):
        out = np.empty((3, 50, 60), dtype)
        places = ABOUT, np.arange(60.0), np.arange(50.0), *shift.astype(dtype)
        _ext.sample_displaced(coefficients(image.astype(dtype)), *places, -9.0, 9.0, *out)
        results.append(out)
    np.testing.assert_allclose(results[0], results[1], atol=1e-4)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("width", [5, 16, 45])
def test_weighing_multiplies_slopes_and_sums_what_is_there(isa, rng, dtype, width):
    weights = rng.integers(-127, 128, (7, width), dtype=np.int8)
    value, along_x, along_y = rng.standard_normal((3, 7, width)).astype(dtype)
    value[2, 1:4] = np.nan
    slopes = along_x.copy(), along_y.copy()
    total = _ext.weigh_slopes(weights, value, *slopes)
    share = weights / 127
    assert total == pytest.approx(np.nansum(share * value), abs=1e-5 if dtype is np.float32 else 1e-12)
    for slope, along in zip(slopes, (along_x, along_y), strict=True):
        np.testing.assert_allclose(slope, share * along, rtol=1e-6)
