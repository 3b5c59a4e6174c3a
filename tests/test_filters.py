"""Filters as their callers see them: types, colour, alpha and refusals."""

import doctest
import sys

import numpy as np
import pytest
import references

from imgtool import ImgtoolError, convolve, filters
from imgtool.explain import explain
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


@pytest.mark.parametrize("shape", ["same", "valid", "full"])
@pytest.mark.parametrize("border", [*references.BORDERS])
def test_alpha_that_is_kept_moves_with_the_picture(rng, shape, border):
    image = references.random_image(rng, (6, 7, 4), "u1")
    image[2, 3, 3] = 7
    for kernel in (LAPLACIAN, np.array([[1, -1, 3, -3]])):
        result, _ = apply_kernel(image, [kernel], shape=shape, border=border, channel_axis=-1, has_alpha=True)
        point = np.zeros(kernel.shape, int)
        point[tuple((n - 1) // 2 for n in kernel.shape)] = 1
        expected = references.filtered(image[..., 3].astype(int), point, shape=shape, border=border, cval=255)
        np.testing.assert_array_equal(result[..., 3], expected)
        colours = convolve(image[..., :3], kernel, shape=shape, border=border, channel_axis=-1)
        np.testing.assert_array_equal(result[..., :3], colours)


@pytest.mark.parametrize("dtype", ["u1", "f4"])
def test_volumes_weigh_colours_by_alpha_too(rng, dtype):
    one = 255 if dtype == "u1" else 1
    image = references.random_image(rng, (4, 7, 9, 2), "u1").astype(dtype) / (1 if dtype == "u1" else 255)
    image = image.astype(dtype)
    kernel = rng.random((3, 2, 3))
    result, _ = apply_kernel(image, [kernel], channel_axis=-1, has_alpha=True)
    share = image[..., 1].astype(float) / one
    cover = references.filtered(share, kernel)
    expected = references.filtered(share * image[..., 0], kernel) / cover * kernel.sum()
    if dtype == "u1":
        sure = np.abs(expected - np.floor(expected) - 0.5) > 1e-3
        np.testing.assert_array_equal(result[..., 0][sure], np.minimum(np.rint(expected), 255)[sure])
        np.testing.assert_allclose(result[..., 1], 255 * cover / kernel.sum(), atol=0.501)
    else:
        np.testing.assert_allclose(result[..., 0], expected, rtol=1e-5)
        np.testing.assert_allclose(result[..., 1], cover / kernel.sum(), rtol=1e-5)


@pytest.mark.parametrize("border", [*references.BORDERS, "renormalize"])
def test_masks_and_alpha_weigh_together(rng, border):
    colour, alpha = rng.random((9, 8)), rng.integers(0, 3, (9, 8)) / 2
    mask = rng.random((9, 8)) > 0.3
    kernel = np.arange(1.0, 10).reshape(3, 3)
    options = {"border": border, "cval": 0.5, "channel_axis": -1, "has_alpha": True}
    result, _ = apply_kernel(np.stack([colour, alpha], -1), [kernel], mask=mask, **options)
    beyond = {"border": "constant", "cval": 0} if border == "renormalize" else {"border": border, "cval": 1}
    outside = {**beyond, "cval": 0.5 * beyond["cval"]}
    cover = references.filtered(mask * alpha, kernel, **beyond)
    weights = references.filtered(mask.astype(float), kernel, **beyond)
    known = cover > 0
    sums = references.filtered(mask * alpha * colour, kernel, **outside)
    np.testing.assert_allclose(result[known][:, 0], (sums[known] / cover[known]) * 45)
    np.testing.assert_allclose(result[weights > 0][:, 1], (cover / np.maximum(weights, 1e-9))[weights > 0])
    assert (result[weights == 0][:, 1] == 0).all()


def test_an_infinite_part_leaves_the_other_part_alone():
    image = np.array([1 + 1j, complex(np.inf, 2), 3])
    result = convolve(image, [2.0])
    np.testing.assert_array_equal(result.imag, [2, 4, 0])
    assert np.isinf(result[1].real)


def test_complex_kernels_are_normalized_and_scaled_as_a_whole():
    kernel = np.array([1 + 1j, 2, 1 - 3j])
    result = convolve(np.full(5, 3.0), kernel, normalize=True, scale=2, bias=1)
    np.testing.assert_allclose(result, np.full(5, 7), atol=1e-15)


@pytest.mark.parametrize("dtype", ["i1", "u1", "i2", "i8", "u8", "?", "f2"])
def test_a_scaled_kernel_of_any_type_never_overflows(dtype):
    kernel = np.array([1, 1], dtype)
    np.testing.assert_array_equal(convolve(np.array([1.0, 2, 3]), kernel, scale=100000), [200000, 300000, 500000])
    np.testing.assert_array_equal(convolve(np.array([1.0, 2, 3]), kernel, scale=0.5), [1, 1.5, 2.5])
    many = np.full((1, 2), 100, "i1" if dtype == "i1" else "u1")
    np.testing.assert_array_equal(convolve(np.ones((1, 2)), many, normalize=True), [[1, 1]])


def test_linear_light_is_the_filter_between_the_srgb_curves(rng):
    image = rng.random((8, 9))

    def decode(v):
        return np.where(v <= 0.04045, v / 12.92, ((v + 0.055) / 1.055) ** 2.4)

    result, _ = apply_kernel(image, [BLUR], linear=True, border="constant", cval=0.8, bias=0.1)
    light = references.convolve(decode(image), BLUR, "constant", decode(np.float64(0.8)))
    expected = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055) + 0.1
    np.testing.assert_allclose(result, expected, rtol=1e-12)
    eight, saturated = apply_kernel(np.rint(image * 255).astype("u1"), [[[2.0]]], linear=True)
    assert saturated == np.count_nonzero(2 * decode(np.rint(image * 255) / 255) > decode(255.5 / 255))
    assert eight.dtype == np.uint8


def test_kernels_are_combined_by_their_maximum(rng):
    image = references.random_image(rng, (7, 6), "i2") // 8
    kernels = [np.array([[1, -1]]), np.array([[1], [-2]]), np.array([[3]])]
    result, _ = apply_kernel(image, kernels, combine="maximum", bias=5)
    answers = [references.convolve(image.astype(int), kernel) for kernel in kernels]
    np.testing.assert_array_equal(result, references.saturated(np.max(answers, axis=0) + 5, "i2"))


@pytest.mark.parametrize("dtype", ["u1", "f4"])
@pytest.mark.parametrize("linear", [False, True])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("kernels", [[BLUR], [np.ones((3, 3)), LAPLACIAN + 1]])
@pytest.mark.parametrize("alpha", [None, 255, 77])
def test_what_is_explained_is_what_runs(rng, monkeypatch, dtype, linear, masked, kernels, alpha):
    if masked and len(kernels) > 1:
        return
    image = references.random_image(rng, (20, 30, 4), "u1")
    image[..., 3] = image[..., 3] if alpha is None else alpha
    if dtype == "f4":
        image = image.astype("f4") / 255
    options = {"linear": linear, "border": "renormalize" if masked else "reflect", "channel_axis": -1}
    plans = []
    run = filters._correlate.correlate

    def record(source, found, *rest):
        plans.append((found.method, found.accumulator))
        return run(source, found, *rest)

    monkeypatch.setattr(filters._correlate, "correlate", record)
    apply_kernel(image, kernels, **options, has_alpha=alpha is not None)
    found = explain(image, kernels, **options, has_alpha=alpha is not None)
    codes = {"int16": "w2", "int32": "w4", "float32": "f4", "float64": "f8"}
    assert plans[0] == (found["method"], codes[found["accumulator"]])
    assert found["kernels"] == len(kernels)
    assert found["kernel"] == (3, 3)
    assert found["memory"] > 0


def test_what_is_explained_of_large_kernels(rng):
    image = np.zeros((300, 400), np.float32)
    full = explain(image, [rng.random((41, 41))], scale=2)
    assert (full["method"], full["rank"]) == ("fft", 41)
    box = explain(image, [np.ones((41, 41))], normalize=True, method="separable")
    assert (box["method"], box["rank"], box["flops"]) == ("separable", 1, 2 * 82 * 300 * 400)
    assert np.isclose(box["sum"], 1)
    assert explain(image + 1j, [np.ones((3, 3))])["accumulator"] == "float32"
    assert explain(image + 0j, [np.ones((3, 3))], dtype="c16")["accumulator"] == "float64"


def test_the_docstrings_are_right():
    for module in (filters, sys.modules["imgtool.explain"]):
        results = doctest.testmod(module)
        assert results.attempted > 0
        assert results.failed == 0


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
        (np.zeros((3, 3)), [[1]], {"cval": 1j}, "cval 1j is complex"),
        (np.zeros((3, 3)), [[1]], {"cval": "much"}, "cval must be a number, not 'much'"),
        (np.zeros((3, 3)), [[1]], {"cval": [1]}, "cval must be a number"),
        (np.zeros((3, 3)), [[1]], {"bias": "much"}, "bias must be a number"),
        (np.zeros((3, 3)), [[1]], {"bias": np.inf}, "bias inf is no finite number"),
        (np.zeros((3, 3)), [[1]], {"bias": 1j}, "bias must be a number"),
        (np.zeros((3, 3)), [[1]], {"scale": np.nan}, "scale nan is no finite number"),
        (np.zeros((3, 3)), [[1]], {"scale": np.array([2])}, "scale must be a number"),
        (np.zeros((3, 3)), [[1e300]], {"scale": 1e300}, "makes the kernel infinite"),
        (np.zeros((3, 3)), [[1]], {"border": ["wrap"]}, "border must be a word"),
        (np.zeros((3, 3)), [[1]], {"shape": "half"}, "shape 'half' is unknown; use one of same, valid, full"),
        (np.zeros((3, 3)), [[1]], {"nan": "drop"}, "nan 'drop' is unknown"),
        (np.zeros((3, 3)), [[1]], {"method": "fast"}, "method 'fast' is unknown"),
        (np.zeros((3, 3)), [[1]], {"anchor": 0}, "anchor must be a whole number for each axis"),
        (np.zeros((3, 3)), [[1]], {"anchor": (0, 0.5)}, "anchor must be a whole number for each axis"),
        (np.zeros((3, 3)), [[1]], {"anchor": (0, 1)}, "no index of a kernel"),
        (np.zeros((3, 3)), [[1]], {"anchor": (0,)}, "no index of a kernel"),
        (np.zeros((3, 3)), [[1]], {"anchor": (0, 0), "shape": "full"}, "an anchor moves the kernel"),
        (np.zeros((3, 3)), np.ones((4, 1)), {"shape": "valid"}, "no larger than the image"),
        (np.zeros((0, 3)), np.ones((2, 2)), {"shape": "full"}, "needs an image with pixels"),
        (np.zeros((3, 3)), [[1, -1]], {"normalize": True}, "the kernel sums to 0 and cannot be normalized"),
        (np.zeros((3, 3)), [[1, -1]], {"border": "renormalize"}, "sum is 0"),
        (np.zeros((3, 3)), [[1]], {"mask": np.ones((3, 2))}, "mask has shape"),
        (np.zeros((3, 3)), [[1]], {"mask": np.zeros((3, 3))}, "the mask is 0 everywhere"),
        (np.zeros((3, 3)), [[1, 2], [3]], {}, "its rows differ in length"),
        (np.zeros(3), [1], {"channel_axis": 0}, "channel_axis 0 does not exist beside others"),
    ],
)
def test_faults_are_refused_in_one_sentence(image, kernel, options, words):
    with pytest.raises(ImgtoolError, match=words) as fault:
        convolve(image, kernel, **options)
    assert "\n" not in str(fault.value)


@pytest.mark.parametrize(
    ("image", "kernels", "options", "words"),
    [
        (np.zeros((3, 3), complex), [[[1]], [[2]]], {}, "take one direction at a time"),
        (np.zeros((3, 3)), [[[1]], [[2]]], {"combine": "sum"}, "combine 'sum' is unknown"),
        (np.zeros((3, 3)), [[[1]], [[2]]], {"nan": "ignore"}, "take one kernel"),
        (np.zeros((3, 3)), [[[1]]], {"has_alpha": True}, "alpha is the last of several channels"),
        (np.zeros((3, 3, 4), complex), [[[1]]], {"has_alpha": True, "channel_axis": -1}, "of a real image"),
        (np.zeros((3, 3), "i4"), [[[1]]], {"linear": True}, "uint8, uint16 or a floating point type, not int32"),
        (np.zeros((3, 3), bool), [[[1]]], {"linear": True}, "not bool"),
        (np.zeros((3, 3)), [[[1j]]], {"linear": True}, "linear light is real"),
        (np.zeros((3, 3)), [], {}, "at least one kernel"),
    ],
)
def test_faults_of_several_kernels_alpha_and_light_too(image, kernels, options, words):
    with pytest.raises(ImgtoolError, match=words):
        apply_kernel(image, kernels, **options)


def test_a_kernel_of_one_tap_keeps_colours_under_no_opacity():
    image = np.random.default_rng(0).integers(0, 256, (5, 6, 4)).astype(np.uint8)
    image[::2, :, 3] = 0
    point = np.array([[0, 0, 0], [0, 1, 0], [0, 0, 0]])
    result, _ = apply_kernel(image, [point], channel_axis=-1, has_alpha=True)
    np.testing.assert_array_equal(result, image)


@pytest.mark.parametrize("order", ["<", ">"])
def test_a_byte_order_that_is_spelt_out_makes_no_difference(order):
    image = np.arange(20, dtype=np.uint16).reshape(4, 5)
    other = image.astype(image.dtype.newbyteorder(order))
    np.testing.assert_array_equal(convolve(other, np.ones((3, 3))), convolve(image, np.ones((3, 3))), strict=True)
