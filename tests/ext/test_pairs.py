"""16-bit images with fractions in fixed point, every build that can, against float64."""

import numpy as np
import pytest
import references
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from references import BORDERS

from imgtool import _ext, _plan
from imgtool._fixed import fixed_point
from imgtool.explain import explain
from imgtool.filters import convolve


@pytest.fixture
def rng():
    return np.random.default_rng(23)


@pytest.fixture
def pairs(isa):
    if not _ext.pairs_supported():
        pytest.skip("this build or processor has no products of 16-bit pairs")


def filtered(image, kernel, border="reflect", bias=0.0):
    """Rows x columns x channels through the kernel, laid as it is, in fixed point; and how many were saturated."""
    fixed = fixed_point(kernel, bias, 1e-3)
    top, left = ((n - 1) // 2 for n in kernel.shape)
    out = np.empty(image.shape, np.uint16)
    ready = _ext.Pairs(*fixed, _plan.BORDER_CODES[border], 7, top, left)
    return out, ready.slab(image, out, None, 0, len(image))


def in_float64(image, kernel, border="reflect", bias=0.0):
    options = {"border": border, "cval": 7, "bias": bias, "correlate": True, "channel_axis": -1, "method": "direct"}
    anchor = tuple((n - 1) // 2 for n in kernel.shape)
    return convolve(image.astype(float), kernel, anchor=anchor, **options)


def assert_rounded(result, real):
    """Half to even and saturated, but within 1e-3 of a tie, where either neighbour will do."""
    surely = np.abs(real - np.floor(real) - 0.5) > 1e-3
    np.testing.assert_array_equal(result[surely], references.saturated(np.rint(real), "u2")[surely])
    assert (np.abs(result - np.clip(real, 0, 65535)) < 0.502).all()


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    shape=st.tuples(st.integers(1, 40), st.integers(1, 80), st.sampled_from([1, 1, 3, 18])),
    size=st.tuples(st.integers(1, 11), st.integers(1, 11)),
    border=st.sampled_from(BORDERS),
    bias=st.sampled_from([0.0, 12.25, -100.0]),
    signed=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_any_shape_kernel_and_border_is_rounded_from_the_exact_sum(pairs, shape, size, border, bias, signed, seed):
    rng = np.random.default_rng(seed)
    image, kernel = references.random_image(rng, shape, "u2"), rng.standard_normal(size) if signed else rng.random(size)
    kernel /= np.abs(kernel).sum()
    if fixed_point(kernel, bias, 1e-3) is None:
        return
    result, count = filtered(image, kernel, border, bias)
    real = in_float64(image, kernel, border, bias)
    assert_rounded(result, real)
    beyond = (np.rint(real) < 0) | (np.rint(real) > 65535)
    close = np.abs(real - np.floor(real) - 0.5) <= 1e-3
    assert abs(count - np.count_nonzero(beyond)) <= np.count_nonzero(close)


@pytest.mark.parametrize("size", [(1, 1), (2, 2), (3, 3), (4, 4), (5, 5), (9, 9), (11, 8)])
@pytest.mark.parametrize("value", [0, 1, 32767, 32768, 65534, 65535])
def test_a_constant_image_stays_what_it_is(pairs, rng, size, value):
    kernel = rng.random(size)
    kernel /= kernel.sum()
    result, count = filtered(np.full((13, 40, 1), value, np.uint16), kernel)
    assert count == 0
    assert (result == value).all()


def test_halves_round_to_even(pairs, rng):
    image, kernel = references.random_image(rng, (30, 70, 1), "u2"), np.array([[0.25, 0.5], [0.125, 0.125]])
    result, _ = filtered(image, kernel)
    np.testing.assert_array_equal(result, np.rint(in_float64(image, kernel)).astype("u2"))


def test_saturated_values_are_counted(pairs, rng):
    image = references.random_image(rng, (31, 45, 1), "u2")
    kernel = np.array([[0.0, -1, 0], [-1, 5, -1], [0, -1, 0]]) * 1.01
    result, count = filtered(image, kernel)
    real = in_float64(image, kernel)
    assert_rounded(result, real)
    assert count == np.count_nonzero((real < -0.5) | (real >= 65535.5)) > 100


def test_low_halves_are_carried_over_before_they_overflow(pairs, rng):
    kernel = rng.random((9, 9))
    kernel /= kernel.sum()
    assert fixed_point(kernel, 0.0, 1e-3).carry < 9
    for image in (np.full((20, 50, 1), 65535, np.uint16), (rng.random((20, 50, 1)) < 0.5) * np.uint16(65535)):
        assert_rounded(filtered(image, kernel)[0], in_float64(image, kernel))


def test_slabs_strides_and_threads_do_not_change_a_bit(pairs, rng):
    image, kernel = references.random_image(rng, (400, 300, 3), "u2"), rng.random((5, 5)) / 12.5
    whole = convolve(image, kernel, channel_axis=-1, threads=1)
    np.testing.assert_array_equal(convolve(image, kernel, channel_axis=-1, threads=3), whole)
    upright = convolve(np.ascontiguousarray(image[::-1, ::-1]), kernel, channel_axis=-1, correlate=True)
    np.testing.assert_array_equal(upright, convolve(image[::-1, ::-1], kernel, channel_axis=-1, correlate=True))
    np.testing.assert_array_equal(upright[::-1, ::-1], whole)


def test_the_method_is_chosen_and_named(pairs, rng):
    image, kernel = references.random_image(rng, (90, 90), "u2"), rng.random((5, 5)) / 12.5
    assert explain(image, (kernel,))["accumulator"] == "int32"
    assert_rounded(convolve(image, kernel), convolve(image.astype(float), kernel))
    # What fixed point cannot do goes another way: alpha, other types, a constant that is no pixel, whole numbers.
    assert explain(image, (kernel,), border="constant", cval=0.5)["accumulator"] == "float64"
    assert explain(image, (kernel,), dtype="u1")["accumulator"] == "float64"
    assert explain(image, (np.ones((2, 2)),))["accumulator"] == "float32"
    assert explain(image, (rng.random((5, 5)) * 1e4,))["accumulator"] == "float64"


@given(
    size=st.tuples(st.integers(1, 12), st.integers(1, 12)),
    scale=st.floats(1e-6, 50),
    bias=st.floats(-70000, 70000),
    seed=st.integers(0, 2**32 - 1),
)
def test_fixed_point_keeps_its_word(size, scale, bias, seed):
    kernel = np.random.default_rng(seed).standard_normal(size) * scale
    found = fixed_point(kernel, bias, 1e-3)
    if found is None:
        return
    high, low = (half[:, : size[1]].astype(object) for half in found.halves)
    taps = high * 2**found.shift + low
    unit = 2.0 ** -(found.point + found.shift)
    assert 2**15 * np.abs(kernel - (taps * unit).astype(float)).sum() < 1e-3
    for first in range(size[0]):
        assert np.abs(low[first : first + found.carry]).sum() < 2**16 - 1
    # The extreme results and all their errors fit into the 32 bits of the high halves, and so does their rounding.
    ends = [65535 * sum(t for t in taps.ravel() if sign * t > 0) for sign in (-1, 1)]
    middle = found.start - 2**15 * int(taps.sum())
    assert ends[0] + middle >= -(2**31) * 2**found.shift
    assert ends[1] + middle + 2 ** (found.point + found.shift - 2) < 2**31 * 2**found.shift


def test_objects_that_do_not_fit_are_refused(isa):
    halves = np.zeros((2, 3, 3), np.int16)
    with pytest.raises(ValueError, match="even number of columns"):
        _ext.Pairs(halves, 16, 12, 3, 0, 0, 0, 1, 1)
    ready = _ext.Pairs(np.zeros((2, 3, 4), np.int16), 16, 12, 3, 0, 0, 0, 1, 1)
    with pytest.raises(ValueError, match="planes of uint16"):
        ready.slab(np.zeros((4, 4), "u1"), np.zeros((4, 4), "u2"), None, 0, 4)
    with pytest.raises(ValueError, match="no such rows"):
        ready.slab(np.zeros((4, 4), "u2"), np.zeros((4, 4), "u2"), None, 0, 5)
