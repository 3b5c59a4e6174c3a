"""From coarse to fine: levels of both images' pyramid, and control grids refined with them."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from .._pyramid import halved
from .._spline import Control, Grid
from .ascent import Optimum, ascend
from .objective import Objective
from .similarity import Similarity

Plane = npt.NDArray[np.float32]
Matrix = npt.NDArray[np.float64]

# Measured over tests/bench/deformable.py: see docs/design.md, "Free-form deformation".
BENDING = 300.0
# The weight is right for fields with this bending energy; for others it is at most so many times less or more.
_TYPICAL_ENERGY = 2e-5
_LEAST_WEIGHT, _MOST_WEIGHT = 1 / 3, 10.0
FOLDING = 0.02
# The coarsest level is the last one on which the shorter side of both images has at least this many pixels.
_COARSEST_SIDE = 40
_ITERATIONS = 100
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
    objective = Objective(similarity, BENDING * factor**2, FOLDING, least_count)
    # What a coarser level found is not always an improvement on this one.
    start = max(start, np.zeros_like(start), key=objective.value)
    best = _ascent(objective, start, factor)
    control, steps = best.parameters, best.iterations
    if factor == 1:
        objective.bending = _bending_for(grid.bending(control)[0])
        best = _ascent(objective, control, factor)
        control, steps = best.parameters, steps + best.iterations
    return _unfolded(grid, start, control), steps


def _ascent(objective: Objective, start: Control, factor: int) -> Optimum:
    return ascend(
        objective,
        start,
        first_step=_FIRST_STEP * factor,
        longest_step=_LONGEST_STEP * factor,
        tolerance=_LAST_STEP * factor,
        iterations=_ITERATIONS,
    )


def _bending_for(energy: float) -> float:
    """The weight of the bending energy for images whose field, found with `BENDING`, has this energy.

    The weight of a prior is the number of parameters that the images determine over twice the energy that they give
    to them (MacKay 1992); how a plate's modes are spaced makes that number fall with the root of the weight.
    """
    return BENDING * min(max(_TYPICAL_ENERGY / max(energy, 1e-12), _LEAST_WEIGHT), _MOST_WEIGHT)


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
