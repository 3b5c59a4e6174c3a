"""The information of neighbours, every build of it, against plain NumPy."""

import numpy as np
import pytest
from scipy import ndimage

from imgtool import _ext

WINDOW = np.array([1, 3, 3, 1]) / 8


@pytest.fixture
def rng():
    return np.random.default_rng(5)


def pair(rng, shape, dtype=np.float64):
    """An image, and another that is a linear function of it but for noise; both with pixels missing."""
    fixed = ndimage.gaussian_filter(rng.standard_normal(shape), 1)
    warped = 0.4 - 0.7 * fixed + 0.1 * rng.standard_normal(shape)
    for image in (fixed, warped):
        image[rng.random(shape) < 0.05] = np.nan
    return fixed.astype(dtype), warped.astype(dtype)


def information(fixed, warped, noises, start=0, stop=None):
    """The kernel's sum and slopes."""
    slopes = np.full_like(warped, 7)
    return _ext.window_information(fixed, warped, *noises, start, len(fixed) if stop is None else stop, slopes), slopes


def by_hand(fixed, warped, noises):
    """The sum, window by window."""
    total = 0.0
    for top in range(-1, len(fixed) - 1, 2):
        for left in range(-1, fixed.shape[1] - 1, 2):
            rows, columns = (
                slice(max(first, 0), min(first + 4, size)) for first, size in zip((top, left), fixed.shape, strict=True)
            )
            f, w = fixed[rows, columns], warped[rows, columns]
            down, across = (
                WINDOW[part.start - first : part.stop - first] for part, first in ((rows, top), (columns, left))
            )
            there = np.isfinite(f) & np.isfinite(w)
            if there.any():
                weights = np.outer(down, across)[there]
                variances = np.cov(f[there], w[there], aweights=weights, ddof=0)
                variances += np.diag(noises)
                square = variances[0, 1] ** 2 / (variances[0, 0] * variances[1, 1])
                total -= 2 * weights.sum() * np.log(1 - square)
    return total


# Odd and even sizes, one window, and more columns than one block of windows.
@pytest.mark.parametrize("shape", [(9, 14), (8, 7), (2, 2), (1, 1), (5, 131)])
@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-9), (np.float32, 1e-4)])
def test_the_information_is_that_of_the_correlation_in_every_window(isa, rng, shape, dtype, tolerance):
    fixed, warped = pair(rng, shape, dtype)
    noises = 0.002, 0.003
    expected = by_hand(fixed.astype(float), warped.astype(float), noises)
    assert information(fixed, warped, noises)[0] == pytest.approx(expected, rel=tolerance, abs=1e-9)


def test_its_slopes_are_those_of_central_differences(isa, rng):
    fixed, warped = pair(rng, (9, 12))
    noises, step = (0.01, 0.02), 1e-6
    _, slopes = information(fixed, warped, noises)
    for index in np.ndindex(*fixed.shape):
        if np.isnan(fixed[index]) or np.isnan(warped[index]):
            assert slopes[index] == 0
            continue
        values = []
        for sign in (1, -1):
            moved = warped.copy()
            moved[index] += sign * step
            values.append(information(fixed, moved, noises)[0])
        assert slopes[index] == pytest.approx((values[0] - values[1]) / (2 * step), rel=1e-5, abs=1e-7)


def test_slabs_with_four_rows_around_them_have_the_sum_and_the_slopes_of_the_whole(isa, rng):
    fixed, warped = pair(rng, (23, 40))
    noises = 0.01, 0.01
    whole, slopes = information(fixed, warped, noises)
    total = 0.0
    for start in range(0, 23, 6):
        stop = min(start + 6, 23)
        first, last = max(start - 4, 0), min(stop + 4, 23)
        part, own = information(fixed[first:last], warped[first:last], noises, start - first, stop - first)
        np.testing.assert_allclose(own[start - first : stop - first], slopes[start:stop], rtol=1e-12)
        total += part
    assert total == pytest.approx(whole, rel=1e-12)


def test_curvatures_are_what_slopes_lose_while_the_relation_in_every_window_stays(isa, rng):
    fixed, warped = pair(rng, (9, 12))
    noises = 0.01, 0.02
    expected = np.zeros_like(warped)
    for top in range(-1, len(fixed) - 1, 2):
        for left in range(-1, fixed.shape[1] - 1, 2):
            rows, columns = (
                slice(max(first, 0), min(first + 4, size)) for first, size in zip((top, left), fixed.shape, strict=True)
            )
            f, w = fixed[rows, columns], warped[rows, columns]
            weights = np.outer(*(WINDOW[p.start - q : p.stop - q] for p, q in ((rows, top), (columns, left))))
            there = np.isfinite(f) & np.isfinite(w)
            variances = np.cov(f[there], w[there], aweights=weights[there], ddof=0) + np.diag(noises)
            square = variances[0, 1] ** 2 / (variances[0, 0] * variances[1, 1])
            expected[rows, columns] += np.where(there, 4 * weights * square / (variances[1, 1] * (1 - square)), 0)
    slopes, curvatures = np.full_like(warped, 7), np.full_like(warped, 7)
    _ext.window_information(fixed, warped, *noises, 0, len(fixed), slopes, curvatures)
    np.testing.assert_allclose(curvatures, expected, rtol=1e-9, atol=1e-12)
    np.testing.assert_array_equal(slopes, information(fixed, warped, noises)[1])


def test_it_does_not_depend_on_the_gain_and_sign_of_either_image(isa, rng):
    fixed, warped = pair(rng, (20, 20))
    expected, _ = information(fixed, warped, (0.01, 0.02))
    found, _ = information(-3 * fixed + 1, 0.5 * warped - 2, (0.09, 0.005))
    assert found == pytest.approx(expected, rel=1e-9)


def test_images_without_a_pixel_in_common_tell_nothing(isa, rng):
    fixed = rng.standard_normal((8, 8))
    total, slopes = information(fixed, np.full((8, 8), np.nan), (0.01, 0.01))
    assert total == 0
    assert not slopes.any()
