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


def test_damaged_calls_are_refused(isa):
    with pytest.raises(ValueError):
        _ext.Box(0, 3, 1.0, True, 0, 0.0, 0.0, 0.0, 1, 1)
    box = _ext.Box(3, 3, 1.0, True, 0, 0.0, 0.0, 0.0, 1, 1)
    image, out = np.zeros((4, 5)), np.zeros((4, 5))
    for arguments in [(image, out, None, 0, 5), (image, out, None, -1, 3), (image, out, np.zeros(1, np.intp), 0, 4)]:
        with pytest.raises(ValueError):
            box.slab(*arguments)
