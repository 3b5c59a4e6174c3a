"""How smooth a field is expected to be: energies, and what images say of them, against dense algebra."""

import math

import numpy as np
import pytest
from scipy import ndimage

from imgtool._ffd import prior
from imgtool._ffd.prior import Prior, Quadratic
from imgtool._ffd.similarity import Curvature
from imgtool._spline import Grid

# Taller than wide, and wider than tall; narrower than the stencils reach.
SHAPES = [(90, 60), (60, 130), (20, 90)]


@pytest.fixture
def rng():
    return np.random.default_rng(23)


def curvature_of(rng, shape, strength=1.0):
    """A positive definite curvature in cells of 4 x 4 pixels."""
    centres = [np.arange(0, size, 4) + 1.5 for size in shape]
    slopes = np.sqrt(strength) * rng.standard_normal((2, 3, *map(len, centres)))
    cells = np.einsum("iabc,jabc->ijbc", slopes, slopes)[[0, 0, 1], [0, 1, 1]]
    return Curvature(*centres, cells * 16 / math.prod(shape), math.prod(shape))


def dense(energy, grid):
    """The matrix of a quadratic function of control points."""
    unit = np.eye(2 * math.prod(grid.shape)).reshape(-1, 2, *grid.shape)
    return np.stack([energy(one) for one in unit]).reshape(len(unit), -1)


def curvature_matrix(curvature, grid):
    """The curvature's matrix of control points, x before y."""
    down, across = (
        np.stack([weights_of(axis, places, i) for i in range(axis.points)])
        for axis, places in ((grid.y, curvature.rows), (grid.x, curvature.columns))
    )
    basis = np.einsum("ir,kc->ikrc", down, across).reshape(math.prod(grid.shape), -1)
    xx, xy, yy = ((basis * part.reshape(-1)) @ basis.T for part in curvature.cells)
    return np.block([[xx, xy], [xy, yy]])


def weights_of(axis, places, point):
    """The values of one basis function."""
    table = axis.table(places)
    return sum(np.where(table.first + k == point, table.weights[k], 0) for k in range(4))


@pytest.mark.parametrize("length", [0.0, 14.0])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_energy_has_the_gradient_of_central_differences(rng, shape, length):
    grid = Grid.covering(shape, 12.0)
    expected = Prior(grid, 7.0, length)
    control, step = rng.standard_normal((2, 2, *grid.shape))
    energy, gradient = expected.energy(control)
    assert energy > 0
    numeric = (expected.energy(control + 1e-4 * step)[0] - expected.energy(control - 1e-4 * step)[0]) / 2e-4
    assert (gradient * step).sum() == pytest.approx(numeric, rel=1e-7)


def test_without_a_length_it_is_the_bending_energy(rng):
    grid = Grid.covering((50, 70), 9.0)
    control = rng.standard_normal((2, *grid.shape))
    energy, gradient = grid.bending(control)
    found = Prior(grid, 3.0).energy(control)
    assert found[0] == 3 * energy
    np.testing.assert_array_equal(found[1], 3 * gradient)


def test_what_is_linear_is_free_and_powers_cost_what_their_derivatives_do():
    grid, length = Grid.covering((80, 60), 10.0), 13.0
    x = (np.arange(grid.x.points) - 1) * 10.0 + np.zeros((grid.y.points, 1))
    assert Prior(grid, 1.0, length).energy(np.stack([3 + 0.2 * x, -x]))[0] == pytest.approx(0, abs=1e-15)
    # A cubic of control points is a cubic: its second derivative is 6 x, its third is 6 everywhere.
    field = np.stack([x**3, 0 * x])
    mean_square = 36 * np.mean(np.square(np.linspace(0, 60, 200001)))
    expected = mean_square + 2 * length**2 / 6 * 36
    assert Prior(grid, 1.0, length).energy(field)[0] == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("length", [0.0, 14.0])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_solver_inverts_the_curvature_of_images_and_prior(rng, shape, length):
    grid = Grid.covering(shape, 12.0)
    curvature, expected = curvature_of(rng, shape), Prior(grid, 30.0, length)
    control, gradient = rng.standard_normal((2, 2, *grid.shape))
    told = Quadratic(grid, control, gradient, curvature, 1)
    ridge = 1 / (prior._TRUST * curvature.pixels * prior._FREE**2)
    matrix = curvature_matrix(curvature, grid) + dense(lambda c: expected.energy(c)[1], grid)
    matrix += ridge * np.eye(len(matrix))
    found = told.solver(expected)(gradient)
    np.testing.assert_allclose(matrix @ found.reshape(-1), gradient.reshape(-1), atol=1e-7)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_evidence_is_that_of_a_gaussian(rng, shape):
    """Differences of the logarithm of the probability, with all of the quadratic form integrated out."""
    grid = Grid.covering(shape, 12.0)
    curvature = curvature_of(rng, shape)
    control, gradient = rng.standard_normal((2, 2, *grid.shape))
    gradient *= 1e-3
    told = Quadratic(grid, control, gradient, curvature, 1)
    count = prior._TRUST * curvature.pixels
    images = curvature_matrix(curvature, grid)
    values, expected = [], []
    for weight, length in ((20.0, 0.0), (300.0, 0.0), (40.0, 12.0)):
        unit = Prior(grid, 1.0, length)
        stiffness = told._ordered(unit.stencil())
        values.append(told._evidence(weight, stiffness, *unit.energy(control)))
        alone = dense(lambda c, unit=unit, weight=weight: weight * unit.energy(c)[1], grid)
        alone += np.eye(len(alone)) / (count * prior._FREE**2)
        both = images + alone
        residual = gradient.reshape(-1) - weight * unit.energy(control)[1].reshape(-1)
        top = residual @ np.linalg.solve(both, residual) / 2 - weight * unit.energy(control)[0]
        expected.append(count * top + (np.linalg.slogdet(alone)[1] - np.linalg.slogdet(both)[1]) / 2)
    np.testing.assert_allclose(np.diff(values), np.diff(expected), rtol=1e-6)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(("sigma", "lengths", "share"), [(12.0, (6, 18), 0.12), (30.0, (18, 24), 0.06)])
def test_the_smoothness_of_a_field_is_found_from_noisy_measurements_of_it(rng, sigma, lengths, share, threads):
    shape = 200, 240
    grid = Grid.covering(shape, 12.0)
    field = np.stack([ndimage.gaussian_filter(rng.standard_normal(shape), sigma) for _ in range(2)])
    field *= 3 / np.abs(field).max()
    # Every pixel measures the displacement with noise of one pixel.
    measured = field + rng.standard_normal(field.shape)
    down, across = (
        np.stack([weights_of(axis, np.arange(size, dtype=float), i) for i in range(axis.points)])
        for axis, size in ((grid.y, shape[0]), (grid.x, shape[1]))
    )
    precision = 1 / (math.prod(shape) * prior._TRUST)
    curvature = curvature_of(rng, shape)
    ones = np.full_like(curvature.cells[0], 16 * precision)
    curvature = curvature._replace(cells=np.stack([ones, 0 * ones, ones]))
    gradient = precision * (down @ measured @ across.T)
    told = Quadratic(grid, np.zeros((2, *grid.shape)), gradient, curvature, threads)

    def left(expected):
        return np.sqrt(np.mean((down.T @ told.solver(expected)(gradient) @ across - field) ** 2))

    found = told.prior()
    assert lengths[0] <= found.length <= lengths[1]
    assert left(found) < share * np.sqrt(np.mean(field**2))
    assert left(found) < left(told.weighted(0.0, 100.0)[1])
    for other in (0.1, 10.0):
        assert told.weighted(found.length, other * found.weight)[1].weight == pytest.approx(found.weight, rel=0.3)


def test_a_field_is_projected_to_the_nearest_one_of_another_grid(rng):
    coarse = Grid.covering((100, 140), 32.0)
    control = rng.standard_normal((2, *coarse.shape))
    fine, same = coarse.refined(control, (100, 140))
    back = fine.projected(same, coarse)
    places = np.arange(100.0), np.arange(140.0)
    fields = [
        grid.field(values, grid.y.table(places[0]), grid.x.table(places[1]), 1)
        for grid, values in ((coarse, control), (coarse, back))
    ]
    np.testing.assert_allclose(fields[1], fields[0], atol=2e-3)
