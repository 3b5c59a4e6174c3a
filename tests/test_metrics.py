"""NMI and its gradient."""

import doctest
import math
import tracemalloc
from importlib import import_module

import imageio.v3 as iio
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from imgtool import ImgtoolError, Workspace, metrics, nmi, nmi_gradient, similarity


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
    for name in ("", "._workspace"):
        results = doctest.testmod(import_module(f"imgtool.metrics{name}"))
        assert results.attempted > 0
        assert results.failed == 0


def correlated(rng, shape=(120, 130), dtype=np.float32):
    """A smooth pair in which one image tells much about the other."""
    fixed = ndimage.gaussian_filter(rng.standard_normal(shape), 4)
    warped = np.cos(14 * fixed) + 0.2 * rng.standard_normal(shape)
    return fixed.astype(dtype), warped.astype(dtype)


def compared(fixed, warped, field=None, **keywords):
    """Similarity and derivative (or gradient) by a workspace."""
    workspace = Workspace(**keywords)
    workspace.set_fixed(fixed)
    workspace.set_moving(warped)
    found = workspace.evaluate()
    return found, workspace.derivative() if field is None else workspace.gradient(field)


def cosine(a, b):
    return np.vdot(a, b) / (np.linalg.norm(a) * np.linalg.norm(b))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("bins", [6, 32, 64, 200])
@pytest.mark.parametrize(("method", "least"), [("half", 0.9995), ("counts", 0.999)])
def test_the_fast_paths_agree_with_the_exact_one(isa, rng, dtype, bins, method, least):
    pair = correlated(rng, dtype=dtype)
    found, derivative = compared(*pair, bins=bins, method=method)
    expected, exact = compared(*pair, bins=bins)
    assert found.nmi == pytest.approx(expected.nmi, abs=2e-4)
    assert found.mutual_information == pytest.approx(expected.mutual_information, abs=2e-3)
    assert found.samples == expected.samples
    # With 200 bins the 15 600 samples are less than one for each bin pair that they touch.
    assert cosine(derivative, exact) > (least if bins <= 64 else 0.995)
    assert not derivative[exact == 0].any()


@pytest.mark.parametrize("method", ["half", "counts"])
def test_twice_the_sub_bins_halve_the_error_of_the_derivative(rng, method):
    pair = correlated(rng)
    _, exact = compared(*pair)
    errors = [np.linalg.norm(compared(*pair, method=method, sub_bins=k)[1] - exact) for k in (5, 10, 20)]
    assert errors[0] > 1.7 * errors[1] > 1.7**2 * errors[2]


@pytest.mark.parametrize("method", ["half", "counts"])
@pytest.mark.parametrize("bins", [32, 64, 128])
def test_the_fast_paths_agree_on_real_pairs(shared_data, bins, method):
    folder = shared_data / "aligned" / "brainweb_80"
    t1, t2 = (iio.imread(folder / f"{name}.png").astype(np.float32) for name in ("t1", "t2"))
    # As they are, and between their pixels, as images are that were warped.
    between = ndimage.shift(t2, (1.3, -2.6), order=1)
    for fixed, moving in ((t1, t2), (t1, between), (ndimage.shift(t1, (0.4, 0.7), order=1), between)):
        expected, exact = compared(fixed, moving, bins=bins)
        found, derivative = compared(fixed, moving, bins=bins, method=method)
        assert abs(found.nmi - expected.nmi) <= 1e-4
        assert cosine(derivative, exact) >= 0.999


@pytest.mark.parametrize("bins", [16, 64, 128, 256])
@pytest.mark.parametrize("method", ["half", "counts"])
def test_the_fast_paths_are_exact_for_images_of_few_levels(isa, rng, bins, method):
    fixed, warped = correlated(rng)
    fixed, warped = (np.rint(255 * (a - a.min()) / np.ptp(a)) for a in (fixed, warped))
    for kind in (np.uint8, np.float32):
        pair = fixed.astype(kind), (warped.astype(np.uint8) if kind is np.uint8 else (warped / 255).astype(kind))
        found, derivative = compared(*pair, bins=bins, method=method)
        expected, exact = compared(*pair, bins=bins)
        assert found.nmi == pytest.approx(expected.nmi, abs=2e-6)
        # Moving may have two levels in a sub-bin of "counts".
        assert cosine(derivative, exact) > (0.99999 if method == "half" else 0.9999)


@pytest.mark.parametrize("place", [0.1, 0.5, 0.8])
def test_counts_keep_the_mean_place_of_moving_in_its_sub_bins(isa, rng, place):
    # Of 4 bins [1, 2] in sub-bins of a third: all in the middle one, on average at `place` of it.
    warped = (1 + place + 0.1 * np.tile([1, -1], 500)) / 3
    fixed = np.repeat([0.0, 1.0], 500)
    workspace = Workspace(bins=4, method="counts", sub_bins=8)
    workspace.set_fixed(fixed)
    workspace.set_moving(warped, limits=(0, 1))
    workspace.evaluate()
    moving = workspace.marginals[1] / warped.size
    assert moving @ np.arange(4) == pytest.approx(1 + warped.mean(), abs=1 / 256 / 3)
    # Between the edges their variance is taken for that of samples everywhere.
    spread = moving @ (np.arange(4) - 1 - warped.mean()) ** 2
    assert spread == pytest.approx(1 / 3 + 1 / 12 / 9 - ((place - 0.5) / 3) ** 2, abs=2e-3)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("method", metrics.METHODS)
def test_large_results_are_the_same_wherever_they_begin(isa, rng, method, dtype):
    # More than 2 MB, which go past the caches in whole lines: of even and odd size, on the border of a line and beside.
    for shape in ((512, 520), (511, 521)):
        fixed, warped = correlated(rng, shape, dtype)
        field = rng.standard_normal((2, *shape)).astype(dtype)
        workspace = Workspace(method=method, threads=2)
        workspace.set_fixed(fixed)
        workspace.set_moving(warped)
        workspace.evaluate()
        expected = workspace.derivative(np.empty(shape, dtype)) * field
        for beyond in (0, 1, 5):
            memory = np.full(field.size + 6, 7, dtype)
            out = memory[beyond : beyond + field.size].reshape(field.shape)
            np.testing.assert_array_equal(workspace.gradient(field, out), expected)
            assert (memory[:beyond] == 7).all()
            assert (memory[beyond + field.size :] == 7).all()


@pytest.mark.parametrize("method", metrics.METHODS)
def test_a_workspace_takes_one_image_after_another(rng, method):
    fixed, warped = correlated(rng)
    workspace = Workspace(bins=32, method=method)
    workspace.set_fixed(fixed)
    for image in (warped, fixed, fixed[::-1].astype(float), warped):
        workspace.set_moving(image)
        found = workspace.evaluate()
        expected, derivative = compared(fixed, image, bins=32, method=method)
        assert found == expected
        np.testing.assert_array_equal(workspace.derivative(), derivative)
    workspace.set_fixed(warped[:50], mask=warped[:50] > 0)
    workspace.set_moving(fixed[:50])
    assert workspace.evaluate().samples == np.count_nonzero(warped[:50] > 0)


@pytest.mark.parametrize("method", metrics.METHODS)
def test_a_workspace_sees_changes_of_an_image_and_needs_no_new_memory(rng, method):
    fixed, warped = correlated(rng, (300, 400))
    workspace = Workspace(method=method, threads=1)
    workspace.set_fixed(fixed)
    workspace.set_moving(warped)
    out = np.empty(warped.shape, np.float32)
    workspace.evaluate()
    workspace.derivative(out)
    tracemalloc.start()
    warped[:] = np.roll(warped, 3, axis=1)
    before = tracemalloc.get_traced_memory()[0]
    tracemalloc.reset_peak()
    found = workspace.evaluate()
    assert workspace.derivative(out) is out
    peak = tracemalloc.get_traced_memory()[1] - before
    tracemalloc.stop()
    assert peak < 50_000
    assert found.nmi == compared(fixed, warped, method=method)[0].nmi


@pytest.mark.parametrize("method", metrics.METHODS)
@pytest.mark.parametrize("shape", [(70, 90), (9, 20, 31), (5, 6, 7, 8)])
def test_strides_change_nothing_whatever_the_method(isa, rng, method, shape):
    fixed, warped = (rng.integers(0, 1000, shape).astype(np.float32) for _ in range(2))
    field = rng.standard_normal((len(shape), *shape)).astype(np.float32)
    expected, gradient = compared(fixed, warped, field, method=method)
    flipped = np.asfortranarray(warped)
    wide = np.zeros([2 * n for n in shape], np.float32)
    view = wide[tuple(slice(None, None, -2) for _ in shape)]
    view[...] = fixed
    flipped.flags.writeable = view.flags.writeable = False
    moved = np.moveaxis(np.moveaxis(field, 0, -1).copy(), -1, 0)
    found, same = compared(view, flipped, moved, method=method)
    assert found == expected
    np.testing.assert_array_equal(same, gradient)
    turned, _ = compared(fixed.T, warped.T, method=method)
    assert turned.nmi == pytest.approx(expected.nmi, abs=1e-12)


@pytest.mark.parametrize("method", metrics.METHODS)
def test_every_method_gives_the_same_bits_for_any_number_of_threads(rng, method):
    fixed, warped = correlated(rng, (700, 500))
    results = []
    for threads in (1, 2, 4, 8):
        found, derivative = compared(fixed, warped, method=method, threads=threads)
        results.append((found, derivative.tobytes()))
    assert results[1:] == results[:1] * 3


def test_the_histograms_are_views_that_cannot_be_written(rng):
    workspace = Workspace(bins=16)
    workspace.set_fixed(rng.random((40, 50)))
    workspace.set_moving(rng.random((40, 50)))
    found = workspace.evaluate()
    joint, marginals = workspace.joint, workspace.marginals
    assert joint.sum() == pytest.approx(found.samples)
    np.testing.assert_allclose(marginals, [joint.sum(axis=1), joint.sum(axis=0)], rtol=1e-12)
    assert np.shares_memory(joint, workspace.joint)
    with pytest.raises(ValueError, match="read-only"):
        joint[0, 0] = 1


def test_limits_fix_the_range_instead_of_percentiles(rng):
    fixed, warped = correlated(rng)
    workspace = Workspace()
    workspace.set_fixed(fixed, limits=(-0.1, 0.2))
    workspace.set_moving(warped, limits=(0, 1))
    found = workspace.evaluate()
    assert (found.fixed_range, found.moving_range) == ((-0.1, 0.2), (0, 1))
    clipped = np.clip(fixed, np.float32(-0.1), np.float32(0.2)), np.clip(warped, 0, 1)
    assert found.nmi == pytest.approx(nmi(*clipped, percentiles=(0, 100)), abs=1e-6)


@given(
    values=st.lists(st.sampled_from([-2.5, 0.0, 0.0, 1.0, 3.25, 1e9, math.nan, math.inf]), min_size=2, max_size=60),
    ends=st.tuples(st.floats(0, 49), st.floats(51, 100)),
    repeats=st.sampled_from([1, 997]),
    threads=st.integers(1, 3),
)
@settings(max_examples=60)
def test_percentiles_are_those_of_all_finite_pixels(values, ends, repeats, threads):
    image = np.repeat(np.array(values), repeats)
    finite = image[np.isfinite(image)]
    if finite.size and finite.min() < finite.max():
        low, high = np.percentile(finite, ends)
        if low == high:
            low, high = finite.min(), finite.max()
        found = metrics.intensity_range(image, "image", percentiles=ends, threads=threads)
        np.testing.assert_allclose(found, (low, high), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32, np.float64])
@pytest.mark.parametrize("percentiles", [(0, 100), (0.1, 99.9), (5, 60), (49, 51)])
def test_percentiles_of_large_masked_images_are_exact(rng, dtype, percentiles):
    image = (rng.gamma(2.0, 20.0, (301, 499)) % 250).astype(dtype)
    image[:60] = 0
    keep = rng.random(image.shape) < 0.7
    found = metrics.intensity_range(image, "image", mask=keep, percentiles=percentiles, threads=2)
    np.testing.assert_allclose(found, np.percentile(image[keep].astype(float), percentiles), rtol=1e-6)


@pytest.mark.parametrize(
    ("act", "words"),
    [
        (lambda: Workspace(method="guess"), "method 'guess' is unknown; use exact, half, counts"),
        (lambda: Workspace(sub_bins=0), "sub_bins must be a whole number from 1 to 256, not 0"),
        (
            lambda: Workspace(method="counts", bins=256, sub_bins=40),
            "40 sub_bins are too many to count in with 256 bins",
        ),
        (
            lambda: Workspace(method="counts").set_fixed(np.broadcast_to(np.float32(1), (1 << 14, 1 << 15))),
            'fixed has 536870912 pixels, but method="counts" takes 268435456 at most; use method="half"',
        ),
        (lambda: Workspace(percentiles=(9, 1)), "percentiles must be two rising numbers"),
        (lambda: Workspace(percentiles=7), "percentiles must be two rising numbers"),
        (lambda: Workspace().set_moving(np.eye(3)), "set_fixed comes before set_moving"),
        (lambda: Workspace().evaluate(), "set_fixed and set_moving come before evaluate"),
        (lambda: Workspace().derivative(), "evaluate comes before"),
        (lambda: Workspace().set_fixed(np.eye(3), limits=(1, 1)), "limits of fixed must be two rising numbers"),
    ],
)
def test_misuse_of_a_workspace_is_told_in_a_sentence(act, words):
    with pytest.raises(ImgtoolError, match=words):
        act()


@pytest.mark.parametrize("out", [np.empty((5, 5), int), np.empty((5, 4)), np.empty((10, 5))[::2]])
def test_an_unfit_array_for_results_is_refused(out):
    workspace = Workspace()
    workspace.set_fixed(np.eye(5))
    workspace.set_moving(np.eye(5))
    workspace.evaluate()
    with pytest.raises(ImgtoolError, match="out has shape"):
        workspace.derivative(out)


def test_similarity_tells_masked_and_missing_pixels_apart(rng):
    fixed, warped = rng.random((2, 30, 40))
    mask = np.ones((30, 40), bool)
    mask[:10] = False
    warped[5:15, 0] = np.nan
    found = similarity(fixed, warped, mask=mask)
    assert (found.masked, found.missing, found.samples) == (400, 5, 795)
    assert found.overlap == 795 / 1200
    assert found.as_dict()["overlap"] == found.overlap


def test_the_picture_shows_fixed_to_the_right_and_moving_upwards():
    joint = np.zeros((32, 32))
    joint[20:28, 4] = 50
    picture = metrics.picture(joint)
    assert picture.dtype == np.uint8
    square = picture[78:590, 30:542].astype(int).sum(axis=-1)
    bright = np.argwhere(square > 300).mean(axis=0) / 512
    assert bright[1] == pytest.approx(24 / 32, abs=0.02)
    assert bright[0] == pytest.approx(1 - 4.5 / 32, abs=0.02)
