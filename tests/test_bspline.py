"""B-spline transforms: what they map where, their derivatives, and what bends and folds."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgtool._spline import Axis, Grid
from imgtool.errors import ImgtoolError
from imgtool.transforms import BSplineTransform, MatrixTransform, Transform

SHAPE = 40, 57
TURN = np.array([[0.95, -0.2, 7.0], [0.25, 1.1, -3.0], [0, 0, 1]])


@pytest.fixture
def rng():
    return np.random.default_rng(3)


def random_transform(rng, size=1.5, spacing=8.0, matrix=TURN):
    grid = Grid.covering(SHAPE, spacing)
    control = size * rng.standard_normal((2, *grid.shape))
    return BSplineTransform(control, (spacing, spacing), matrix=matrix, fixed_shape=SHAPE, moving_shape=(50, 60))


def points_on(shape, rng, count=300):
    return rng.uniform(-0.5, np.array(shape[::-1]) - 0.5, (count, 2))


def test_zero_coefficients_are_the_identity_bit_for_bit(rng):
    still = BSplineTransform(np.zeros((2, 8, 9)), (7.3, 6.1), fixed_shape=SHAPE, moving_shape=SHAPE)
    points = rng.standard_normal((100, 2)) * 1e3
    np.testing.assert_array_equal(still(points), points)
    assert not still.displacement().any()
    np.testing.assert_array_equal(still.jacobian_determinant(), np.ones(SHAPE))
    image = rng.standard_normal(SHAPE)
    np.testing.assert_array_equal(still.warp(image), image)


def test_an_affine_map_written_into_the_coefficients_is_that_map(rng):
    grid = Grid.covering(SHAPE, 9.0)
    x, y = (axis.origin + (np.arange(axis.points) - 1) * axis.spacing for axis in (grid.x, grid.y))
    at = np.stack(np.broadcast_arrays(x, y[:, None]))
    control = np.einsum("ij,jrc->irc", TURN[:2, :2] - np.eye(2), at) + TURN[:2, 2, None, None]
    spline = BSplineTransform(control, (9.0, 9.0), fixed_shape=SHAPE)
    points = points_on(SHAPE, rng)
    np.testing.assert_allclose(spline(points), MatrixTransform(TURN, "affine", SHAPE, SHAPE)(points), atol=1e-12)
    np.testing.assert_allclose(spline.jacobian_determinant(), np.linalg.det(TURN), atol=1e-13)
    assert abs(grid.bending(control)[0]) < 1e-15


def test_the_matrix_follows_the_spline(rng):
    both = random_transform(rng)
    spline = BSplineTransform(both.coefficients, both.spacing, fixed_shape=SHAPE)
    points = points_on(SHAPE, rng)
    np.testing.assert_allclose(both(points), both.after(spline(points)), atol=1e-12)


def test_points_and_windows_of_pixels_agree(rng):
    transform = random_transform(rng)
    rows, columns = range(11, 33), range(5, 57)
    x, y = np.meshgrid(columns, rows)
    expected = transform(np.stack([x.ravel(), y.ravel()], axis=1)).T.reshape(2, *x.shape)
    np.testing.assert_allclose(transform.positions(rows, columns), expected, atol=1e-12)


def test_beyond_the_grid_the_displacement_goes_on_as_at_its_border(rng):
    transform = random_transform(rng, matrix=np.eye(3))
    far, near = np.array([[-100.0, 12.0], [30.0, 900.0]]), np.array([[-0.5, 12.0], [30.0, 39.5]])
    np.testing.assert_allclose(transform(far) - far, transform(near) - near, atol=1e-12)


def test_the_jacobian_is_that_of_finite_differences(rng):
    transform = random_transform(rng)
    points, step = points_on((38, 55), rng) + 0.6, 1e-5
    numeric = np.stack(
        [(transform(points + step * axis) - transform(points - step * axis)) / (2 * step) for axis in np.eye(2)],
        axis=-1,
    )
    np.testing.assert_allclose(transform.jacobian(points), numeric, atol=1e-8)
    pixels = np.argwhere(np.ones(SHAPE))[:, ::-1]
    determinant = np.linalg.det(transform.jacobian(pixels.astype(float)))
    np.testing.assert_allclose(transform.jacobian_determinant().ravel(), determinant, atol=1e-12)


def test_a_finer_grid_by_knot_insertion_holds_the_same_field(rng):
    grid = Grid.covering(SHAPE, 13.0)
    control = rng.standard_normal((2, *grid.shape))
    fine, fine_control = grid.refined(control, SHAPE)
    assert fine.shape == Grid.covering(SHAPE, 6.5).shape
    points = points_on(SHAPE, rng)
    np.testing.assert_allclose(
        fine.at_points(fine_control, points), grid.at_points(control, points), rtol=0, atol=1e-12
    )
    assert fine.bending(fine_control)[0] > 0


def test_a_dense_field_is_the_same_for_any_number_of_threads(rng):
    transform = random_transform(rng, spacing=5.0)
    shape = 700, 500
    one, four = (transform.spline_displacement(shape, dtype=np.float32, threads=threads) for threads in (1, 4))
    assert one.dtype == np.float32
    np.testing.assert_array_equal(one, four)
    np.testing.assert_allclose(one[:, :40, :57], transform.spline_displacement(), atol=1e-5)


@pytest.mark.parametrize("spacing", [3.0, 11.5])
def test_the_bending_energy_is_the_mean_of_squared_second_derivatives(rng, spacing):
    grid = Grid.covering((30, 40), spacing)
    control = rng.standard_normal((2, *grid.shape))
    # Gauss's rule on every cell is exact; here as a plain sum over its points.
    nodes, shares = np.polynomial.legendre.leggauss(4)
    x, y = (
        (np.arange(axis.cells)[:, None] + (nodes + 1) / 2).ravel() * axis.spacing - 0.5 for axis in (grid.x, grid.y)
    )
    weights = np.outer(np.tile(shares, grid.y.cells), np.tile(shares, grid.x.cells)) / 4
    points = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)
    squares = sum(
        count * (grid.at_points(control, points, orders) ** 2).sum(axis=0)
        for count, orders in ((1, (2, 0)), (2, (1, 1)), (1, (0, 2)))
    )
    energy, gradient = grid.bending(control)
    assert energy == pytest.approx(np.vdot(weights, squares) / (grid.x.cells * grid.y.cells), rel=1e-12)
    step = rng.standard_normal(control.shape)
    change = (grid.bending(control + 1e-4 * step)[0] - grid.bending(control - 1e-4 * step)[0]) / 2e-4
    assert np.vdot(gradient, step) == pytest.approx(change, rel=1e-9)


def test_bending_means_the_same_on_every_grid_and_image_size(rng):
    grid = Grid.covering((64, 64), 16.0)
    control = rng.standard_normal((2, *grid.shape))
    fine, fine_control = grid.refined(control, (64, 64))
    assert fine.bending(fine_control)[0] == pytest.approx(grid.bending(control)[0], rel=1e-12)
    bowl = lambda points: np.stack([(points - 20) ** 2 / 100] * 2)  # noqa: E731
    energies = []
    for size in (64, 160):
        axis = Axis.covering(size, 8.0)
        # A cubic B-spline reproduces a parabola from control points that are lower by spacing^2 / 3 times 1 / 100.
        x = axis.origin + (np.arange(axis.points) - 1) * axis.spacing
        control = np.broadcast_to(bowl(x)[:, None] - 64 / 300, (2, axis.points, axis.points))
        energies.append(Grid(axis, axis).bending(np.ascontiguousarray(control))[0])
    np.testing.assert_allclose(energies, 2 * (2 / 100) ** 2, rtol=1e-10)


@given(st.floats(0.2, 4.0), st.integers(0, 2**32 - 1))
def test_no_determinant_lies_below_the_bound_and_none_far_above_it(size, seed):
    rng = np.random.default_rng(seed)
    transform = random_transform(rng, size, matrix=np.diag([1.1, 1, 1]))
    bound = transform.least_determinant()
    fine = np.stack(np.meshgrid(np.linspace(-0.5, 63.5, 257), np.linspace(-0.5, 39.5, 161)), axis=-1).reshape(-1, 2)
    lowest = np.linalg.det(transform.jacobian(fine)).min()
    assert bound <= lowest + 1e-12
    # Where nothing folds, the bound is close enough to say so.
    assert bound > 0 or lowest < 0.05


def test_the_inverse_leads_back(rng):
    transform = random_transform(rng, 0.6)
    assert transform.least_determinant() > 0
    inverse = transform.inverse()
    assert inverse.residual < 0.05
    points = points_on((34, 50), rng) + 3
    np.testing.assert_allclose(inverse(transform(points)), points, atol=0.05)


def test_a_transform_survives_being_written_down(rng):
    transform = random_transform(rng)
    again = Transform.from_dict(json.loads(json.dumps(transform.to_dict())))
    assert isinstance(again, BSplineTransform)
    points = points_on(SHAPE, rng)
    np.testing.assert_array_equal(again(points), transform(points))
    assert (again.fixed_shape, again.moving_shape) == (SHAPE, (50, 60))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"coefficients": np.zeros((2, 3, 9))}, "4 rows and columns"),
        ({"coefficients": np.zeros((3, 8, 9))}, "(2, rows, columns)"),
        ({"coefficients": np.full((2, 8, 9), np.nan)}, "not finite"),
        ({"coefficients": "text"}, "must hold numbers"),
        ({"spacing": (5.0, 0.0)}, "more than 0"),
        ({"spacing": 5.0}, "two numbers"),
        ({"origin": (1.0, np.inf)}, "finite"),
        ({"matrix": np.zeros((3, 3))}, "0 0 1"),
        ({"matrix": np.diag([0, 1, 1])}, "singular"),
    ],
)
def test_what_is_no_spline_is_refused_in_a_sentence(change, sentence):
    arguments = {"coefficients": np.zeros((2, 8, 9)), "spacing": (5.0, 5.0)} | change
    with pytest.raises(ImgtoolError) as error:
        BSplineTransform(**arguments)
    assert sentence in str(error.value)


def test_a_file_that_lacks_a_field_is_refused(rng):
    fields = random_transform(rng).to_dict()
    del fields["spacing"]
    with pytest.raises(ImgtoolError, match="lacks spacing"):
        Transform.from_dict(fields)
