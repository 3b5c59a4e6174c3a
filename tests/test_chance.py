"""The score test: noise alone seldom moves a registration, and what is more than noise mostly does."""

import numpy as np
import pytest
from scipy import ndimage

from imgtool._chance import fit_as_they_are
from imgtool.registration import _unit_plane

MODELS = ("translation", "rigid", "similarity", "affine", "projective")


def pair(seed, noise=0.04, shift=0.0, grain=0.0, shape=(90, 120)):
    """The same blobs in two contrasts, the second ones `shift` to the right, under noise of `grain` pixels."""
    rng = np.random.default_rng(seed)
    blobs = ndimage.gaussian_filter(rng.standard_normal((shape[0] + 20, shape[1] + 20)), 2.5)
    blobs /= blobs.std()
    planes = []
    for image, by in ((blobs, 0.0), (np.cos(2 * blobs), shift)):
        grains = ndimage.gaussian_filter(rng.standard_normal(image.shape), grain)
        moved = ndimage.shift(image, (0, by), order=5) + noise * np.ptp(image) * grains / grains.std()
        planes.append(_unit_plane(moved[10:-10, 10:-10], "image", None, None, 1))
    return tuple(planes)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("grain", [0.0, 0.7])
def test_noise_alone_is_taken_for_more_than_noise_in_few_cases(model, grain):
    fits = [fit_as_they_are(pair(seed, grain=grain), model, 64, 1) for seed in range(30)]
    assert sum(fits) >= 28


@pytest.mark.parametrize("model", MODELS)
def test_a_shift_of_a_quarter_of_a_pixel_is_more_than_noise(model):
    assert not any(fit_as_they_are(pair(seed, shift=0.25), model, 64, 1) for seed in range(30))


def test_the_order_the_directions_and_the_number_of_threads_do_not_matter():
    for shift in (0.0, 0.06, 0.12):
        planes = pair(1, shift=shift)
        fits = fit_as_they_are(planes, "rigid", 64, 1)
        assert fit_as_they_are(planes, "rigid", 64, 3) == fits
        for alike in (
            planes[::-1],
            [np.ascontiguousarray(plane[:, ::-1]) for plane in planes],
            [np.ascontiguousarray(plane.T) for plane in planes],
        ):
            assert fit_as_they_are(tuple(alike), "rigid", 64, 1) == fits


def test_missing_pixels_say_nothing():
    still, moved = pair(2), pair(2, shift=0.4)
    # What has moved lies where one of the two images is missing.
    planes = [still[0].copy(), np.where(np.arange(120) < 60, still[1], moved[1])]
    assert not fit_as_they_are(tuple(planes), "translation", 64, 1)
    planes[0][:, 58:] = np.nan
    assert fit_as_they_are(tuple(planes), "translation", 64, 1)


@pytest.mark.parametrize("shape", [(4, 4), (5, 9), (64, 70)])
@pytest.mark.parametrize("model", MODELS)
def test_equal_images_fit(shape, model):
    plane = np.random.default_rng(3).random(shape).astype(np.float32)
    assert fit_as_they_are((plane, plane), model, 64, 1)
