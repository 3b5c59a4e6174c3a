"""Free-form deformation: the objective and its gradient, the ascent, and what comes out of both."""

import numpy as np
import pytest
from scipy import ndimage

import imgtool
from imgtool._ffd import deform, fit_spline, levels
from imgtool._ffd.ascent import ascend
from imgtool._ffd.noise import noise_variance, quieted
from imgtool._ffd.objective import Barrier, Objective
from imgtool._ffd.orientation import orientation
from imgtool._ffd.prior import Prior
from imgtool._ffd.similarity import Similarity
from imgtool._spline import Grid
from imgtool.errors import ImgtoolError
from imgtool.transforms import BSplineTransform, MatrixTransform

TURN = np.array([[0.97, -0.12, 3.0], [0.1, 1.04, -2.0], [0, 0, 1]])


@pytest.fixture
def rng():
    return np.random.default_rng(17)


def smooth(rng, shape, sigma=2.0, dtype=np.float64):
    """A random image from 0.1 to 0.9: no value is clamped, where the objective would have a kink."""
    values = ndimage.gaussian_filter(rng.standard_normal(shape), sigma)
    return ((values - values.min()) / np.ptp(values) * 0.8 + 0.1).astype(dtype)


def holes(image, rng):
    """`image` with missing pixels."""
    image = image.copy()
    image[rng.random(image.shape) < 0.02] = np.nan
    image[:9, :14] = np.nan
    return image


def spline_of(deformation, matrix, shape):
    grid = deformation.grid
    spacing = grid.x.spacing, grid.y.spacing
    return BSplineTransform(deformation.control, spacing, matrix=matrix, fixed_shape=shape)


@pytest.mark.parametrize("factor", [1, 2])
@pytest.mark.parametrize(("missing", "length"), [(False, 0.0), (True, 0.0), (False, 12.0)])
def test_the_gradient_of_the_objective_is_that_of_central_differences(rng, factor, missing, length):
    fixed, moving = smooth(rng, (48, 60)), smooth(rng, (50, 58))
    if missing:
        fixed, moving = holes(fixed, rng), holes(moving, rng)
    grid = Grid.covering((48 * factor, 60 * factor), 11.0 * factor)
    expected = Prior(grid, 50.0 * factor, length)
    objective = Objective(Similarity(fixed, moving, factor, TURN, grid, 20, 2), expected, 0.05, 100)
    control = factor * rng.standard_normal((2, *grid.shape))
    # Strong enough for the barrier to act, and not so strong that anything folds.
    while Barrier(grid).value(control) < 1e-4:
        control *= 1.05
    assert np.isfinite(objective.value(control))
    gradient = objective.gradient()
    # Every control point, those beyond the border among them; the overlap is held constant in the gradient, so points
    # whose change moves a pixel across the moving image's border, or out of reach of a missing one, are left out.
    step, compared = 1e-5 * factor, 0
    counts = Similarity(fixed, moving, factor, TURN, grid, 20, 1)
    for index in np.ndindex(*control.shape):
        values, sizes = [], set()
        for sign in (1, -1):
            moved = control.copy()
            moved[index] += sign * step
            values.append(objective.value(moved))
            sizes.add(round(counts.evaluate(moved)[0].sum()))
        if len(sizes) == 1:
            compared += 1
            assert gradient[index] == pytest.approx((values[0] - values[1]) / (2 * step), rel=2e-6, abs=2e-9), index
    assert compared > 0.9 * control.size


def test_the_barrier_grows_without_bound_before_anything_folds():
    grid = Grid.covering((60, 60), 20.0)
    barrier, squeeze = Barrier(grid), np.zeros((2, *grid.shape))
    squeeze[0] = -(np.arange(grid.x.points) - 3) * 20.0
    values = [barrier.value(share * squeeze) for share in (0, 0.4, 0.7, 0.97, 0.9999, 1.001)]
    assert values[:2] == [0, 0]
    assert values == sorted(values)
    assert values[4] > 1000
    assert values[5] == np.inf


def test_the_barrier_alone_has_the_gradient_of_central_differences(rng):
    grid = Grid.covering((40, 50), 8.0)
    barrier, control = Barrier(grid), 1.7 * rng.standard_normal((2, *grid.shape))
    assert 0 < barrier.value(control) < np.inf
    gradient = barrier.gradient()
    for index in np.ndindex(*control.shape):
        moved = np.zeros_like(control)
        moved[index] = 1e-6
        numeric = (barrier.value(control + moved) - barrier.value(control - moved)) / 2e-6
        assert gradient[index] == pytest.approx(numeric, rel=1e-5, abs=1e-9)


def test_no_more_of_a_step_is_taken_than_folds_nothing(rng):
    grid = Grid.covering((60, 60), 10.0)
    start, wild = np.zeros((2, *grid.shape)), 20 * rng.standard_normal((2, *grid.shape))
    assert grid.least_determinant(wild) <= 0
    taken = levels._unfolded(grid, start, wild)
    assert grid.least_determinant(taken) > 0
    assert taken.any()
    gentle = 0.1 * wild / np.abs(wild).max()
    assert levels._unfolded(grid, start, gentle) is gentle


class Bowl:
    """A concave parabola with axes of very different lengths, undefined beyond 3."""

    def __init__(self, curvatures, top):
        self.curvatures, self.top, self.gradients = curvatures, top, 0

    def value(self, x):
        self.at = x
        return -np.inf if x.max() > 3 else float(-(self.curvatures * (x - self.top) ** 2).sum() / 2)

    def gradient(self):
        self.gradients += 1
        return -self.curvatures * (self.at - self.top)


def test_the_ascent_finds_the_top_of_a_narrow_ridge_beside_forbidden_ground(rng):
    bowl = Bowl(np.geomspace(1e-2, 10, 40), np.linspace(-2, 2.9, 40))
    steps = {"first_step": 0.5, "longest_step": 2.0}
    best = ascend(bowl, np.zeros(40), **steps, tolerance=1e-9, iterations=300)
    assert abs(best.value) < 0.02 * abs(Bowl(bowl.curvatures, bowl.top).value(np.zeros(40)))
    assert bowl.gradients == best.iterations + 1
    early = ascend(bowl, np.zeros(40), **steps, tolerance=1e-9, iterations=3)
    assert early.iterations == 3
    assert Bowl(bowl.curvatures, bowl.top).value(np.zeros(40)) < early.value < best.value


def test_an_ascent_that_begins_at_the_top_or_nowhere_stays():
    steps = {"first_step": 0.5, "longest_step": 2.0, "tolerance": 1e-3, "iterations": 10}
    assert ascend(Bowl(np.ones(2), np.zeros(2)), np.zeros(2), **steps).iterations == 0
    nowhere = np.full(2, 5.0)
    np.testing.assert_array_equal(ascend(Bowl(np.ones(2), np.zeros(2)), nowhere, **steps).parameters, nowhere)


def warped_pair(rng, shape=(120, 150), largest=3.0):
    """Fixed, an inverted moving, and the known map from moving to fixed that made it: an affine one after a wave."""
    scene = smooth(rng, shape, 2.5)
    field = np.stack([ndimage.gaussian_filter(rng.standard_normal(shape), 14) for _ in range(2)])
    field *= largest / np.abs(field).max()

    def to_fixed(points):
        back = (points - TURN[:2, 2]) @ np.linalg.inv(TURN[:2, :2]).T
        moved = [ndimage.map_coordinates(part, back.T[::-1], order=3, mode="nearest") for part in field]
        return back + np.stack(moved, axis=1)

    pixels = np.stack(np.meshgrid(*map(np.arange, shape[::-1])), axis=-1).reshape(-1, 2)
    at = to_fixed(pixels.astype(float)).T[::-1]
    moving = 1 - ndimage.map_coordinates(scene, at, order=3, mode="nearest").reshape(shape)
    return scene.astype(np.float32), moving.astype(np.float32), to_fixed


def misses(transform, to_fixed, shape):
    """How far each pixel, mapped to moving and by the known map back, comes out from where it was."""
    pixels = np.stack(np.meshgrid(*map(np.arange, shape[::-1])), axis=-1).reshape(-1, 2).astype(float)
    moving = transform(pixels)
    inside = ((moving >= 0) & (moving <= np.array(shape[::-1]) - 1)).all(axis=1)
    return np.linalg.norm(to_fixed(moving[inside]) - pixels[inside], axis=1)


def test_a_known_warp_is_found_and_nothing_folds(rng):
    fixed, moving, to_fixed = warped_pair(rng)
    found = deform(fixed, moving, TURN, 12.0, 32, 2)
    transform = spline_of(found, TURN, fixed.shape)
    before = misses(spline_of(found._replace(control=0 * found.control), TURN, fixed.shape), to_fixed, fixed.shape)
    after = misses(transform, to_fixed, fixed.shape)
    assert np.median(before) > 0.7
    assert np.median(after) < 0.1
    assert np.percentile(after, 95) < 0.5
    assert transform.least_determinant() > 0
    assert (transform.jacobian_determinant() > 0).all()


def test_a_smooth_field_is_sought_on_a_coarser_grid_and_told_on_the_one_asked_for(rng):
    shape = 300, 280
    scene = smooth(rng, shape, 2.5)
    y, x = np.mgrid[: shape[0], : shape[1]]
    shift = 3 * np.stack([np.sin(y / 50), np.cos(x / 60)])
    noisy = [
        (image + 0.02 * rng.standard_normal(shape)).astype(np.float32)
        for image in (scene, 1 - ndimage.map_coordinates(scene, [y - shift[1], x - shift[0]], order=3, mode="nearest"))
    ]
    found = deform(*noisy, np.eye(3), 10.0, 32, 2)
    assert found.grid == Grid.covering(shape, 10.0)
    coarse = Grid.covering(shape, 20.0)
    assert levels._solvable(found.grid, shape) == [coarse, found.grid]
    # What the coarse grid holds, and nothing that it does not.
    _, same = coarse.refined(found.grid.projected(found.control, coarse), shape)
    assert np.abs(same - found.control).max() < 0.05
    pixels = np.stack([x, y], axis=-1).reshape(-1, 2)
    there = spline_of(found, np.eye(3), shape)(pixels).T
    away = there - 3 * np.stack([np.sin(there[1] / 50), np.cos(there[0] / 60)]) - pixels.T
    assert np.median(np.hypot(*away)) < 0.15


def test_where_no_prior_can_be_found_the_bending_energy_is_left(rng, monkeypatch):
    fixed, moving, to_fixed = warped_pair(rng)
    monkeypatch.setattr(levels, "_MOST_POINTS", 0)
    found = deform(fixed, moving, TURN, 12.0, 32, 2)
    assert np.median(misses(spline_of(found, TURN, fixed.shape), to_fixed, fixed.shape)) < 0.1
    # A coarser grid on which the field is not smooth suggests the weight of the bending energy.
    monkeypatch.setattr(levels, "_MOST_POINTS", 20 * 25)
    monkeypatch.setattr(levels, "_LEAST_POINTS", 8)
    assert [grid.shape for grid in levels._solvable(Grid.covering(fixed.shape, 6.0), fixed.shape)] == [
        (8, 10),
        (13, 16),
    ]
    found = deform(fixed, moving, TURN, 6.0, 32, 2)
    assert np.median(misses(spline_of(found, TURN, fixed.shape), to_fixed, fixed.shape)) < 0.1


def test_the_deformation_is_the_same_to_the_last_bit_for_any_number_of_threads(rng):
    fixed, moving, _ = warped_pair(rng, (300, 250))
    one, two, three = (deform(fixed, moving, TURN, 20.0, 32, threads) for threads in (1, 2, 3))
    np.testing.assert_array_equal(one.control, two.control)
    np.testing.assert_array_equal(one.control, three.control)
    assert one.control.any()


def test_what_is_missing_does_not_count(rng):
    fixed, moving, to_fixed = warped_pair(rng)
    # Something is in the way, and masked.
    fixed[30:60, 40:80] = np.nan
    moving[80:100, 90:130] = np.nan
    found = deform(fixed, moving, TURN, 12.0, 32, 2)
    after = misses(spline_of(found, TURN, fixed.shape), to_fixed, fixed.shape)
    assert np.median(after) < 0.15
    assert np.isfinite(found.control).all()


def test_unrelated_images_do_not_fold_the_plane_even_without_stiffness(rng, monkeypatch):
    monkeypatch.setattr(levels, "BENDING", 1e-3)
    fixed, moving = smooth(rng, (96, 96), 3, np.float32), smooth(rng, (96, 96), 3, np.float32)
    found = deform(fixed, moving, np.eye(3), 5.0, 16, 2)
    determinant = spline_of(found, np.eye(3), fixed.shape).jacobian_determinant()
    assert 0 < determinant.min() < 0.3
    assert found.grid.least_determinant(found.control) > 0


def test_equal_images_stay_where_they_are(rng):
    image = smooth(rng, (90, 80), dtype=np.float32)
    found = deform(image, image, np.eye(3), 10.0, 32, 2)
    assert np.abs(spline_of(found, np.eye(3), image.shape).displacement()).max() < 0.05


def test_orientations_see_edges_and_neither_their_contrast_nor_their_sign(rng):
    image = smooth(rng, (60, 70))
    one, other = orientation(image, 0.0, 1), orientation(0.7 - 0.5 * image, 0.0, 1)
    assert np.abs(one - other).max() < 0.05
    assert np.hypot(*one).max() <= 1
    y, x = np.mgrid[:40, :40]
    for angle in (0.0, 0.4, 1.2):
        # The gradient points along `angle`; turned back, along x.
        ramp = (x * np.cos(angle) + y * np.sin(angle)) / 60
        real, imaginary = orientation(ramp, -angle, 1)[:, 5:-5, 5:-5]
        assert real.min() > 0.4
        np.testing.assert_allclose(imaginary, 0, atol=1e-12)


def test_flat_and_missing_regions_have_no_orientation(rng):
    image = np.zeros((40, 40))
    image[:, 20:] = smooth(rng, (40, 20))
    image[30, 30] = np.nan
    found = np.hypot(*orientation(image, 0.0, 1))
    assert not found[:, :17].any()
    assert not found[28:33, 28:33].any()
    assert not orientation(np.full((9, 9), np.nan), 0.0, 1).any()


def test_register_takes_the_affine_part_and_the_deformation_from_both_images(rng):
    fixed, moving, to_fixed = warped_pair(rng)
    result = imgtool.register(fixed, moving, model="bspline", grid_spacing=12)
    assert isinstance(result.transform, BSplineTransform)
    assert result.transform.model == "bspline"
    assert result.transform.spacing == (12, 12)
    assert (result.transform.fixed_shape, result.transform.moving_shape) == (fixed.shape, moving.shape)
    assert np.median(misses(result.transform, to_fixed, fixed.shape)) < 0.1
    affine = imgtool.register(fixed, moving, model="affine")
    assert result.nmi_after > affine.nmi_after
    assert result.nmi_before == pytest.approx(affine.nmi_before)
    np.testing.assert_array_equal(result.transform.matrix, affine.transform.matrix)
    np.testing.assert_array_equal(result.warped, result.transform.warp(moving))


def test_a_deformation_that_does_not_help_is_none(rng):
    image = smooth(rng, (64, 64), dtype=np.float32)
    start = MatrixTransform(np.eye(3), "affine", image.shape, image.shape)
    found = fit_spline(image, image, start, 16.0, 32, 1)
    assert not found.transform.coefficients.any()
    assert 1.3 < found.nmi <= 2


@pytest.mark.parametrize("spacing", [0.5, 0, -3, np.nan, np.inf, "wide", True])
def test_a_grid_finer_than_pixels_or_no_number_is_refused(rng, spacing):
    image = smooth(rng, (32, 32))
    with pytest.raises(ImgtoolError, match="grid_spacing must be a number of pixels from 1 on"):
        imgtool.register(image, image, model="bspline", grid_spacing=spacing)


def test_a_grid_spacing_without_a_grid_is_refused(rng):
    image = smooth(rng, (32, 32))
    with pytest.raises(ImgtoolError, match="model is 'affine'"):
        imgtool.register(image, image, model="affine", grid_spacing=10)


@pytest.mark.parametrize(("shape", "spacing"), [((4, 4), 1.0), ((5, 300), 16.0), ((40, 41), 500.0), ((33, 34), 1.0)])
def test_small_and_narrow_images_and_extreme_grids_work(rng, shape, spacing):
    fixed, moving = rng.random(shape), rng.random(shape)
    result = imgtool.register(fixed, moving, model="bspline", grid_spacing=spacing, bins=8)
    assert np.isfinite(result.transform.coefficients).all()
    assert result.transform.least_determinant() > 0


def test_the_noise_of_an_image_is_told_from_the_image(rng):
    clean = smooth(rng, (200, 150), sigma=4)
    noisy = clean + 0.05 * rng.standard_normal(clean.shape)
    assert noise_variance(noisy) == pytest.approx(0.05**2, rel=0.05)
    assert noise_variance(clean) == (1 / 256) ** 2
    noisy[:150, :140] = 0.3  # painted background says nothing
    noisy[160:170] = np.nan
    assert noise_variance(noisy) == pytest.approx(0.05**2, rel=0.1)
    assert noise_variance(np.full((2, 3), 0.5)) == (1 / 256) ** 2


def test_noise_is_quieted_whatever_its_strength_and_edges_are_not(rng):
    step = np.where(np.arange(90) < 40, 0.2, 0.8) * np.ones((70, 1))
    for strength in (0.01, 0.04):
        noisy = step + strength * rng.standard_normal(step.shape)
        left = quieted(noisy, noise_variance(noisy), 1) - step
        assert np.std(left) < 0.35 * strength
        assert np.abs(left[:, 38:42].mean(axis=0)).max() < strength / 2


def test_quieting_does_not_depend_on_the_threads_and_leaves_missing_pixels_missing(rng):
    image = holes(smooth(rng, (300, 250), dtype=np.float32), rng)
    noise = noise_variance(image)
    found = quieted(image, noise, 1)
    np.testing.assert_array_equal(found, quieted(image, noise, 3))
    np.testing.assert_array_equal(np.isnan(found), np.isnan(image))
    assert quieted(image[:4, :3], noise, 1).shape == (4, 3)
