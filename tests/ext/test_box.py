"""Box filters by sums, every build of them, against plain references."""

import numpy as np
import pytest
import references
from references import BORDERS

from imgtool import _ext
from imgtool.filters import apply_kernel, convolve

SHAPES = [
    ((23, 70), (3, 3)),
    ((40, 33), (7, 4)),
    ((9, 200), (2, 31)),
    ((3, 2), (9, 8)),
    ((60, 1), (25, 1)),
    ((1, 90), (1, 6)),
    ((9, 700), (300, 5)),
]


@pytest.fixture
def rng():
    return np.random.default_rng(5)


@pytest.mark.parametrize("border", BORDERS)
@pytest.mark.parametrize(("shape", "size"), SHAPES)
def test_floats_agree_with_the_reference(isa, rng, shape, size, border):
    image = rng.standard_normal(shape)
    for weight in (1.0, 1 / 9, -2.5):
        kernel = np.full(size, weight)
        expected = references.convolve(image, kernel, border, 1.5)
        bound = np.abs(kernel).sum() * max(1.5, np.abs(image).max()) * max(1, np.log2(kernel.size))
        options = {"border": border, "cval": 1.5, "method": "box"}
        assert np.abs(convolve(image, kernel, **options) - expected).max() <= 1e-15 * bound
        assert np.abs(convolve(image.astype("f4"), kernel, **options) - expected).max() <= 4e-7 * bound


@pytest.mark.parametrize("dtype", ["?", "u1", "i1", "u2", "i2", "u4", "i4"])
def test_whole_numbers_are_exact_and_saturate(isa, rng, dtype):
    image = references.random_image(rng, (50, 45), dtype)
    for size, weight in [((3, 5), 1), ((21, 17), -3)]:
        exact = references.convolve(image.astype("i8"), np.full(size, weight), "mirror") + 7
        result, count = apply_kernel(image, (np.full(size, weight),), border="mirror", bias=7, method="box", dtype="i2")
        np.testing.assert_array_equal(result, references.saturated(exact, "i2"))
        assert count == np.count_nonzero(exact != result)


@pytest.mark.parametrize("dtype", ["u1", "u2", "i4"])
def test_means_round_like_float64_but_at_ties(isa, rng, dtype):
    image = references.random_image(rng, (60, 70), dtype)
    for size in [(3, 3), (15, 15), (4, 2)]:
        kernel = np.full(size, 1 / np.prod(size))
        real = references.convolve(image.astype(float), kernel)
        surely = np.abs(real - np.floor(real) - 0.5) > 1e-3
        np.testing.assert_array_equal(
            convolve(image, kernel, method="box")[surely], np.rint(real).astype(dtype)[surely]
        )


def test_nan_infinity_and_far_out_values_spread_exactly_as_far_as_the_box(isa, rng):
    image = rng.random((80, 120)).astype("f4")
    image[40, 60], image[10, 10], image[70, 100] = np.nan, np.inf, -3.4e38
    touched = np.zeros(image.shape, bool)
    touched[38:43, 57:64] = touched[8:13, 7:14] = touched[68:73, 97:104] = True
    result = convolve(image, np.ones((5, 7)), method="box")
    assert not np.isfinite(result[touched & (np.arange(80)[:, None] < 60)]).any()
    expected = convolve(image.astype("f8"), np.ones((5, 7)), method="direct")
    np.testing.assert_allclose(result[~touched], expected[~touched], rtol=1e-6)


def test_threads_and_slabs_do_not_change_a_bit(isa, rng, monkeypatch):
    image = rng.standard_normal((211, 83)).astype("f4")
    for size in [(3, 3), (14, 5)]:
        whole = convolve(image, np.ones(size), method="box", threads=1)
        for cost in (1, 500):
            monkeypatch.setattr("imgtool._correlate._SLAB_NANOSECONDS", cost)
            for threads in (1, 3):
                np.testing.assert_array_equal(convolve(image, np.ones(size), method="box", threads=threads), whole)


def test_opaque_alpha_never_changes_colour(isa, rng):
    colour = references.random_image(rng, (30, 40, 3), "u1")
    image = np.concatenate([colour, np.full((30, 40, 1), 255, "u1")], axis=-1)
    for weight in (1 / 25, 0.3):
        kernel = np.full((5, 5), weight)
        result, _ = apply_kernel(image, (kernel,), channel_axis=-1, has_alpha=True, method="box")
        np.testing.assert_array_equal(result[..., :3], convolve(colour, kernel, channel_axis=-1, method="box"))
        np.testing.assert_array_equal(result[..., 3], 255)


def windows(sums, size, dtype):
    """Rows of `size` numbers with these sums."""
    base, rest = np.divmod(sums, size)
    return (base[:, np.newaxis] + (np.arange(size) < rest[:, np.newaxis])).astype(dtype)


def half_to_even(sums, size):
    """The exact quotients, rounded."""
    quotient, rest = np.divmod(sums, size)
    return quotient + ((2 * rest > size) | ((2 * rest == size) & (quotient % 2 == 1)))


@pytest.mark.parametrize("dtype", ["u1", "i1"])
@pytest.mark.parametrize("size", [2, 3, 4, 6, 9, 14, 25])
def test_every_mean_of_8_bits_is_the_exact_quotient_half_to_even(isa, dtype, size):
    info = np.iinfo(dtype)
    sums = np.arange(info.min * size, info.max * size + 1)
    means = convolve(windows(sums, size, dtype), np.full((1, size), 1 / size), shape="valid", method="box")
    np.testing.assert_array_equal(means[:, 0], half_to_even(sums, size))


@pytest.mark.parametrize(
    ("dtype", "size"),
    [("u1", 225), ("u1", 256), ("i1", 256), ("u1", 258), ("i1", 300)]
    + [(dtype, size) for dtype in ("u2", "i2") for size in (2, 3, 6, 9, 22, 49, 510)],
)
def test_means_beside_every_tie_are_the_exact_quotients_half_to_even(isa, dtype, size):
    info = np.iinfo(dtype)
    means = np.arange(info.min, info.max, 1 if size < 10 or info.bits == 8 else 64)
    sums = (means[:, np.newaxis] * size + size // 2 + [-1, 0, 1]).ravel()
    result = convolve(windows(sums, size, dtype), np.full((1, size), 1 / size), shape="valid", method="box")
    np.testing.assert_array_equal(result[:, 0], half_to_even(sums, size))


@pytest.mark.parametrize("size", [(64, 64), (65, 64), (70, 60)])
def test_means_of_large_boxes_are_the_exact_quotients_half_to_even(isa, rng, size):
    image = references.random_image(rng, (80, 75), "u1")
    image[:, ::3] = 255
    sums = references.convolve(image.astype("i8"), np.ones((size[0], 1), int))
    sums = references.convolve(sums, np.ones((1, size[1]), int))
    expected = half_to_even(sums, size[0] * size[1])
    np.testing.assert_array_equal(convolve(image, np.full(size, 1 / np.prod(size)), method="box"), expected)


def test_sums_of_any_place_and_strides_are_exact(isa, rng):
    for _ in range(60):
        dtype = rng.choice(["?", "u1", "i1", "u2", "i2"])
        channels = int(rng.choice([1, 1, 2, 3, 4, 5, 17]))
        shape, size = rng.integers(1, 40, 2), rng.integers(1, 30, 2)
        image = references.random_image(rng, (2 * shape[0], channels, 2 * shape[1]), dtype)
        image = image[:: rng.choice([-2, 2]), :, :: rng.choice([-2, 2])].transpose(0, 2, 1)
        if rng.random() < 0.5:
            image = image.copy()
        options = {
            "border": str(rng.choice(BORDERS)),
            "cval": int(rng.integers(-3, 200)),
            "correlate": bool(rng.random() < 0.5),
            "shape": str(rng.choice(["same", "full", "valid"])),
        }
        if options["shape"] == "valid":
            size = np.minimum(size, shape)
        if options["shape"] == "same":
            options["anchor"] = [int(rng.integers(0, k)) for k in size]
        target, weight = str(rng.choice(["u1", "i2", "u4", "i8", "f8"])), int(rng.choice([-2, 1, 3]))
        kernel = np.full(size, weight)
        if kernel.size == 1:
            continue
        result = convolve(image, kernel, **options, channel_axis=-1, dtype=target, method="box")
        for channel in range(channels):
            exact = references.filtered(image[..., channel].astype("i8"), kernel, **options)
            expected = references.saturated(exact, target) if target != "f8" else exact
            np.testing.assert_array_equal(result[..., channel], expected)


@pytest.mark.parametrize(
    ("dtype", "size"), [("u1", (16, 16)), ("u1", (257, 1)), ("i1", (1, 256)), ("i1", (1, 257)), ("u2", (2, 300))]
)
def test_sums_reach_their_limits_and_not_beyond(isa, dtype, size):
    for value in (np.iinfo(dtype).min, np.iinfo(dtype).max):
        image = np.full((20, 40), value, dtype)
        np.testing.assert_array_equal(convolve(image, np.full(size, 1 / np.prod(size)), method="box"), image)
        sums = convolve(image, np.ones(size), method="box", dtype="i4")
        np.testing.assert_array_equal(sums, int(value) * int(np.prod(size)))


@pytest.mark.parametrize("dtype", ["u1", "u2"])
def test_threads_and_slabs_do_not_change_whole_sums(isa, rng, monkeypatch, dtype):
    image = references.random_image(rng, (97, 61), dtype)
    for size in [(3, 3), (14, 9)]:
        whole = convolve(image, np.full(size, 0.01), method="box", threads=1)
        monkeypatch.setattr("imgtool._correlate._SLAB_NANOSECONDS", 1)
        np.testing.assert_array_equal(convolve(image, np.full(size, 0.01), method="box", threads=3), whole)


def test_opaque_alpha_changes_no_tie(isa, rng):
    colour = references.random_image(rng, (30, 40, 3), "u1")
    image = np.concatenate([colour, np.full((30, 40, 1), 255, "u1")], axis=-1)
    for size in [(2, 3), (4, 6), (10, 7)]:
        kernel = np.full(size, 1 / np.prod(size))
        result, _ = apply_kernel(image, (kernel,), channel_axis=-1, has_alpha=True, method="box")
        np.testing.assert_array_equal(result[..., :3], convolve(colour, kernel, channel_axis=-1, method="box"))


def test_damaged_calls_are_refused(isa):
    with pytest.raises(ValueError):
        _ext.Box(0, 3, 1.0, True, 0, 0.0, 0.0, 0.0, 1, 1)
    box = _ext.Box(3, 3, 1.0, True, 0, 0.0, 0.0, 0.0, 1, 1)
    image, out = np.zeros((4, 5)), np.zeros((4, 5))
    for arguments in [(image, out, None, 0, 5), (image, out, None, -1, 3), (image, out, np.zeros(1, np.intp), 0, 4)]:
        with pytest.raises(ValueError):
            box.slab(*arguments)
    for more in [(3, False), (2, True, 1.0), (0, True)]:
        word, fits, bias = (*more, 0.0)[:3]
        with pytest.raises(ValueError):
            _ext.Box(3, 3, 1.0, True, 0, 0.0, bias, 0.0, 1, 1, word, fits)
    with pytest.raises(ValueError):
        _ext.Box(3, 3, 1.0, True, 0, 0.0, 0.0, 255.0, 1, 1, 2)
    with pytest.raises(TypeError, match="'H'"):
        _ext.Box(3, 3, 1.0, True, 0, 0.0, 0.0, 0.0, 1, 1, 2).slab(image.astype("u2"), out, None, 0, 4)
    with pytest.raises(ValueError):
        _ext.Box(3, 3, 1.0, True, 0, 0.0, 0.0, 0.0, 1, 1, 2, True).slab(image.astype("u1"), out, None, 0, 4)
