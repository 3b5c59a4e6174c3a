"""What SciPy's own tests of ndimage.convolve and correlate ask for, asked of imgtool.

The deliberate differences, listed in docs/accuracy.md, are tested as such at the end.
"""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import ndimage

from imgtool import ImgtoolError, convolve

TYPES = ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8"]
COMPLEX = ["c8", "c16"]
ROW = np.array([1, 2, 3])
TABLE = np.array([[1, 2, 3], [4, 5, 6]])
DIAGONAL = np.array([[1, 0], [0, 1]])


def correlate(image, kernel, **options):
    return convolve(image, kernel, correlate=True, **options)


def like_scipy(image, kernel, origin=0, **options):
    """SciPy's centre, size // 2 + origin, as an anchor."""
    anchor = [n // 2 + o for n, o in zip(kernel.shape, np.broadcast_to(origin, kernel.ndim), strict=True)]
    return convolve(image, kernel, anchor=anchor, **options)


@pytest.mark.parametrize(
    ("image", "kernel", "correlated", "convolved"),
    [
        ([1, 2], [2], [2, 4], [2, 4]),
        ([1, 2, 3], [1], [1, 2, 3], [1, 2, 3]),
        ([1], [1, 1], [2], [2]),
        ([1, 2], [1, 1], [2, 3], [3, 4]),
        ([1, 2, 3], [1, 1], [2, 3, 5], [3, 5, 6]),
        ([1, 2, 3], [1, 2, 3], [9, 14, 17], [7, 10, 15]),
        ([1, 2, 3], [1, 2, 1], [5, 8, 11], [5, 8, 11]),
        ([1, 2, 3], [1, 2, -1], [1, 2, 5], [3, 6, 7]),
        (TABLE, np.ones((2, 2)), [[4, 6, 10], [10, 12, 16]], [[12, 16, 18], [18, 22, 24]]),
        (TABLE, DIAGONAL, [[2, 3, 5], [5, 6, 8]], [[6, 8, 9], [9, 11, 12]]),
    ],
)
def test_small_sums_over_a_reflected_edge(image, kernel, correlated, convolved):
    image, kernel = np.array(image), np.array(kernel)
    assert_array_equal(correlate(image, kernel), correlated)
    assert_array_equal(like_scipy(image, kernel, correlate=True), correlated)
    assert_array_equal(like_scipy(image, kernel), convolved)


@pytest.mark.parametrize("shape", [(0,), (1, 0)])
def test_an_empty_image_stays_empty(shape):
    for function in (convolve, correlate):
        assert function(np.zeros(shape), np.ones((2,) * len(shape))).shape == shape


@pytest.mark.parametrize("source", TYPES)
@pytest.mark.parametrize("target", TYPES)
def test_any_real_type_becomes_any_other(source, target):
    image = TABLE.astype(source)
    for function, expected in ((correlate, [[2, 3, 5], [5, 6, 8]]), (like_scipy, [[6, 8, 9], [9, 11, 12]])):
        result = function(image, DIAGONAL, dtype=target)
        assert result.dtype == target
        assert_array_equal(result, expected)


@pytest.mark.parametrize("source", TYPES)
def test_halves_stay_halves_in_float32(source):
    image = TABLE.astype(source)
    assert_array_equal(correlate(image, DIAGONAL / 2, dtype="f4"), [[1, 1.5, 2.5], [2.5, 3, 4]])
    assert_array_equal(like_scipy(image, DIAGONAL / 2, dtype="f4"), [[3, 4, 4.5], [4.5, 5.5, 6]])


@pytest.mark.parametrize("source", TYPES)
@pytest.mark.parametrize(
    ("origin", "correlated", "convolved"),
    [
        (-1, [[6, 8, 9], [9, 11, 12]], [[2, 3, 5], [5, 6, 8]]),
        ([-1, 0], [[5, 6, 8], [8, 9, 11]], [[3, 5, 6], [6, 8, 9]]),
    ],
)
def test_an_origin_is_an_anchor(source, origin, correlated, convolved):
    image, options = TABLE.astype(source), {"border": "nearest", "dtype": "f4", "origin": origin}
    assert_array_equal(like_scipy(image, DIAGONAL, correlate=True, **options), correlated)
    assert_array_equal(like_scipy(image, DIAGONAL, **options), convolved)


@pytest.mark.parametrize("source", TYPES)
@pytest.mark.parametrize(
    ("border", "origin", "correlated", "convolved"),
    [
        ("reflect", 0, [[5, 10, 15], [7, 14, 21]], [[5, 10, 15], [7, 14, 21]]),
        ("wrap", 0, [[6, 12, 18], [6, 12, 18]], [[6, 12, 18], [6, 12, 18]]),
        ("nearest", 0, [[5, 10, 15], [7, 14, 21]], [[5, 10, 15], [7, 14, 21]]),
        ("nearest", -1, [[7, 14, 21], [8, 16, 24]], [[4, 8, 12], [5, 10, 15]]),
        ("nearest", 1, [[4, 8, 12], [5, 10, 15]], [[7, 14, 21], [8, 16, 24]]),
    ],
)
def test_a_kernel_along_one_axis_is_a_column(source, border, origin, correlated, convolved):
    image, column = np.array([[1, 2, 3], [2, 4, 6]]).astype(source), np.array([[1], [2], [1]])
    options = {"border": border, "origin": (origin, 0)}
    assert_array_equal(like_scipy(image, column, correlate=True, **options), correlated)
    assert_array_equal(like_scipy(image, column, **options), convolved)


def test_one_pixel_mirrors_itself():
    for function in (convolve, correlate):
        assert_array_equal(function(np.ones(1), np.ones(5), border="mirror"), [5])


@pytest.mark.parametrize("pixel", [*TYPES, *COMPLEX])
@pytest.mark.parametrize("tap", [*TYPES, *COMPLEX])
@pytest.mark.parametrize("border", ["reflect", "constant"])
def test_complex_images_and_kernels(pixel, tap, border):
    if not {pixel, tap} & set(COMPLEX):
        return
    image, kernel = TABLE.astype(pixel), DIAGONAL.astype(tap)
    image = image * (1 - 2j) if pixel in COMPLEX else image
    kernel = kernel * (1 + 1j) if tap in COMPLEX else kernel
    for cval in (0, 2 - 3j):
        expected = ndimage.correlate(image.astype("c16"), kernel.astype("c16"), mode=border, cval=cval)
        result = correlate(image, kernel, border=border, cval=cval)
        assert result.dtype.kind == "c"
        assert_allclose(result, expected, rtol=1e-6)
        expected = ndimage.convolve(image.astype("c16"), kernel.astype("c16"), mode=border, cval=cval)
        assert_allclose(like_scipy(image, kernel, border=border, cval=cval), expected, rtol=1e-6)


@pytest.mark.parametrize(
    "options",
    [
        {"border": ["nearest", "reflect"]},
        {"cval": 1j, "border": "constant"},
        {"dtype": "c8"},
        {"anchor": (0, 2)},
        {"anchor": (-1, 0)},
        {"anchor": 1},
    ],
)
def test_what_scipy_refuses_is_refused(options):
    for function in (convolve, correlate):
        with pytest.raises(ImgtoolError):
            function(np.ones((3, 3)), np.ones((2, 2)), **options)


# Different on purpose


def test_the_centre_of_an_even_kernel_differs_for_convolutions_only():
    image, kernel = np.arange(1.0, 7), np.array([1.0, 2, 4, 8])
    assert_array_equal(convolve(image, kernel, border="constant"), np.convolve(image, kernel, "same"))
    assert not np.array_equal(ndimage.convolve(image, kernel, mode="constant"), np.convolve(image, kernel, "same"))
    assert_array_equal(correlate(image, kernel), ndimage.correlate(image, kernel))


def test_integers_are_rounded_and_saturated():
    image, kernel = np.array([1, 2, 200], np.uint8), np.array([0.5, 0.5, 0.5])
    assert_array_equal(convolve(image, kernel), [2, 102, 201])
    assert_array_equal(ndimage.convolve(image, kernel), [2, 101, 201])
    assert_array_equal(convolve(image, np.array([2])), [2, 4, 255])
    assert_array_equal(convolve(image, np.array([0, -1, 0])), [0, 0, 0])
    assert_array_equal(ndimage.convolve(image, np.array([0, -1, 0])), [255, 254, 56])


def test_tiny_weights_count():
    assert_array_equal(convolve(np.ones(4), [1e-17, 1e-17]), [2e-17] * 4)
    assert_array_equal(ndimage.convolve(np.ones(4), [1e-17, 1e-17]), [0] * 4)


def test_64_bit_integers_do_not_pass_through_float64():
    image = np.array([2**63 + 1, 5], np.uint64)
    assert convolve(image, [1])[0] == 2**63 + 1
    assert ndimage.convolve(image, [1])[0] != 2**63 + 1


def test_bool_stays_bool_and_half_floats_are_taken():
    assert convolve(np.array([True, False, False]), [1, 1, 1]).tolist() == [True, True, False]
    assert convolve(np.array([1, 2], np.float16), [1]).dtype == np.float16
    with pytest.raises(RuntimeError):
        ndimage.convolve(np.array([1, 2], np.float16), np.array([1]))


def test_nan_spreads_over_weights_of_0_too():
    image = np.array([0, np.nan, 0, 0])
    assert_array_equal(np.isnan(convolve(image, [0, 1, 0])), [True, True, True, False])
    assert_array_equal(np.isnan(ndimage.convolve(image, [0, 1, 0])), [False, True, False, False])
