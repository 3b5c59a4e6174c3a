"""NMI and its gradient."""

import doctest
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from imgtool import ImgtoolError, metrics, nmi, nmi_gradient


@pytest.fixture
def rng():
    return np.random.default_rng(11)


def pair(rng, shape=(40, 50)):
    """Two smooth images that depend on each other, not linearly, with noise."""
    fixed = ndimage.gaussian_filter(rng.standard_normal(shape), 3)
    warped = np.cos(20 * np.roll(fixed, 1, axis=-1)) + 0.1 * rng.standard_normal(shape)
    return fixed, warped


def gradients(image):
    return np.stack(np.gradient(image))


def binned(image, bins):
    """Bin coordinates by the documented mapping."""
    low, high = np.percentile(image, (0.1, 99.9))
    return 2 + (np.clip(image, low, high) - low) / (high - low) * (bins - 5)


def window(u):
    u = abs(u)
    return 2 / 3 - u**2 + u**3 / 2 if u < 1 else max(2 - u, 0) ** 3 / 6


def window_slope(u):
    a = abs(u)
    return math.copysign(1, u) * (1.5 * a**2 - 2 * a if a < 1 else -(max(2 - a, 0) ** 2) / 2)


def brute_force_histogram(fixed, warped, bins):
    rows = [[window(f - r) for r in range(bins)] for f in fixed.ravel()]
    columns = [[window(w - s) for s in range(bins)] for w in warped.ravel()]
    return np.array(rows).T @ np.array(columns)


def entropy(p):
    return -sum(v * math.log(v) for v in np.ravel(p) if v > 0)


def seed_gradient(reference, warped, war_x, war_y, entropies, jhlog, reflog, warlog, bins):
    """The loop this project began with, NiftyReg's voxel-based NMI gradient, word for word but for the floor."""
    nmi = (entropies[0] + entropies[1]) / entropies[2]
    result = np.zeros((2, *reference.shape))
    for place in np.ndindex(reference.shape):
        ref, war = reference[place], warped[place]
        jd, rd, wd = np.zeros(2), np.zeros(2), np.zeros(2)
        for r in range(math.floor(ref - 1), math.floor(ref + 3)):
            if not -1 < r < bins:
                continue
            for w in range(math.floor(war - 1), math.floor(war + 3)):
                if not -1 < w < bins:
                    continue
                c = window(ref - r) * window_slope(war - w)
                jd += c * np.array([war_x[place], war_y[place]]) * jhlog[r, w]
                rd += c * np.array([war_x[place], war_y[place]]) * reflog[r]
                wd += c * np.array([war_x[place], war_y[place]]) * warlog[w]
        result[(slice(None), *place)] = (rd + wd - nmi * jd) / (entropies[2] * entropies[3])
    return result


@pytest.mark.parametrize("bins", [16, 64])
def test_value_and_gradient_equal_the_seeds_formula_with_the_sign_turned(rng, bins):
    fixed, warped = pair(rng, (17, 23))
    field = gradients(warped)
    f, w = binned(fixed, bins), binned(warped, bins)
    joint = brute_force_histogram(f, w, bins) / f.size
    p, q = joint.sum(axis=1), joint.sum(axis=0)
    entropies = entropy(p), entropy(q), entropy(joint), f.size
    log_joint, log_p, log_q = (np.log(np.where(t > 0, t, 1)) for t in (joint, p, q))
    expected = -seed_gradient(f, w, field[1], field[0], entropies, log_joint, log_p, log_q, bins)[::-1]
    low, high = np.percentile(warped, (0.1, 99.9))
    expected *= (bins - 5) / (high - low)
    expected[:, (warped <= low) | (warped >= high)] = 0
    value, gradient = nmi_gradient(fixed, warped, field, bins=bins)
    assert value == pytest.approx((entropies[0] + entropies[1]) / entropies[2], abs=1e-12)
    assert value == nmi(fixed, warped, bins=bins)
    np.testing.assert_allclose(gradient, expected, atol=1e-10 * np.abs(expected).max())


@pytest.mark.parametrize("bins", [8, 32, 64])
@pytest.mark.parametrize("holes", [False, True])
def test_the_gradient_agrees_with_central_differences(rng, bins, holes):
    fixed, warped = pair(rng)
    mask = rng.random(fixed.shape) < 0.8 if holes else None
    if holes:
        fixed[3, 5:9] = np.nan
    value, gradient = nmi_gradient(fixed, warped, np.ones((1, *warped.shape)), bins=bins, mask=mask)
    step = 2e-5 * np.ptp(warped)
    numeric, analytic = [], []
    for place in rng.integers(0, warped.shape, (150, 2)):
        ends = []
        for sign in (1, -1):
            moved = warped.copy()
            moved[tuple(place)] += sign * step
            ends.append(nmi(fixed, moved, bins=bins, mask=mask))
        numeric.append((ends[0] - ends[1]) / (2 * step))
        analytic.append(gradient[0, *place])
    assert np.count_nonzero(analytic) > 100
    np.testing.assert_allclose(analytic, numeric, atol=1e-6 * np.abs(analytic).max(), rtol=1e-6)
    assert value == nmi(fixed, warped, bins=bins, mask=mask)


def test_nmi_is_symmetric_bounded_and_greatest_for_equal_images(rng):
    fixed, warped = pair(rng)
    shuffled = rng.permutation(fixed.ravel()).reshape(fixed.shape)
    assert nmi(fixed, warped) == pytest.approx(nmi(warped, fixed), abs=1e-13)
    assert 1 <= nmi(fixed, shuffled) < nmi(fixed, warped) < nmi(fixed, fixed) <= 2


def test_nmi_is_one_for_images_that_do_not_depend_on_each_other():
    y, x = np.mgrid[:60, :60]
    assert nmi(x, y) == pytest.approx(1, abs=1e-12)


@given(scale=st.sampled_from([-3.0, 0.01, 250.0]), offset=st.floats(-1e3, 1e3), bins=st.integers(4, 256))
@settings(max_examples=30, deadline=None)
def test_affine_maps_of_intensity_and_inversion_change_nothing(scale, offset, bins):
    fixed, warped = pair(np.random.default_rng(2), (24, 25))
    assert nmi(fixed, scale * warped + offset, bins=bins) == pytest.approx(nmi(fixed, warped, bins=bins), abs=1e-8)


def test_the_gradient_sums_to_the_change_by_a_common_offset(rng):
    fixed, warped = pair(rng)
    # One far pixel at each end keeps all others, which would move together, away from the ends of the range.
    for image in (fixed, warped):
        image[0, :3], image[1, :3] = image.min() - 9 * np.ptp(image), image.max() + 9 * np.ptp(image)
    value, by_value = nmi_gradient(fixed, warped, np.ones((1, *warped.shape)))
    inner = by_value[0, 2:]
    moved = warped.copy()
    moved[2:] += 1e-4
    assert inner.sum() == pytest.approx((nmi(fixed, moved) - value) / 1e-4, rel=1e-2)


def test_what_lies_under_the_mask_does_not_matter(rng):
    fixed, warped = pair(rng)
    mask = np.ones(fixed.shape, np.uint8)
    mask[10:20, 5:30] = 0
    expected = nmi_gradient(fixed, warped, gradients(warped), mask=mask)
    field = gradients(warped)
    fixed[mask == 0], warped[15, 6:20], field[:, 12, 12] = 1e9, np.nan, np.inf
    value, gradient = nmi_gradient(fixed, warped, field, mask=mask)
    assert value == expected[0]
    np.testing.assert_array_equal(gradient, expected[1])
    assert not gradient[:, mask == 0].any()


def test_missing_and_infinite_pixels_of_either_image_do_not_count(rng):
    fixed, warped = pair(rng)
    mask = np.ones(fixed.shape, bool)
    mask[3, 4:9], mask[20:22, 7], mask[9, 9] = False, False, False
    expected = nmi(fixed, warped, mask=mask)
    fixed[3, 4:9], fixed[20:22, 7], warped[9, 9] = np.nan, np.inf, -np.inf
    # The range of each image is taken of its own pixels: hide the same ones in both.
    warped[3, 4:9], warped[20:22, 7], fixed[9, 9] = np.nan, np.nan, np.nan
    assert nmi(fixed, warped) == expected


@pytest.mark.parametrize("shape", [(400,), (20, 25), (9, 8, 7)])
def test_any_number_of_axes_gives_the_same_as_the_flat_samples(rng, shape):
    fixed, warped = pair(rng, shape)
    field = rng.standard_normal((3, *shape))
    value, gradient = nmi_gradient(fixed, warped, field)
    flat_value, flat_gradient = nmi_gradient(fixed.ravel(), warped.ravel(), field.reshape(3, -1))
    assert gradient.shape == field.shape
    assert value == flat_value
    np.testing.assert_array_equal(gradient.reshape(3, -1), flat_gradient)


def test_strides_byte_order_and_read_only_arrays_change_nothing(rng):
    fixed, warped = pair(rng)
    expected = nmi_gradient(fixed, warped, gradients(warped))
    wide = np.zeros((80, 100))
    wide[::-2, ::2] = fixed
    swapped = warped.astype(">f8")
    swapped.flags.writeable = False
    value, gradient = nmi_gradient(wide[::-2, ::2], np.asfortranarray(swapped), np.asfortranarray(gradients(warped)))
    assert value == expected[0]
    np.testing.assert_array_equal(gradient, expected[1])


@pytest.mark.parametrize("dtype", ["?", "u1", "i2", "u2", "i4", "u8", "f2", "f4"])
def test_every_real_dtype_counts_as_its_float64_copy(rng, dtype):
    fixed = (rng.integers(0, 200, (30, 30)) % (2 if dtype == "?" else 200)).astype(dtype)
    warped = np.roll(fixed, 1, 0)
    expected = nmi(fixed.astype(float), warped.astype(float))
    assert nmi(fixed, warped) == pytest.approx(expected, abs=1e-6)
    _, gradient = nmi_gradient(fixed, warped, np.ones((2, 30, 30), np.float32))
    assert gradient.dtype == (np.float64 if dtype in ("i4", "u8") else np.float32)


def test_single_precision_is_good_to_six_digits(rng):
    fixed, warped = pair(rng, (200, 200))
    value, gradient = nmi_gradient(fixed, warped, gradients(warped))
    single = nmi_gradient(*(a.astype(np.float32) for a in (fixed, warped, gradients(warped))))
    assert single[0] == pytest.approx(value, abs=1e-6)
    assert np.abs(single[1] - gradient).max() < 2e-4 * np.abs(gradient).max()


def test_results_are_the_same_to_the_last_bit_for_any_number_of_threads(rng):
    fixed, warped = pair(rng, (700, 500))
    results = [nmi_gradient(fixed, warped, gradients(warped), threads=n) for n in (1, 2, 3, 8)]
    for value, gradient in results[1:]:
        assert value == results[0][0]
        assert gradient.tobytes() == results[0][1].tobytes()


def test_the_range_ignores_hot_pixels_and_falls_back_to_all_values_of_a_sparse_image():
    values = np.arange(10000.0).reshape(100, 100)
    values[5, 5] = 1e12
    low, high = metrics.intensity_range(values, "image")
    assert 0 < low < 20
    assert 9980 < high < 10000
    sparse = np.zeros((1000, 1000))
    sparse[500, 500] = 7
    assert metrics.intensity_range(sparse, "image") == (0, 7)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((np.zeros((3, 3)), np.eye(3)), "fixed is constant .every pixel is 0."),
        ((np.eye(3), np.full((3, 3), np.nan)), "moving has no finite pixel"),
        ((np.eye(3), np.eye(4)), "shape .3, 3. but moving has .4, 4."),
        ((np.eye(3) * 1j, np.eye(3)), "fixed is complex"),
        ((np.zeros((0, 3)), np.zeros((0, 3))), "no pixels"),
        ((np.array([1, 2, np.nan, np.nan]), np.array([np.nan, np.nan, 1, 2])), "no pixel in common"),
        ((["a"], ["b"]), "fixed must hold numbers"),
        ((np.array([-1.7e308, 1.7e308] * 9), np.arange(18)), "fixed has pixels as large as the largest"),
    ],
)
def test_images_that_cannot_be_compared_are_refused_in_a_sentence(arguments, words):
    with pytest.raises(ImgtoolError, match=words):
        nmi(*arguments)


@pytest.mark.parametrize(
    ("keywords", "words"),
    [
        ({"bins": 3}, "bins must be a whole number from 4 to 256, not 3"),
        ({"bins": 257}, "not 257"),
        ({"bins": 8.0}, "not 8.0"),
        ({"mask": np.ones((2, 2))}, "mask has shape .2, 2."),
        ({"mask": np.zeros((5, 5))}, "mask is zero everywhere"),
        ({"threads": 0}, "threads must be"),
    ],
)
def test_options_that_make_no_sense_are_refused_in_a_sentence(keywords, words):
    with pytest.raises(ImgtoolError, match=words):
        nmi(np.eye(5), np.eye(5), **keywords)


@pytest.mark.parametrize("shape", [(2, 5, 4), (5, 5), (5,), ()])
def test_a_gradient_field_of_another_shape_is_refused(shape):
    with pytest.raises(ImgtoolError, match="warped_gradient has shape"):
        nmi_gradient(np.eye(5), np.eye(5), np.zeros(shape))


def test_the_examples_in_the_docstrings_run():
    results = doctest.testmod(metrics)
    assert results.attempted > 0
    assert results.failed == 0
