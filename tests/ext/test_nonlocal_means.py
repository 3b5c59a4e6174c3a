"""Means of places that look alike, every build of them, against plain NumPy."""

import numpy as np
import pytest

from imgtool import _ext

PATCH = np.outer([1, 4, 6, 4, 1], [1, 4, 6, 4, 1]) / 256


@pytest.fixture
def rng():
    return np.random.default_rng(8)


def pad(image):
    return np.pad(image, _ext.NONLOCAL_PAD, mode="symmetric")


def means(image, noise, tolerance):
    """The kernel's result."""
    out = np.full_like(image, 7)
    _ext.nonlocal_means(pad(image), noise, tolerance, out)
    return out


def by_hand(image, noise, tolerance):
    """The means, pixel by pixel."""
    padded, out = pad(image), np.empty_like(image)
    for y, x in np.ndindex(*image.shape):
        here = padded[y + 3 : y + 8, x + 3 : x + 8]
        total, weights = image[y, x], 1.0
        for down, across in np.ndindex(7, 7):
            there = padded[y + down : y + down + 5, x + across : x + across + 5]
            apart = (PATCH * (here - there) ** 2).sum() / (2 * noise)
            if (down, across) != (3, 3) and np.isfinite(apart):
                weight = max(0.0, 1 - max(0.0, apart - 1) / (8 * tolerance)) ** 8
                total, weights = total + weight * there[2, 2], weights + weight
        out[y, x] = total / weights
    return out


# Smaller than a patch, odd and even sizes, and more columns than one block.
@pytest.mark.parametrize("shape", [(1, 1), (3, 4), (16, 9), (7, 270)])
@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-12), (np.float32, 1e-5)])
def test_a_pixel_becomes_the_mean_of_those_around_which_the_image_looks_alike(isa, rng, shape, dtype, tolerance):
    image = (np.indices(shape).sum(axis=0) // 4 % 2 + 0.2 * rng.standard_normal(shape)).astype(dtype)
    expected = by_hand(image.astype(float), 0.04, 0.7)
    assert np.abs(expected - image).max() > 0.01 or image.size == 1
    np.testing.assert_allclose(means(image, 0.04, 0.7), expected, atol=tolerance)


def test_missing_pixels_stay_missing_and_those_beside_them_stay_as_they_are(isa, rng):
    image = 0.1 * rng.standard_normal((20, 30))
    image[8, 11] = np.nan
    found = means(image, 0.01, 0.7)
    np.testing.assert_array_equal(found[6:11, 9:14], image[6:11, 9:14])
    np.testing.assert_allclose(found, by_hand(image, 0.01, 0.7), atol=1e-12)


def test_noise_becomes_less_and_a_strong_edge_stays(isa, rng):
    step = np.where(np.arange(40) < 20, 0.0, 1.0) * np.ones((40, 1))
    found = means(step + 0.05 * rng.standard_normal(step.shape), 0.05**2, 1.0)
    assert np.std(found - step) < 0.02
    np.testing.assert_allclose(found[:, 19:21].mean(axis=0), [0, 1], atol=0.02)


def test_an_image_as_smooth_as_its_noise_is_small_stays(isa):
    image = np.linspace(0, 1, 50) * np.ones((30, 1))
    np.testing.assert_allclose(means(image, 1e-6, 1.0), image, atol=1e-6)
