"""The fused kernels of registration, every build of them, against SciPy's interpolation and dense window matrices."""

import numpy as np
import pytest
from references import cubic_rows
from scipy import ndimage

from imgtool import metrics

TURN = np.array([[0.96, -0.2, 5.3], [0.17, 1.02, -2.7], [0, 0, 1.0]])
NEAR = np.array([[1.01, -0.02, -2.4], [0.015, 0.99, 2.6], [0, 0, 1.0]])
TILT = TURN + [[0, 0, 0], [0, 0, 0], [4e-4, -3e-4, 0.02]]


@pytest.fixture
def rng():
    return np.random.default_rng(8)


@pytest.fixture
def planes(rng):
    """Two planes of bin coordinates in [2, 29], which depend on each other; some pixels of both are missing."""
    fixed = ndimage.gaussian_filter(rng.standard_normal((70, 90)), 3)
    moving = np.cos(12 * ndimage.shift(fixed, (2, -3), mode="nearest"))
    planes = [(2 + 27 * (a - a.min()) / np.ptp(a)).astype(np.float32) for a in (fixed, moving[:66])]
    planes[0][30:34, 20:40] = np.nan
    planes[1][10, 50] = np.nan
    return planes


def sampled(plane, matrix, shape, offsets=None):
    """Bilinear samples at the mapped pixels, NaN outside and beside a NaN; from SciPy."""
    y, x = (a.astype(float) for a in np.mgrid[: shape[0], : shape[1]])
    if offsets is not None:
        reps = -(-shape[0] // offsets.shape[1]), -(-shape[1] // offsets.shape[2])
        x, y = (a + np.tile(o, reps)[: shape[0], : shape[1]] for a, o in ((x, offsets[0]), (y, offsets[1])))
    u, v, w = (row[0] * x + row[1] * y + row[2] for row in matrix)
    u, v = u / w, v / w
    height, width = plane.shape
    inside = (u >= -0.5) & (u <= width - 0.5) & (v >= -0.5) & (v <= height - 0.5)
    places = [np.clip(v, 0, height - 1), np.clip(u, 0, width - 1)]
    corner = [np.minimum(p.astype(int), size - 2) for p, size in zip(places, plane.shape, strict=True)]
    missing = ndimage.maximum_filter(np.isnan(plane), 2, origin=-1)[*corner]
    values = ndimage.map_coordinates(np.nan_to_num(plane.astype(float)), places, order=1)
    return np.where(inside & ~missing, values, np.nan)


def exact_nmi(fixed, warped, bins):
    both = ~np.isnan(fixed) & ~np.isnan(warped)
    joint = cubic_rows(fixed[both], bins).T @ cubic_rows(warped[both], bins)
    return metrics.score(joint).nmi, np.count_nonzero(both)


@pytest.mark.parametrize("matrix", [np.eye(3), TURN, TILT])
@pytest.mark.parametrize("jitter", [False, True])
def test_nmi_is_that_of_the_sampled_planes(isa, rng, planes, matrix, jitter):
    offsets = rng.uniform(-0.5, 0.5, (2, 8, 32)).astype(np.float32) if jitter else None
    alignment = metrics.Alignment(*planes, bins=32, threads=2, sub_bins=16, offsets=offsets)
    value, count = alignment.evaluate(matrix)
    fixed = sampled(planes[0], np.eye(3), planes[0].shape, offsets) if jitter else planes[0]
    expected, expected_count = exact_nmi(fixed, sampled(planes[1], matrix, planes[0].shape, offsets), 32)
    # A position on the very border may fall to either side.
    assert abs(count - expected_count) <= 2
    assert value == pytest.approx(expected, abs=2e-4)


@pytest.mark.parametrize("matrix", [NEAR, NEAR + TILT - TURN])
def test_the_derivative_by_the_matrix_agrees_with_central_differences(isa, planes, matrix):
    planes[0][np.isnan(planes[0])] = 3
    planes[1][np.isnan(planes[1])] = 3
    # Nothing may leave the overlap, whose size counts as constant: look at the middle alone.
    inner = np.full_like(planes[0], np.nan)
    inner[20:50, 25:70] = planes[0][20:50, 25:70]
    alignment = metrics.Alignment(inner, planes[1], bins=32, threads=1, sub_bins=16)
    alignment.evaluate(matrix)
    gradient = alignment.gradient(projective=True)
    for place in np.ndindex(3, 3):
        step = 1e-6 if place[0] == 2 else 1e-4
        ends = []
        for sign in (1, -1):
            moved = matrix.copy()
            moved[place] += sign * step
            ends.append(exact_nmi(inner, sampled(planes[1], moved, inner.shape), 32)[0])
        numeric = (ends[0] - ends[1]) / (2 * step)
        assert gradient[place] == pytest.approx(numeric, rel=0.03, abs=0.03 * np.abs(gradient[:, place[1]]).max())


def test_finer_planes_are_sampled_on_the_same_grid(isa, rng):
    y, x = np.mgrid[:121, :161] / 2.0
    fine = [np.asarray(16 + 9 * np.sin(x / a + y / b), np.float32) for a, b in ((5, 9), (6, 8))]
    offsets = rng.uniform(-0.5, 0.5, (2, 8, 32)).astype(np.float32)
    results = []
    for planes, fineness in ((fine, 2), ([plane[::2, ::2].copy() for plane in fine], 1)):
        alignment = metrics.Alignment(*planes, bins=32, threads=2, sub_bins=16, offsets=offsets, fineness=fineness)
        results.append((*alignment.evaluate(NEAR), alignment.gradient(projective=True)))
    (nmi, count, gradient), (coarse_nmi, coarse_count, coarse_gradient) = results
    # Half a pixel beyond the border counts, and pixels of finer planes are smaller.
    assert 0 <= coarse_count - count <= 2 * (61 + 81)
    assert nmi == pytest.approx(coarse_nmi, abs=0.02)
    cosine = (gradient * coarse_gradient).sum() / np.linalg.norm(gradient) / np.linalg.norm(coarse_gradient)
    assert cosine > 0.98


def test_the_last_row_is_left_out_unless_it_is_asked_for(planes):
    alignment = metrics.Alignment(*planes, bins=32, threads=1)
    alignment.evaluate(TURN)
    whole, part = alignment.gradient(projective=True), alignment.gradient()
    np.testing.assert_array_equal(part[:2], whole[:2])
    assert not part[2].any()
    assert whole[2].all()


def test_results_are_the_same_to_the_last_bit_for_any_number_of_threads(rng):
    fixed, moving = rng.uniform(2, 29, (2, 300, 400)).astype(np.float32)
    results = []
    for threads in (1, 2, 4, 8):
        alignment = metrics.Alignment(fixed, moving, bins=32, threads=threads)
        results.append((alignment.evaluate(TURN), alignment.gradient(projective=True).tobytes()))
    assert results[1:] == results[:1] * 3


def test_no_overlap_is_no_error(planes):
    alignment = metrics.Alignment(*planes, bins=32, threads=1)
    away = np.eye(3)
    away[0, 2] = 1e7
    assert alignment.evaluate(away) == (0, 0)
    assert not alignment.gradient().any()
    assert alignment.evaluate(np.eye(3))[1] > 0


def test_the_derivative_vanishes_where_moving_is_held_at_the_border(rng):
    fixed = rng.uniform(2, 29, (8, 8)).astype(np.float32)
    alignment = metrics.Alignment(fixed, fixed, bins=32, threads=1)
    alignment.evaluate(np.array([[0, 0, -0.3], [0, 0, 3.4], [0, 0, 1.0]]))
    gradient = alignment.gradient()
    assert not gradient[0].any()


@pytest.mark.parametrize("shapes", [((1, 9), (9, 9)), ((9, 9), (9, 1))])
def test_planes_without_a_square_of_pixels_are_refused(shapes):
    planes = [np.ones(shape, np.float32) for shape in shapes]
    with pytest.raises(ValueError, match="2 x 2"):
        metrics.Alignment(*planes, bins=32, threads=1)
