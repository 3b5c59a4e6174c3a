"""Every method against exact arithmetic: random shapes, strides, types, kernels, borders, anchors."""

from fractions import Fraction

import numpy as np
import pytest
import references
from hypothesis import given, settings
from hypothesis import strategies as st

from imgtool import ImgtoolError, convolve
from imgtool.filters import apply_kernel

INTEGERS = ("u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8")
METHODS = ("auto", "direct", "separable", "fft")
quickly = settings(deadline=None, max_examples=80)


@st.composite
def cases(draw, method, dtypes, axes):
    """An image of any strides and byte order, a kernel that the method takes, and options of place."""
    axes = draw(st.integers(1, 3), "axes") if axes is None else axes
    shape = draw(st.tuples(*[st.integers(1, (60, 24, 7)[axes - 1])] * axes))
    size = draw(st.tuples(*[st.integers(1, (12, 7, 4)[axes - 1])] * axes))
    dtype = np.dtype(draw(st.sampled_from(dtypes)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    image = references.random_image(rng, [2 * n for n in shape], dtype.newbyteorder("=")).astype(dtype)
    image = image[tuple(slice(None, None, draw(st.sampled_from([2, -2]))) for _ in shape)]
    image = image.transpose(draw(st.permutations(range(axes))))
    image.flags.writeable = False
    options = {
        "border": draw(st.sampled_from(references.BORDERS)),
        "cval": draw(st.integers(-3, 9)),
        "correlate": draw(st.booleans()),
        "shape": draw(st.sampled_from(["same", "same", "full", "valid"])),
    }
    if options["shape"] == "valid":
        size = tuple(min(k, n) for k, n in zip(size, image.shape, strict=True))
    if options["shape"] == "same" and draw(st.booleans()):
        options["anchor"] = [draw(st.integers(0, k - 1)) for k in size]
    if method == "separable":
        size = tuple(max(2, k) if options["shape"] != "valid" else k for k in size)
        if "anchor" in options:
            options["anchor"] = [min(a, k - 1) for a, k in zip(options["anchor"], size, strict=True)]
        kernel = np.multiply.outer(rng.integers(1, 4, size[0]), rng.integers(-4, 0, size[1]))
    else:
        kernel = rng.integers(-9, 10, size)
    return image, kernel, options, rng


def expected_of(image, kernel, options):
    exact = image.astype(object) if image.dtype.kind in "biu" else image.astype(np.float64)
    weights = kernel.astype(object) if image.dtype.kind in "biu" else kernel.astype(np.float64)
    return references.filtered(exact, weights, **options)


def run(image, kernel, options, method, **more):
    """The result, or None where the method says that it is not for this kernel."""
    try:
        result = convolve(image, kernel, **options, method=method, **more)
        # What is remembered of a call must fit the next one, whatever its strides.
        again = convolve(image.copy(order="K"), kernel, **options, method=method, **more)
        np.testing.assert_array_equal(again, convolve(image, kernel, **options, method=method, **more))
        np.testing.assert_array_equal(again, result)
        return result
    except ImgtoolError as error:
        if method in str(error) and method in ("separable", "fft"):
            return None
        raise


@pytest.mark.parametrize("method", METHODS)
def test_integers_are_exact_by_every_method(method):
    ran = 0

    @quickly
    @given(cases(method, ["?", *INTEGERS, ">u2", ">i4"], None if method in ("auto", "direct") else 2))
    def check(case):
        nonlocal ran
        image, kernel, options, _ = case
        result = run(image, kernel, options, method)
        if result is None:
            return
        ran += 1
        exact = expected_of(image, kernel, options)
        if image.dtype.kind == "b":
            np.testing.assert_array_equal(result, exact > 0)
        else:
            np.testing.assert_array_equal(result, references.saturated(exact, result.dtype))

    check()
    assert ran > 15


@quickly
@given(cases("auto", ["?", *INTEGERS], None), st.sampled_from(["?", *INTEGERS, "f2", "f4", "f8"]))
def test_whole_numbers_are_exact_in_every_type_that_holds_them(case, target):
    image, kernel, options, _ = case
    result, saturated = apply_kernel(image, [kernel], **options, dtype=target)
    exact = expected_of(image, kernel, options)
    assert result.dtype == target
    if target == "?":
        np.testing.assert_array_equal(result, exact > 0)
    elif target[0] == "f":
        # Twice rounded at most: from the exact sum to the accumulator, and to the target.
        with np.errstate(over="ignore"):
            np.testing.assert_allclose(result, exact.astype(float).astype(target), rtol=1.1 * np.finfo(target).eps)
    else:
        expected = references.saturated(exact, target)
        np.testing.assert_array_equal(result, expected)
        assert saturated == np.count_nonzero(expected.astype(object) != exact)


@pytest.mark.parametrize("method", METHODS)
def test_floats_stay_within_the_stated_bound_by_every_method(method):
    @quickly
    @given(cases(method, ["f4", "f8", ">f4", ">f8"], None if method in ("auto", "direct") else 2), st.booleans())
    def check(case, normal):
        image, kernel, options, rng = case
        if normal and method != "separable":
            kernel = rng.standard_normal(kernel.shape)
        result = run(image, kernel, options, method)
        if result is None:
            return
        magnitude = references.filtered(
            np.abs(image.astype(float)), np.abs(kernel.astype(float)), **options | {"cval": abs(options["cval"])}
        )
        # A transform spreads the error of its whole tile, whether a weight meets a pixel or not.
        peak = np.abs(kernel).sum() * max(abs(options["cval"]), np.abs(image).max(initial=0))
        most = magnitude.max(initial=0) if method in ("direct", "separable") else peak
        unit = 4e-7 if image.dtype.itemsize == 4 else 1e-15
        bound = unit * max(1, np.log2(kernel.size)) * most
        assert np.abs(result - expected_of(image, kernel, options)).max(initial=0) <= bound

    check()


@pytest.mark.parametrize("method", ["direct", "fft"])
@pytest.mark.parametrize("side", [15, 31, 63])
@pytest.mark.parametrize("offset", [0, 1])
def test_floats_stay_within_the_bound_under_large_kernels(method, side, offset):
    rng = np.random.default_rng(side)
    image, kernel = rng.standard_normal((90, 200)) + offset, rng.standard_normal((side, side)) + offset
    exact = convolve(image, kernel, method="fft" if method == "direct" else "direct")
    weight = convolve(np.abs(image), np.abs(kernel), method="direct").max()
    for dtype, unit in (("f4", 4e-7), ("f8", 1e-15)):
        result = convolve(image.astype(dtype), kernel, method=method)
        assert np.abs(result - exact).max() <= unit * np.log2(kernel.size) * weight


@pytest.mark.parametrize("method", METHODS)
def test_fractions_are_rounded_half_to_even_wherever_the_sum_is_sure(method):
    @quickly
    @given(cases(method, ["u1", "i1", "u2", "i2", "u4"], 2), st.integers(1, 40), st.integers(-5, 5))
    def check(case, parts, halves):
        image, kernel, options, _ = case
        result = run(image, kernel, options, method, scale=1 / parts, bias=halves / 2)
        if result is None:
            return
        whole = expected_of(image, kernel, options)
        exact = np.vectorize(lambda n: Fraction(int(n), parts) + Fraction(halves, 2), otypes=[object])(whole)
        expected = references.saturated(np.vectorize(round, otypes=[object])(exact), result.dtype)
        distance = np.vectorize(lambda x: abs(x - int(x // 1) - Fraction(1, 2)), otypes=[object])(exact)
        sure = distance > Fraction(1, 1000)
        np.testing.assert_array_equal(result[sure], expected[sure])

    check()


@quickly
@given(cases("auto", ["u1", "i2", "f4", "f8"], 2), st.booleans(), st.sampled_from([*references.BORDERS, "renormalize"]))
def test_masks_divide_by_the_weight_on_valid_pixels(case, with_nan, border):
    image, kernel, options, rng = case
    kernel = np.abs(kernel) + 1
    options |= {"border": border}
    mask = rng.random(image.shape) > 0.3
    mask.flat[0] = True
    image = image.copy()
    if with_nan and image.dtype.kind == "f":
        image[rng.random(image.shape) > 0.8] = np.nan
    valid = mask & ~np.isnan(image)
    beyond = options | ({"border": "constant", "cval": 0} if border == "renormalize" else {})
    counted = beyond | {"cval": 0 if border == "renormalize" else 1}
    weights = references.filtered(valid.astype(object), kernel.astype(object), **counted)
    sums = references.filtered(np.where(valid, image, 0).astype(float), kernel.astype(float), **beyond)
    result = convolve(image, kernel, **options, mask=mask, nan="ignore")
    known = weights > 0
    expected = sums[known] / weights[known].astype(float) * kernel.sum()
    if image.dtype.kind == "f":
        assert np.isnan(result[~known]).all()
        # Few valid weights enlarge the errors of their sum as much as the sum.
        unit, peak = (1e-6, 1e-14)[image.dtype == "f8"], max(abs(options["cval"]), np.nanmax(np.abs(image), initial=1))
        bound = unit * np.log2(kernel.size + 1) * peak * kernel.sum() ** 2 / weights[known].astype(float)
        assert (np.abs(result[known] - expected) <= bound).all()
    else:
        assert (result[~known] == 0).all()
        info = np.iinfo(image.dtype)
        sure = np.abs(expected - np.floor(expected) - 0.5) > 1e-6
        wanted = np.clip(np.rint(expected), info.min, info.max)
        np.testing.assert_array_equal(result[known][sure], wanted[sure])


@quickly
@given(
    cases("auto", ["u1", "u2", "f4", "f8"], 2),
    st.sampled_from([*references.BORDERS, "renormalize"]),
    st.sampled_from([1, 0.37, 2]),
    st.sampled_from([0, 1.5, -7]),
    st.sampled_from(["plain", "linear", "mask", "several"]),
)
def test_opaque_alpha_never_changes_colour(case, border, scale, bias, kind):
    image, kernel, options, rng = case
    one = np.iinfo(image.dtype).max if image.dtype.kind == "u" else 1
    colour = np.abs(np.stack([image, np.flip(image), image[::-1]], axis=-1))
    kernels = [kernel]
    options |= {"border": border, "scale": scale, "bias": bias, "cval": abs(options["cval"])}
    if kind == "mask":
        options["mask"] = rng.random(image.shape) > 0.2
        options["mask"].flat[0] = True
    if kind == "mask" or border == "renormalize":
        kernels = [np.abs(kernel) + 1]
    elif kind == "several":
        kernels = [kernel, kernel[::-1]]
    options["linear"] = kind == "linear"
    expected, count = apply_kernel(colour, kernels, **options, channel_axis=-1)
    alpha = np.full((*image.shape, 1), one, image.dtype)
    result, again = apply_kernel(
        np.concatenate([colour, alpha], axis=-1), kernels, **options, channel_axis=-1, has_alpha=True
    )
    np.testing.assert_array_equal(result[..., :3], expected)
    assert count == again
    if kind != "mask":
        assert (result[..., 3] == one).all()


@quickly
@given(cases("auto", ["u1", "f4"], 2), st.sampled_from(references.BORDERS))
def test_translucent_colours_are_weighted_by_alpha(case, border):
    colour, kernel, options, rng = case
    options |= {"border": border, "cval": abs(options["cval"])}
    kernel = np.abs(kernel) + 1
    one = 255 if colour.dtype.kind == "u" else 1
    share = rng.integers(0, 3, colour.shape) / 2
    alpha = np.rint(share * one).astype(colour.dtype) if one > 1 else share.astype("f4")
    share = alpha.astype(float) / one
    result, _ = apply_kernel(np.stack([colour, alpha], axis=-1), [kernel], **options, channel_axis=-1, has_alpha=True)
    kernel = kernel.astype(float)
    cover = references.filtered(share, kernel, **options | {"cval": 1})
    sums = references.filtered(share * colour, kernel, **options)
    # What is under no opacity is 0, or stays where there is nothing to mix.
    hidden = references.filtered(colour.astype(float), kernel, **options) if kernel.size == 1 else 0
    with np.errstate(invalid="ignore"):
        expected = np.where(cover > 0, sums / cover * kernel.sum(), hidden)
    if one == 1:
        np.testing.assert_allclose(result[..., 0], expected, rtol=1e-4, atol=1e-4 * kernel.sum())
        np.testing.assert_allclose(result[..., 1], cover / kernel.sum(), atol=1e-6)
    else:
        sure = np.abs(expected - np.floor(expected) - 0.5) > 1e-2
        np.testing.assert_array_equal(result[..., 0][sure], np.clip(np.rint(expected), 0, 255)[sure])
        np.testing.assert_allclose(result[..., 1], 255 * cover / kernel.sum(), atol=0.5 + 1e-3)


@quickly
@given(cases("auto", ["f4", "f8", "f2", "i2"], None), st.integers(0, 3))
def test_complex_images_and_kernels_are_sums_of_their_parts(case, parts):
    image, kernel, options, rng = case
    if parts & 1:
        image = image.astype("f8") + 1j * rng.permutation(image.ravel()).reshape(image.shape)
    if parts & 2 or not parts & 1:
        kernel = kernel + 1j * np.flip(kernel)
    options |= {"cval": options["cval"] + 2j}
    result = convolve(image, kernel, **options, bias=0.5)
    expected = references.filtered(image.astype(complex), kernel.astype(complex), **options) + 0.5
    assert result.dtype.kind == "c"
    bound = (1e-14 if result.dtype == "c16" else 1e-5) * max(1, np.abs(image).max()) * np.abs(kernel).sum() + 1e-5 * (
        result.dtype == "c8"
    ) * 9 * kernel.size
    assert np.abs(result - expected).max(initial=0) <= bound + 1e-12


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("strange", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity_spread_exactly_as_far_as_the_kernel(method, dtype, strange):
    rng = np.random.default_rng(8)
    image = rng.standard_normal((150, 170)).astype(dtype)
    clean = image.copy()
    image[70, 80], image[2, 166] = strange, strange
    kernel = np.outer(rng.random(9) + 0.1, rng.random(12) + 0.1)
    result, undisturbed = (convolve(i, kernel, method=method) for i in (image, clean))
    reached = references.filtered(~np.isfinite(image), np.ones(kernel.shape, int), border="reflect") > 0
    np.testing.assert_array_equal(~np.isfinite(result), reached)
    bound = (4e-7 if dtype == "f4" else 1e-15) * np.log2(kernel.size) * kernel.sum() * np.abs(clean).max()
    assert np.abs(result - undisturbed)[~reached].max() <= 2 * bound


@pytest.mark.parametrize("nodata", [-3.4e38, -1e10, 1e30, 65504.0])
@pytest.mark.parametrize("method", ["auto", "fft"])
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_huge_nodata_values_disturb_nothing_beyond_the_reach_of_the_kernel(method, dtype, nodata):
    rng = np.random.default_rng(9)
    image = rng.random((300, 280)).astype(dtype)
    image[100:140, 90:130] = nodata
    image[7, 250] = nodata
    kernel = rng.random((25, 31)) / 775
    result = convolve(image, kernel, method=method)
    exact = convolve(image.astype("f8"), kernel, method="direct")
    far = references.padded(image == image.dtype.type(nodata), kernel.shape, "reflect")
    for axis, k in enumerate(kernel.shape):
        far = np.lib.stride_tricks.sliding_window_view(far, k, axis).any(-1)
    bound = (4e-7 if dtype == "f4" else 1e-15) * np.log2(kernel.size) * kernel.sum()
    assert np.abs(result - exact)[~far].max() <= bound


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [None, 3, 4])
def test_an_identity_in_linear_light_changes_no_pixel(dtype, channels):
    count = np.iinfo(dtype).max + 1
    values = np.arange(count * (channels or 1)).reshape((-1, 256, channels) if channels else (-1, 256)) % count
    image = values.astype(dtype)
    if channels == 4:
        image[..., 3] = np.maximum(image[..., 3], 1)
    options = {} if channels is None else {"channel_axis": -1, "has_alpha": channels == 4}
    for kernel in ([[1.0]], [[0, 0, 0], [0, 1, 0], [0, 0, 0]]):
        result, saturated = apply_kernel(image, [kernel], linear=True, **options)
        np.testing.assert_array_equal(result, image)
        assert saturated == 0
