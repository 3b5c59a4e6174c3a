"""The histogram kernels, every build of them, against dense matrices of B-spline weights."""

import numpy as np
import pytest
from references import cubic_rows, cubic_slope

from imgtool import _ext


@pytest.fixture
def rng():
    return np.random.default_rng(3)


def samples(rng, count, bins, dtype):
    """Positions over the whole allowed range, both ends and whole numbers among them, some missing."""
    positions = rng.uniform(1, bins - 2, count).astype(dtype)
    positions[:4] = 1, bins - 2, 1, bins - 2
    positions[4:8] = np.rint(positions[4:8])
    positions[rng.random(count) < 0.2] = np.nan
    return positions


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("bins", [4, 6, 17, 64])
@pytest.mark.parametrize("count", [9, 128, 1000])
def test_the_joint_histogram_is_the_sum_of_windows(isa, rng, dtype, bins, count):
    fixed, warped = samples(rng, count, bins, dtype), samples(rng, count, bins, dtype)
    table = np.zeros((bins, bins))
    _ext.joint_histogram(fixed, warped, table, 0, count)
    both = ~np.isnan(fixed) & ~np.isnan(warped)
    expected = cubic_rows(fixed[both], bins).T @ cubic_rows(warped[both], bins)
    tolerance = 1e-12 if dtype is np.float64 else 3e-7 * count
    np.testing.assert_allclose(table, expected, atol=tolerance)
    assert table.sum() == pytest.approx(np.count_nonzero(both), rel=1e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("bins", [4, 6, 33])
def test_slopes_are_windowed_sums_over_the_table(isa, rng, dtype, bins):
    fixed, warped = samples(rng, 500, bins, dtype), samples(rng, 500, bins, dtype)
    table = rng.standard_normal((bins, bins)).astype(dtype)
    out = np.full(500, np.nan, dtype)
    _ext.sample_slopes(fixed, warped, table, 1.0, bins - 2.0, out, 0, 500)
    expected = ((cubic_rows(fixed, bins) @ table) * cubic_rows(warped, bins, cubic_slope)).sum(axis=1)
    expected[np.isnan(fixed + warped) | (warped == 1) | (warped == bins - 2)] = 0
    np.testing.assert_allclose(out, expected, atol=1e-12 if dtype is np.float64 else 3e-6)


def test_samples_at_the_limits_have_no_slope(isa, rng):
    warped = np.array([2, 2.5, 13, 12.9])
    out = np.ones(4)
    _ext.sample_slopes(np.full(4, 7.3), warped, rng.standard_normal((16, 16)), 2.0, 13.0, out, 0, 4)
    assert (out == 0).tolist() == [True, False, True, False]


def test_only_the_asked_for_samples_are_read_and_written(isa, rng):
    fixed, warped = rng.uniform(2, 12, (2, 300))
    whole, parts = np.zeros((16, 16)), np.zeros((16, 16))
    _ext.joint_histogram(fixed, warped, whole, 0, 300)
    for start, stop in ((0, 7), (7, 150), (150, 150), (150, 300)):
        _ext.joint_histogram(fixed, warped, parts, start, stop)
    np.testing.assert_allclose(parts, whole, rtol=1e-13)
    out = np.full(300, 9.0)
    _ext.sample_slopes(fixed, warped, whole, 1.0, 14.0, out, 20, 290)
    assert (out[:20] == 9).all()
    assert (out[290:] == 9).all()
    assert (out[20:290] != 9).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_bin_coordinates_are_affine_inside_the_limits_and_nan_where_there_is_no_number(isa, dtype):
    values = np.array([-5, 0, 1, 4, 99, np.nan, np.inf, -np.inf], dtype)
    out = np.empty_like(values)
    _ext.bin_coordinates(values, 0.0, 2.0, 2.0, 10.0, out, 0, values.size)
    np.testing.assert_array_equal(out, [2, 2, 4, 10, 10, np.nan, np.nan, np.nan])
