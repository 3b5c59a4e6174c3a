"""The direct correlation kernel, every build of it, against plain references."""

from importlib import import_module

import numpy as np
import pytest
import references
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from references import BORDERS

from imgtool import _ext
from imgtool.filters import apply_kernel, convolve

INTEGERS = ("u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8")
SHAPES = [
    ((7, 9), (3, 3)),
    ((23, 70), (5, 4)),
    ((1, 1), (3, 5)),
    ((3, 2), (9, 8)),
    ((40, 1), (2, 2)),
    ((1, 150), (1, 7)),
]


@pytest.fixture
def rng():
    return np.random.default_rng(7)


@pytest.mark.parametrize("border", BORDERS)
@pytest.mark.parametrize(("shape", "size"), SHAPES)
def test_floats_agree_with_the_reference(isa, rng, shape, size, border):
    image, kernel = rng.standard_normal(shape), rng.standard_normal(size)
    expected = references.convolve(image, kernel, border, 1.5)
    bound = np.abs(kernel).sum() * max(1.5, np.abs(image).max())
    assert np.abs(convolve(image, kernel, border=border, cval=1.5) - expected).max() <= 1e-15 * bound * kernel.size
    single = convolve(image.astype("f4"), kernel, border=border, cval=1.5)
    assert single.dtype == np.float32
    assert np.abs(single - expected).max() <= 4e-7 * bound * max(1, np.log2(kernel.size))


@pytest.mark.parametrize("border", BORDERS)
@pytest.mark.parametrize("dtype", INTEGERS)
def test_integers_are_exact_and_saturate(isa, rng, dtype, border):
    kernel = rng.integers(-9, 10, (3, 4))
    image = references.random_image(rng, (11, 35), dtype)
    exact = references.convolve(image.astype(object), kernel.astype(object), border, 3)
    result, count = apply_kernel(image, (kernel,), border=border, cval=3)
    assert result.dtype == image.dtype
    np.testing.assert_array_equal(result, references.saturated(exact, dtype))
    assert count == np.count_nonzero(exact != references.saturated(exact, dtype).astype(object))


@pytest.mark.parametrize("target", INTEGERS)
def test_integers_are_exact_in_every_other_integer_type(isa, rng, target):
    for source in INTEGERS:
        image = references.random_image(rng, (6, 21), source)
        exact = references.convolve(image.astype(object), np.array([[1, -2, 1]], object))
        result = convolve(image, [[1, -2, 1]], dtype=target)
        np.testing.assert_array_equal(result, references.saturated(exact, target))


def test_64_bit_integers_are_exact_beyond_float64(isa):
    image = np.array([[2**63 + 1, 2**64 - 1, 1, 2**62 + 3]], np.uint64)
    np.testing.assert_array_equal(convolve(image, [[1]]), image)
    np.testing.assert_array_equal(
        convolve(image, [[1, 0, -1]], dtype="i8"), [[2**63 - 2, -(2**63), -(2**63), 2**62 + 2]]
    )


@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2", "i4"])
def test_fractions_round_half_to_even_wherever_float64_is_sure(isa, rng, dtype):
    image = references.random_image(rng, (19, 40), dtype)
    for kernel in (np.full((3, 3), 1 / 9), rng.random((9, 9)) / 40, rng.standard_normal((2, 5))):
        real = references.convolve(image.astype(float), kernel)
        surely = np.abs(real - np.floor(real) - 0.5) > 1e-3
        expected = references.saturated(np.rint(real), dtype)
        np.testing.assert_array_equal(convolve(image, kernel)[surely], expected[surely])


def test_exact_halves_round_to_even(isa):
    image = np.arange(8, dtype=np.uint8)[np.newaxis]
    np.testing.assert_array_equal(convolve(image, [[0.5]]), [[0, 0, 1, 2, 2, 2, 3, 4]])
    np.testing.assert_array_equal(convolve(image, [[-0.5]], dtype="i1"), [[0, 0, -1, -2, -2, -2, -3, -4]])


def test_nan_and_infinity_spread_exactly_as_far_as_the_kernel(isa):
    for dtype in ("f4", "f8"):
        image = np.zeros((40, 100), dtype)
        image[20, 50], image[3, 3] = np.nan, np.inf
        result = convolve(image, np.ones((5, 3)))
        touched = np.zeros(image.shape, bool)
        touched[18:23, 49:52] = touched[1:6, 2:5] = True
        np.testing.assert_array_equal(~np.isfinite(result), touched)


def test_nan_becomes_zero_in_integer_types(isa):
    image = np.array([[np.nan, 3.0, np.inf, -np.inf]])
    for dtype in INTEGERS:
        info = np.iinfo(dtype)
        np.testing.assert_array_equal(convolve(image, [[1]], dtype=dtype), [[0, 3, info.max, info.min]])


@pytest.mark.parametrize("border", BORDERS)
def test_separable_kernels_agree_with_the_reference(isa, rng, border):
    for shape, size in [((23, 150), (5, 4)), ((9, 300), (21, 25)), ((3, 2), (9, 8)), ((70, 1), (7, 3))]:
        kernel = np.outer(rng.standard_normal(size[0]), rng.standard_normal(size[1]))
        image = rng.standard_normal(shape)
        bound = np.abs(kernel).sum() * max(1.5, np.abs(image).max())
        expected = references.convolve(image, kernel, border, 1.5)
        options = {"border": border, "cval": 1.5, "method": "separable"}
        assert np.abs(convolve(image, kernel, **options) - expected).max() <= 1e-15 * bound * np.log2(2 * kernel.size)
        single = convolve(image.astype("f4"), kernel, **options)
        assert np.abs(single - expected).max() <= 4e-7 * bound * np.log2(2 * kernel.size)


@pytest.mark.parametrize("dtype", INTEGERS[:6])
def test_separable_whole_numbers_are_exact(isa, rng, dtype):
    kernel = np.outer([6, -3, 9, 0], [2, 4, -6])
    image = references.random_image(rng, (20, 140), dtype)
    exact = references.convolve(image.astype(object), kernel.astype(object))
    np.testing.assert_array_equal(convolve(image, kernel, method="separable", dtype="i8"), exact.astype("i8"))


@pytest.mark.parametrize("border", BORDERS)
def test_separable_volumes_agree_with_the_reference(isa, rng, border):
    for shape, size in [((9, 7, 21), (3, 2, 5)), ((2, 9, 8), (7, 3, 1)), ((3, 4, 5, 6), (2, 3, 2, 3))]:
        kernel = np.ones(())
        for n in size:
            kernel = np.multiply.outer(kernel, rng.standard_normal(n))
        image = rng.standard_normal(shape)
        bound = np.abs(kernel).sum() * max(1.5, np.abs(image).max()) * np.log2(2 * kernel.size)
        options = {"border": border, "cval": 1.5, "method": "separable"}
        expected = references.convolve(image, kernel, border, 1.5)
        assert np.abs(convolve(image, kernel, **options) - expected).max() <= 1e-15 * bound
        assert np.abs(convolve(image.astype("f4"), kernel, **options) - expected).max() <= 4e-7 * bound
        whole = references.random_image(rng, shape, "u2")
        numbers = np.multiply.outer(np.arange(1, size[0] + 1), np.full(size[1:], 3))
        exact = references.convolve(whole.astype("i8"), numbers, border, 5)
        result = convolve(whole, numbers, border=border, cval=5, method="separable", bias=-7, dtype="i8")
        np.testing.assert_array_equal(result, exact - 7)


def test_threads_do_not_change_a_bit_of_a_separable_volume(isa, rng):
    image = rng.standard_normal((11, 30, 40)).astype("f4")
    kernel = np.multiply.outer(rng.random(3), np.outer(rng.random(5), rng.random(5)))
    whole = convolve(image, kernel, method="separable", threads=1)
    np.testing.assert_array_equal(convolve(image, kernel, method="separable", threads=3), whole)
    image[5, 15, 20] = np.nan
    touched = np.zeros(image.shape, bool)
    touched[4:7, 13:18, 18:23] = True
    np.testing.assert_array_equal(np.isnan(convolve(image, kernel, method="separable")), touched)


def test_nan_spreads_as_far_as_a_separable_kernel(isa):
    image = np.zeros((40, 300), "f4")
    image[20, 150] = np.nan
    touched = np.zeros(image.shape, bool)
    touched[18:23, 149:152] = True
    np.testing.assert_array_equal(np.isnan(convolve(image, np.ones((5, 3)), method="separable")), touched)


@pytest.mark.parametrize("border", BORDERS)
def test_volumes_and_lines_agree_with_the_reference(isa, rng, border):
    for shape, size in [((17,), (4,)), ((3,), (9,)), ((4, 6, 21), (3, 2, 5)), ((2, 3, 5, 7), (3, 1, 2, 3))]:
        image, kernel = rng.standard_normal(shape), rng.standard_normal(size)
        expected = references.convolve(image, kernel, border, -2.0)
        np.testing.assert_allclose(convolve(image, kernel, border=border, cval=-2.0), expected, atol=1e-13)
        whole = references.random_image(rng, shape, "u2")
        exact = references.convolve(whole.astype(object), np.ones(size, object), border, 5)
        np.testing.assert_array_equal(
            convolve(whole, np.ones(size), border=border, cval=5), references.saturated(exact, "u2")
        )


def test_threads_and_slabs_do_not_change_a_bit(isa, rng, monkeypatch):
    image, kernel = rng.standard_normal((157, 83)).astype("f4"), rng.standard_normal((4, 5))
    volume, cube = rng.standard_normal((9, 20, 31)), rng.standard_normal((3, 3, 2))
    whole, solid = convolve(image, kernel, threads=1), convolve(volume, cube, threads=1)
    for cost in (1, 500):
        monkeypatch.setattr("imgtool._correlate._SLAB_NANOSECONDS", cost)
        for threads in (1, 2, 3, 8):
            np.testing.assert_array_equal(convolve(image, kernel, threads=threads), whole)
            np.testing.assert_array_equal(convolve(volume, cube, threads=threads), solid)


def correlation(level=None, **changes):
    """A 3 x 3 box in float64, with some arguments changed."""
    arguments = {
        "taps": np.ones(9),
        "shape": (1, 3, 3),
        "across": 0,
        "kind": "f8",
        "border": 0,
        "outside": 0.0,
        "bias": 0.0,
        "alpha_one": 0.0,
        "top": 1,
        "left": 1,
    }
    build = _ext if level is None else import_module(f"imgtool._ext.correlate_{level}")
    return build.Correlation(*(arguments | changes).values())


def test_builds_agree_within_rounding(rng):
    image, kernel = rng.standard_normal((50, 90, 1)), rng.standard_normal(49)
    results = []
    for level in _ext.SUPPORTED:
        out = np.empty_like(image)
        correlation(level, taps=kernel, shape=(1, 7, 7), top=3, left=3).slab(image, out, None, 0, 50)
        results.append(out)
    for other in results[1:]:
        np.testing.assert_allclose(other, results[0], rtol=0, atol=1e-15 * kernel.size * 8)


@pytest.mark.parametrize(
    "changes",
    [
        {"taps": np.ones(8)},
        {"taps": np.ones(0), "shape": (1, 0, 3)},
        {"across": 3},
        {"taps": np.ones(6), "shape": (1, 2, 2), "across": 2},
        {"kind": "i8"},
        {"taps": np.ones(9, "i8"), "kind": "i8", "outside": 0, "bias": 0, "alpha_one": 255.0},
    ],
)
def test_a_damaged_kernel_is_refused(isa, changes):
    with pytest.raises(ValueError):
        correlation(**changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"source": np.zeros(20)},
        {"source": np.zeros((4, 5, 2))},
        {"out": np.zeros((4, 5, 1))[::-1]},
        {"out": np.zeros((4, 5, 2))},
        {"planes": np.zeros(2, np.intp)},
        {"end": 5},
        {"begin": -1},
        {"begin": 3, "end": 2},
    ],
)
def test_a_damaged_call_is_refused(isa, changes):
    arguments = {"source": np.zeros((4, 5, 1)), "out": np.zeros((4, 5, 1)), "planes": None, "begin": 0, "end": 4}
    with pytest.raises(ValueError):
        correlation().slab(*(arguments | changes).values())


def test_a_type_without_a_kernel_is_refused(isa):
    with pytest.raises(TypeError):
        correlation().slab(np.zeros((4, 5, 1), "f2"), np.zeros((4, 5, 1)), None, 0, 4)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_image_any_kernel_any_strides(isa, data):
    axes = data.draw(st.integers(1, 3), "axes")
    sides = st.integers(1, (80, 30, 9)[axes - 1])
    shape = data.draw(st.tuples(*[sides] * axes), "shape")
    size = data.draw(st.tuples(*[st.integers(1, 6)] * axes), "kernel")
    dtype = np.dtype(data.draw(st.sampled_from(["?", *INTEGERS, "f4", "f8", ">u2", ">f4", ">i8"]), "dtype"))
    border = data.draw(st.sampled_from(BORDERS), "border")
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32), "seed"))
    image = references.random_image(rng, [2 * n for n in shape], dtype.newbyteorder("=")).astype(dtype)
    image = image[tuple(slice(None, None, data.draw(st.sampled_from([2, -2]))) for _ in shape)]
    image = image.transpose(data.draw(st.permutations(range(axes)), "order"))
    image.flags.writeable = False
    kernel = rng.integers(-3, 4, size)
    correlate = data.draw(st.booleans(), "correlate")
    expected = references.convolve(
        image.astype(object if dtype.kind != "f" else float),
        np.flip(kernel).astype(object) if correlate else kernel.astype(object),
        border,
        2,
    )
    result = convolve(image, kernel, border=border, cval=2, correlate=correlate)
    assert result.shape == image.shape
    if dtype.kind == "b":
        np.testing.assert_array_equal(result, expected > 0)
    elif dtype.kind in "iu":
        np.testing.assert_array_equal(result, references.saturated(expected, result.dtype))
    else:
        np.testing.assert_allclose(result, expected.astype(float), rtol=0, atol=1e-3 if dtype.itemsize == 4 else 1e-11)


@pytest.mark.parametrize("border", BORDERS)
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_an_image_read_where_it_lies_gives_the_bits_of_a_copy(isa, rng, dtype, border):
    for shape, size in [((130, 150), (3, 3)), ((66, 131, 3), (4, 7)), ((5, 300), (9, 1)), ((70, 140), (2, 33))]:
        image, kernel = rng.standard_normal(shape).astype(dtype), rng.standard_normal(size)
        options = {"border": border, "cval": 0.5, "channel_axis": -1 if len(shape) > 2 else None, "bias": 0.1}
        apart = np.repeat(image, 2, axis=1)[:, ::2]
        for cut in ("same", "valid", "full"):
            if cut != "valid" or size[0] <= shape[0]:
                expected = convolve(apart, kernel, shape=cut, method="direct", **options)
                np.testing.assert_array_equal(
                    convolve(image, kernel, shape=cut, method="direct", **options), expected, strict=True
                )
        ahead = convolve(apart, kernel, anchor=(0, size[1] - 1), method="direct", **options)
        np.testing.assert_array_equal(
            convolve(image, kernel, anchor=(0, size[1] - 1), method="direct", **options), ahead, strict=True
        )


def test_planes_of_a_volume_are_read_where_they_lie(isa, rng):
    volume, kernel = rng.standard_normal((4, 20, 90)).astype("f4"), rng.standard_normal((1, 3, 3))
    result = convolve(volume, kernel, method="direct")
    for plane, filtered in zip(volume, result, strict=True):
        np.testing.assert_array_equal(filtered, convolve(plane, kernel[0], method="direct"), strict=True)


@pytest.mark.parametrize("source", ["f4", "f8"])
@pytest.mark.parametrize("target", ["u1", "i1", "u2", "i2"])
def test_narrow_results_are_rounded_saturated_and_counted(isa, source, target):
    info = np.iinfo(target)
    edges = [info.min, info.max, 0, 2, 3]
    near = [edge + step for edge in edges for step in (-1, -0.5, -0.25, 0, 0.25, 0.5, 1)]
    image = np.tile(np.array([*near, np.nan, np.inf, -np.inf, 1e30], source), 9)[np.newaxis]
    result, count = apply_kernel(image, ([[1.0]],), dtype=target)
    whole = np.rint(image)
    np.testing.assert_array_equal(result, np.nan_to_num(np.clip(whole, info.min, info.max)).astype(target))
    assert count == np.count_nonzero((whole < info.min) | (whole > info.max))
