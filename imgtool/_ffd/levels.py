"""From coarse to fine: levels of both images' pyramid, and control grids refined with them."""

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from .._pyramid import halved
from .._spline import Control, Grid
from .ascent import Optimum, Solver, ascend
from .objective import Objective
from .prior import Prior, Quadratic
from .similarity import Similarity

Plane = npt.NDArray[np.float32]
Matrix = npt.NDArray[np.float64]

# Measured over tests/bench/deformable.py: see docs/design.md, "Free-form deformation".
BENDING = 300.0
FOLDING = 0.02
# Where the field is followed on a finer grid than a prior was sought on, the weight is at most so much less or more.
_LEAST_WEIGHT, _MOST_WEIGHT = 1 / 3, 10.0
# Grids with fewer control points along an axis follow no field; with more in all, systems of equations take too long.
_LEAST_POINTS, _MOST_POINTS = 13, 2000
# The coarsest level is the last one on which the shorter side of both images has at least this many pixels.
_COARSEST_SIDE = 40
# Steps of an ascent, and of those with a model of the curvature until the images are asked again, and after that: what
# more of them change is far below what noise does.
_ITERATIONS = 100
_FIRST_ITERATIONS, _LAST_ITERATIONS = 5, 35
# Steps, in pixels of the level: where the ascent begins, the longest it may make, and where it ends.
_FIRST_STEP, _LONGEST_STEP, _LAST_STEP = 0.5, 2.0, 0.02
# A deformation must not push this share of the overlap that it starts with out of the moving image.
_LEAST_OVERLAP = 0.8


class Deformation(NamedTuple):
    """The result of `deform`."""

    grid: Grid
    control: Control  # displacements x and y in pixels of the fixed image, (2, rows, columns)
    iterations: int


def deform(fixed: Plane, moving: Plane, matrix: Matrix, spacing: float, bins: int, threads: int) -> Deformation:
    """The displacement u for which NMI of fixed at p and moving at matrix * (p + u(p)) is large and u is smooth.

    The planes hold values from 0 to 1, NaN where pixels are missing. `spacing` is that of the control points on the
    finest level, in pixels. The plane folds nowhere: the Jacobian determinant of p + u(p) is more than 0 everywhere.
    """
    pyramid = [(fixed, moving)]
    while min(*pyramid[-1][0].shape, *pyramid[-1][1].shape) >= 2 * _COARSEST_SIDE:
        pyramid.append((halved(pyramid[-1][0]), halved(pyramid[-1][1])))
    grid = Grid.covering(fixed.shape, spacing * 2 ** (len(pyramid) - 1))
    control, steps = np.zeros((2, *grid.shape)), 0
    while pyramid:
        factor = 2 ** (len(pyramid) - 1)
        # The planes of a level are let go with it.
        control, taken = _climb(*pyramid.pop(), factor, matrix, grid, control, bins, threads)
        steps += taken
        if pyramid:
            grid, control = grid.refined(control, fixed.shape)
    return Deformation(grid, control, steps)


def _climb(
    fixed: Plane,
    moving: Plane,
    factor: int,
    matrix: Matrix,
    grid: Grid,
    start: Control,
    bins: int,
    threads: int,
) -> tuple[Control, int]:
    """The best control points near `start`, which fold nothing, and the number of steps to them."""
    similarity = Similarity(fixed, moving, factor, matrix, grid, bins, threads)
    table, _ = similarity.evaluate(np.zeros_like(start))
    least_count = _LEAST_OVERLAP * float(table.sum())
    # One prior for the field, and as many observations as pixels: the fewer there are, the more the prior weighs.
    objective = Objective(similarity, Prior(grid, BENDING * factor**2), FOLDING, least_count)
    # What a coarser level found is not always an improvement on this one.
    start = max(start, np.zeros_like(start), key=objective.value)
    if factor == 1:
        return _settled(similarity, start, least_count)
    best = _ascent(objective, start, factor, _ITERATIONS)
    return _unfolded(grid, start, best.parameters), best.iterations


def _settled(similarity: Similarity, start: Control, least_count: float) -> tuple[Control, int]:
    """The best control points near `start` under the prior for which both images speak, and the number of steps.

    A field that is smooth over the cells of a coarser grid is sought on that: it has fewer control points, and each is
    told by more pixels. Where it is smooth on none of those on which a prior can be found, the bending energy is left,
    with the weight that the finest of them suggests.
    """
    grid, weight = similarity.grid, BENDING
    for coarse in _solvable(grid, similarity.shape):
        similarity.use(coarse)
        objective = Objective(similarity, Prior(coarse, weight), FOLDING, least_count)
        control = start if coarse is grid else grid.projected(start, coarse)
        if not np.isfinite(objective.value(control)):
            continue
        told = _told(objective, similarity, control)
        objective.prior = told.prior()
        if coarse is not grid and objective.prior.length < coarse.x.spacing:
            suggested = told.weighted(0.0, BENDING)[1].weight
            weight = min(max(suggested, _LEAST_WEIGHT * BENDING), _MOST_WEIGHT * BENDING)
            continue
        first = _ascent(objective, control, 1, _FIRST_ITERATIONS, told.solver(objective.prior))
        # Where it leads, noise and prior can be told from each other better than where the coarser level ended.
        objective.value(first.parameters)
        told = _told(objective, similarity, first.parameters)
        objective.prior = told.weighted(objective.prior.length, objective.prior.weight)[1]
        best = _ascent(objective, first.parameters, 1, _LAST_ITERATIONS, told.solver(objective.prior))
        control = _unfolded(coarse, control, best.parameters)
        while coarse.x.spacing > grid.x.spacing:
            coarse, control = coarse.refined(control, similarity.shape)
        return control, first.iterations + best.iterations
    similarity.use(grid)
    best = _ascent(Objective(similarity, Prior(grid, weight), FOLDING, least_count), start, 1, _ITERATIONS)
    return _unfolded(grid, start, best.parameters), best.iterations


def _solvable(grid: Grid, shape: tuple[int, int]) -> list[Grid]:
    """`grid` and those of twice its spacing, and so on, for which a prior can be found, the coarsest first."""
    grids = [grid]
    while min((coarse := Grid.covering(shape, 2 * grids[-1].x.spacing)).shape) >= _LEAST_POINTS:
        grids.append(coarse)
    return [coarse for coarse in reversed(grids) if math.prod(coarse.shape) <= _MOST_POINTS]


def _told(objective: Objective, similarity: Similarity, control: Control) -> Quadratic:
    """What images tell of the field near `control`, where the objective was evaluated last."""
    curvature = similarity.curvature(control)
    return Quadratic(similarity.grid, control, objective.data_gradient(), curvature, similarity.threads)


def _ascent(objective: Objective, start: Control, factor: int, iterations: int, solve: Solver | None = None) -> Optimum:
    return ascend(
        objective,
        start,
        solve=solve,
        first_step=_FIRST_STEP * factor,
        longest_step=_LONGEST_STEP * factor,
        tolerance=_LAST_STEP * factor,
        iterations=iterations,
    )


def _unfolded(grid: Grid, start: Control, control: Control) -> Control:
    """`control`, or as much of the way to it from `start` as folds nothing; `start` folds nothing.

    The barrier looks at a lattice; between its points, here, nothing is left to chance.
    """
    step = control - start
    for _ in range(20):
        if grid.least_determinant(control) > 0:
            return control
        step = step / 2
        control = start + step
    return start
