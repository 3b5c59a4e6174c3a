"""Which plane of an image with channels is compared."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from imgtool._colour import gray, parse_channel
from imgtool.errors import ImgtoolError


def image(channels, dtype=np.uint8):
    return np.random.default_rng(channels).integers(0, 200, (6, 7, channels)).astype(dtype)


@pytest.mark.parametrize("text", ["", "0", "-1", "1,2", "1+", "cyan", "1.5", "٣", "99999", "all+1"])
def test_what_is_no_channel_is_refused(text):
    with pytest.raises(ImgtoolError, match="is no channel; use luminance, all, red"):
        parse_channel(text)


def test_a_channel_given_twice_counts_once():
    assert parse_channel("red+1+3") == (0, 2)


def test_luminance_is_that_of_television():
    rgb = image(3)
    plane, visible = gray(rgb, False)
    assert_allclose(plane, rgb @ [0.299, 0.587, 0.114], rtol=1e-6)
    assert (plane.dtype, visible) == (np.float32, None)


def test_the_luminance_of_gray_is_gray():
    assert_array_equal(gray(image(2), True)[0], image(2)[..., 0])


def test_what_is_transparent_is_not_visible():
    rgba = image(4)
    rgba[..., 3] = 255
    rgba[2, 3, 3] = 0
    plane, visible = gray(rgba, True, (1,))
    assert_array_equal(plane, rgba[..., 1])
    assert_array_equal(np.argwhere(~visible), [[2, 3]])


def test_64_bit_integers_keep_their_digits():
    big = np.full((4, 4, 2), 2**40 + 1, np.int64)
    assert gray(big, False, (1,))[0][0, 0] == 2**40 + 1


def test_several_channels_are_taken_together_along_their_largest_variance():
    rng = np.random.default_rng(0)
    structure = rng.normal(size=(20, 30))
    planes = np.stack([structure * weight for weight in (1, -2, 0.5)], axis=-1) + rng.normal(0, 0.01, (20, 30, 3))
    plane, _ = gray(planes, False, "all")
    assert abs(np.corrcoef(plane.ravel(), structure.ravel())[0, 1]) > 0.999
    first_two, _ = gray(planes, False, (0, 1))
    assert abs(np.corrcoef(first_two.ravel(), structure.ravel())[0, 1]) > 0.999


def test_what_is_missing_or_transparent_does_not_turn_the_component():
    planes = np.random.default_rng(0).normal(size=(10, 10, 3)) * [5, 1, 0]
    planes[..., 2] = 1
    planes[0, 0] = np.nan
    planes[5, :, :2] = 0, 1000
    planes[5, :, 2] = 0
    plane, _ = gray(planes, True, "all")
    # Along the first channel, as its variance is the larger one where there is something to see.
    assert np.corrcoef(plane[6:].ravel(), planes[6:, :, 0].ravel())[0, 1] > 0.99


def test_channels_without_any_variance_are_their_mean():
    assert_allclose(gray(np.full((1, 1, 3), 6.0), False, "all")[0], 6)


@pytest.mark.parametrize(
    ("channels", "has_alpha", "channel", "said"),
    [
        (5, False, "luminance", "has 5 channels and so no luminance; choose one by --channel 1"),
        (2, True, (1,), "has 1 channel, so there is no channel 2"),
        (3, False, (0, 3), "has 3 channels, so there is no channel 4"),
    ],
)
def test_a_channel_that_is_not_there_is_named(channels, has_alpha, channel, said):
    with pytest.raises(ImgtoolError, match=said):
        gray(image(channels), has_alpha, channel)
