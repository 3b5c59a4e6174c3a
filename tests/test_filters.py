"""Filters as their callers see them: types, colour, alpha and refusals."""

import numpy as np
import pytest
import references

from imgtool import ImgtoolError, convolve
from imgtool.filters import BORDERS, apply_kernel

BLUR = np.outer([1, 2, 1], [1, 2, 1]) / 16
LAPLACIAN = np.array([[0, -1, 0], [-1, 4, -1], [0, -1, 0]])


@pytest.fixture
def rng():
    return np.random.default_rng(3)


def test_it_is_a_true_convolution_and_correlate_leaves_the_kernel_unflipped():
    impulse, kernel = np.zeros((5, 5)), np.arange(9.0).reshape(3, 3)
    impulse[2, 2] = 1
    np.testing.assert_array_equal(convolve(impulse, kernel)[1:4, 1:4], kernel)
    np.testing.assert_array_equal(convolve(impulse, kernel, correlate=True)[1:4, 1:4], kernel[::-1, ::-1])


def test_even_kernels_are_centred_as_in_scipy_signal(rng):
    signal = pytest.importorskip("scipy.signal")
    image = rng.standard_normal((9, 12))
    for size in [(2, 2), (4, 3), (6, 1)]:
        kernel = rng.standard_normal(size)
        expected = signal.convolve2d(image, kernel, mode="same")
        np.testing.assert_allclose(convolve(image, kernel, border="constant"), expected, atol=1e-13)


@pytest.mark.parametrize("border", references.BORDERS)
def test_odd_kernels_agree_with_scipy_ndimage(rng, border):
    ndimage = pytest.importorskip("scipy.ndimage")
    image, kernel = rng.standard_normal((13, 10)), rng.standard_normal((5, 3))
    for correlate in (False, True):
        peer = ndimage.correlate if correlate else ndimage.convolve
        expected = peer(image, kernel, mode=border, cval=4.0)
        result = convolve(image, kernel, border=border, cval=4.0, correlate=correlate)
        np.testing.assert_allclose(result, expected, atol=1e-13)


@pytest.mark.parametrize("name", BORDERS)
def test_every_alias_does_what_its_canonical_name_does(rng, name):
    image = rng.standard_normal((4, 4))
    np.testing.assert_array_equal(
        convolve(image, np.ones((5, 5)), border=name), convolve(image, np.ones((5, 5)), border=BORDERS[name])
    )


def test_channels_are_filtered_alike_wherever_their_axis_is(rng):
    image = references.random_image(rng, (9, 14, 3), "u1")
    result = convolve(image, BLUR, channel_axis=-1)
    for c in range(3):
        np.testing.assert_array_equal(result[..., c], convolve(image[..., c], BLUR))
    first = convolve(image.transpose(2, 0, 1), BLUR, channel_axis=0)
    np.testing.assert_array_equal(first, result.transpose(2, 0, 1))


@pytest.mark.parametrize("dtype", ["u1", "u2", "f4", "f8"])
@pytest.mark.parametrize("border", references.BORDERS)
@pytest.mark.parametrize(
    "kernel", [BLUR, np.full((5, 5), 0.1), LAPLACIAN, LAPLACIAN + np.diag([0, 1, 0]), np.ones((2, 3))]
)
def test_opaque_alpha_never_changes_colour(rng, dtype, border, kernel):
    colour = references.random_image(rng, (12, 20, 3), dtype)
    alpha = np.full((12, 20, 1), np.iinfo(dtype).max if dtype[0] == "u" else 1, dtype)
    result, _ = apply_kernel(
        np.concatenate([colour, alpha], axis=-1), (kernel,), border=border, cval=9, channel_axis=-1, has_alpha=True
    )
    np.testing.assert_array_equal(result[..., :3], convolve(colour, kernel, border=border, cval=9, channel_axis=-1))
    np.testing.assert_array_equal(result[..., 3:], alpha)


def test_colours_are_weighted_by_their_alpha():
    image = np.array([[[200, 0], [100, 255], [60, 51], [10, 0]]], np.uint8)
    result, _ = apply_kernel(image, ([[1, 1, 1]],), channel_axis=-1, has_alpha=True)
    shares = np.array([0, 1, 0.2, 0])
    expected = np.array([100, (100 + 60 * 0.2) / 1.2, (100 + 60 * 0.2) / 1.2, 60])
    # A sum of 3 brightens colours threefold, as it would without alpha, and leaves coverage a share.
    np.testing.assert_array_equal(result[0, :, 0], np.rint(np.minimum(3 * expected, 255)))
    np.testing.assert_array_equal(result[0, :, 1], np.rint(255 * (np.convolve(shares, [1, 1, 1], "same")) / 3))


def test_the_colour_of_a_fully_transparent_pixel_is_never_seen(rng):
    image = references.random_image(rng, (8, 8, 4), "f4")
    image[..., 3] = rng.random((8, 8)) > 0.5
    other = np.where(image[..., 3:] == 0, np.float32(77), image)
    other[..., 3] = image[..., 3]
    for array in (image, other):
        array[..., 3].flags.writeable = True
    first, _ = apply_kernel(image, (BLUR,), channel_axis=-1, has_alpha=True)
    second, _ = apply_kernel(other, (BLUR,), channel_axis=-1, has_alpha=True)
    np.testing.assert_array_equal(first, second)


def test_edges_leave_alpha_as_it_is(rng):
    image = references.random_image(rng, (6, 7, 4), "u1")
    result, _ = apply_kernel(image, (LAPLACIAN,), channel_axis=-1, has_alpha=True)
    np.testing.assert_array_equal(result[..., 3], image[..., 3])
    np.testing.assert_array_equal(result[..., :3], convolve(image[..., :3], LAPLACIAN, channel_axis=-1))


def test_two_kernels_give_the_magnitude(rng):
    image = references.random_image(rng, (9, 9), "u1")
    across, down = np.array([[-1, 0, 1]]), np.array([[-1], [0], [1]])
    result, saturated = apply_kernel(image, (across, down))
    exact = np.hypot(references.convolve(image.astype(float), across), references.convolve(image.astype(float), down))
    np.testing.assert_array_equal(result, np.minimum(np.rint(exact), 255))
    assert saturated == np.count_nonzero(np.rint(exact) > 255)


def test_half_and_complex_images(rng):
    image = rng.standard_normal((7, 8)).astype(np.float16)
    half = convolve(image, BLUR)
    assert half.dtype == np.float16
    np.testing.assert_array_equal(half, references.convolve(image.astype("f4"), BLUR.astype("f4")).astype("f2"))
    values = rng.standard_normal((7, 8)) + 1j * rng.standard_normal((7, 8))
    kernel = rng.standard_normal((3, 3)) + 1j * rng.standard_normal((3, 3))
    expected = references.convolve(values, kernel, "constant", 2 - 1j)
    np.testing.assert_allclose(convolve(values, kernel, border="constant", cval=2 - 1j), expected, atol=1e-13)
    assert convolve(values.astype("c8"), BLUR).dtype == np.complex64
    np.testing.assert_allclose(convolve(values.real, kernel), references.convolve(values.real, kernel), atol=1e-13)


def test_an_image_without_pixels_stays_without():
    for shape in [(0,), (0, 5), (5, 0), (3, 0, 4)]:
        assert convolve(np.zeros(shape, "u1"), np.ones((3,) * len(shape))).shape == shape


def test_bool_stays_bool_by_default():
    image = np.array([[True, False, False, False]])
    np.testing.assert_array_equal(convolve(image, [[1, 1, 1]]), [[True, True, False, False]])


@pytest.mark.parametrize(
    ("image", "kernel", "options", "words"),
    [
        (np.zeros((3, 3)), [1, 1], {}, "1 axes"),
        (np.zeros((3, 3, 3)), [[1]], {}, "channel_axis"),
        (np.zeros((3, 3)), [[]], {}, "empty"),
        (np.zeros((3, 3)), [[np.nan]], {}, "NaN"),
        (np.zeros((3, 3)), [["a"]], {}, "numbers"),
        (np.array(["a"]), [1], {}, "numbers"),
        (np.float64(3), [1], {}, "no axes"),
        (np.zeros((3, 3)), [[1]], {"border": "bogus"}, "bogus"),
        (np.zeros((3, 3)), [[1]], {"dtype": "bogus"}, "bogus"),
        (np.zeros((3, 3)), [[1]], {"dtype": "U3"}, "<U3"),
        (np.zeros((3, 3)), [[1]], {"dtype": "c8"}, "complex"),
        (np.zeros((3, 3)), [[1]], {"threads": 0}, "threads"),
        (np.zeros((3, 3)), [[1]], {"channel_axis": 2}, "channel_axis 2"),
        (np.zeros((3, 3), "u1"), [[1]], {"border": "constant", "cval": np.nan}, "cval"),
    ],
)
def test_faults_are_refused_in_one_sentence(image, kernel, options, words):
    with pytest.raises(ImgtoolError, match=words) as fault:
        convolve(image, kernel, **options)
    assert "\n" not in str(fault.value)
