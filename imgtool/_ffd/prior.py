"""How smooth a field is expected to be, and for which expectation the images speak."""

import math
from collections.abc import Callable, Sequence
from functools import cached_property, lru_cache

import numpy as np
import numpy.typing as npt

from .. import _ext
from .._slabs import run_slabs
from .._spline import Axis, Control, Grid
from .similarity import Curvature

Matrix = npt.NDArray[np.float64]

# The highest order of derivatives in the energy, and that on grids of more control points: the square of it is what
# systems of equations cost.
_HIGHEST, _MANY, _HIGHEST_OF_MANY = 8, 600, 6
# Lengths that are tried, in spacings of the grid, and the first of them.
_LENGTHS = (0.0, 0.5, 0.75, 1.0, 1.5, 2.0)
_FIRST_LENGTH, _FIRST_WEIGHT = 3, 100.0
# From one weight that is tried to the next, and how many of these steps are taken at the most.
_FACTOR, _MOST_STEPS = 4.0, 6
# How many independent observations a pixel is worth: measured, see docs/design.md.
_TRUST = 0.25
# Images of so many pixels are asked by one thread.
_LARGE = 1 << 21
# The standard deviation of a control point about which nothing else is known, in pixels.
_FREE = 10.0


class Prior:
    """`weight` times the energy of a field: its bending energy and, for a `length`, energies of higher orders.

    Summed are 2 length^(2p - 4) / p! times the mean over the cells of |p-th derivatives|^2, from p = 2 to 8, on large
    grids to 6. These are the first terms of the power series for noise smoothed by a Gaussian whose standard deviation
    is `length`, in pixels; what is constant or linear is free. Derivatives above the second are differences of control
    points, as in P-splines (Eilers & Marx 1996).
    """

    def __init__(self, grid: Grid, weight: float, length: float = 0.0) -> None:
        self.grid, self.weight, self.length = grid, weight, length
        self._highest = 2 if length == 0 else _HIGHEST if math.prod(grid.shape) <= _MANY else _HIGHEST_OF_MANY

    def energy(self, control: Control) -> tuple[float, Control]:
        """`weight` times the energy, and its gradient."""
        energy, gradient = self.grid.bending(control)
        for share, down, across in self._higher:
            product = share * (down @ control @ across)
            energy += float((control * product).sum())
            gradient += 2 * product
        return self.weight * energy, self.weight * gradient

    @cached_property
    def _higher(self) -> list[tuple[float, Matrix, Matrix]]:
        return self._terms(3)

    def _terms(self, first: int) -> list[tuple[float, Matrix, Matrix]]:
        """The energies from this order on as a sum of share * control . (down @ control @ across)."""
        return [
            (
                2 * self.length ** (2 * order - 4) / math.factorial(order) * math.comb(order, k),
                _gram(self.grid.y, order - k),
                _gram(self.grid.x, k),
            )
            for order in range(first, self._highest + 1)
            for k in range(order + 1)
        ]

    def stencil(self) -> Matrix:
        """[row, column, reach + rows down, reach + columns right]: products of a component's energy for `weight` 1."""
        shares, down, across = zip(*self._terms(2), strict=True)
        # That of the basis functions themselves at least.
        reach = max(3, self._highest)
        rows = np.stack([share * _diagonals(matrix, reach) for share, matrix in zip(shares, down, strict=True)])
        columns = np.stack([_diagonals(matrix, reach) for matrix in across])
        return np.tensordot(rows, columns, axes=(0, 0)).transpose(0, 2, 1, 3)


@lru_cache(maxsize=64)
def _gram(axis: Axis, order: int) -> Matrix:
    """The means over the cells of products of the basis functions' derivatives of this order."""
    if order > 2:
        differences = np.diff(np.eye(axis.points), order, axis=0)
        return differences.T @ differences * axis.spacing ** (1 - 2 * order) / axis.length
    out = np.zeros((axis.points, axis.points))
    for offset in range(-3, 4):
        first = max(-offset, 0)
        inside = np.arange(first, axis.points - max(offset, 0))
        out[inside, inside + offset] = axis.bands[order, inside, 3 + offset]
    return out / axis.length


def _diagonals(matrix: Matrix, reach: int) -> Matrix:
    """[i, reach + k]: the elements [i, i + k] of a square matrix, 0 beyond it."""
    padded = np.pad(matrix, ((0, 0), (reach, reach)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1, axis=1)
    return windows[np.arange(len(matrix)), np.arange(len(matrix))]


class Quadratic:
    """What images tell of a field near `control`: their `gradient` there, and a model of the curvature.

    Control points are numbered along the shorter axis first, both components of one after the other, so that the
    matrices have few diagonals.
    """

    def __init__(self, grid: Grid, control: Control, gradient: Control, curvature: Curvature, threads: int) -> None:
        self.grid, self._control, self._gradient = grid, control, gradient
        # Each has a matrix of its own; large images need the memory, and are climbed for longer than they are asked.
        self._threads = threads if curvature.pixels < _LARGE else 1
        self._swapped = grid.shape[1] > grid.shape[0]
        self._observations = _TRUST * curvature.pixels
        self._ridge = 1 / (self._observations * _FREE**2)
        down, across = (
            _products(axis, centres) for axis, centres in ((grid.y, curvature.rows), (grid.x, curvature.columns))
        )
        xx, xy, yy = (
            self._ordered(np.einsum("dir,rc,ekc->ikde", down, part, across, optimize=True)) for part in curvature.cells
        )
        self._curvature = (xx, 0, 0), (xy, 0, 1), (xy, 1, 0), (yy, 1, 1)

    def solver(self, prior: Prior) -> Callable[[Control], Control]:
        """The product of a gradient with the inverse of the curvature that images and prior have together."""
        factor, _ = self._factor(2 * prior.weight * self._ordered(prior.stencil()))

        def solve(gradient: Control) -> Control:
            vector = self._vector(gradient)
            _ext.banded_solve(factor, vector)
            return self._field(vector)

        return solve

    def prior(self) -> Prior:
        """The prior that makes these images the most probable (MacKay 1992)."""
        lengths = [share * max(self.grid.x.spacing, self.grid.y.spacing) for share in _LENGTHS]
        index, weight = _FIRST_LENGTH, _FIRST_WEIGHT
        found: dict[int, tuple[float, Prior]] = {}

        def evidence(k: int) -> float:
            if not 0 <= k < len(lengths):
                return -np.inf
            if k not in found:
                found[k] = self.weighted(lengths[k], weight)
            return found[k][0]

        while True:
            best = max(index, index + 1, index - 1, key=evidence)
            weight = found[best][1].weight
            if best == index:
                return found[best][1]
            index = best

    def weighted(self, length: float, weight: float) -> tuple[float, Prior]:
        """The evidence for a prior of this length with the best weight, sought from `weight` on, and that prior."""
        unit = Prior(self.grid, 1.0, length)
        stiffness = self._ordered(unit.stencil())
        energy, product = unit.energy(self._control)
        known: dict[int, float] = {}

        def work(start: int, _: int) -> float:
            return self._evidence(weight * _FACTOR ** steps[start], stiffness, energy, product)

        best = top = 0
        while True:
            steps = [step for step in (top - 1, top, top + 1) if step not in known]
            known.update(zip(steps, run_slabs(work, len(steps), 1, self._threads), strict=True))
            best, top = top, max(top, top - 1, top + 1, key=known.__getitem__)
            if top == best or abs(top) == _MOST_STEPS:
                break
        # The top of the parabola through the three.
        below, here, above = (known[best + step] for step in (-1, 0, 1))
        bend, shift = below - 2 * here + above, 0.0
        if -np.inf < bend < 0:
            shift = float(np.clip((below - above) / (2 * bend), -1, 1))
            here -= (below - above) * shift / 4
        return here, Prior(self.grid, weight * _FACTOR ** (best + shift), length)

    def _evidence(self, weight: float, stiffness: Matrix, energy: float, product: Control) -> float:
        """The logarithm of the images' probability (Laplace's approximation), but for what all priors share."""
        residual, stiffness = self._vector(self._gradient - weight * product), 2 * weight * stiffness
        factor, volume = self._factor(stiffness)
        step = residual.copy()
        _ext.banded_solve(factor, step)
        alone = _banded(((stiffness, 0, 0),), self._ridge, 1)
        gain = float((residual * step).sum()) / 2 - weight * energy
        value = self._observations * gain + _ext.banded_cholesky(alone) - volume / 2
        # Where rounding makes a matrix lose its definiteness, nothing is known.
        return value if np.isfinite(value) else -np.inf

    def _factor(self, stiffness: Matrix) -> tuple[Matrix, float]:
        """The factorised sum of the images' curvature and a prior's, and the logarithm of its determinant."""
        matrix = _banded((*self._curvature, (stiffness, 0, 0), (stiffness, 1, 1)), self._ridge, 2)
        return matrix, _ext.banded_cholesky(matrix)

    def _ordered(self, stencil: Matrix) -> Matrix:
        """A stencil in the order of the control points."""
        return stencil.transpose(1, 0, 3, 2) if self._swapped else stencil

    def _vector(self, control: Control) -> npt.NDArray[np.float64]:
        return np.ascontiguousarray(control.T if self._swapped else control.transpose(1, 2, 0)).reshape(-1)

    def _field(self, vector: npt.NDArray[np.float64]) -> Control:
        rows, columns = self.grid.shape
        if self._swapped:
            return vector.reshape(columns, rows, 2).T
        return vector.reshape(rows, columns, 2).transpose(2, 0, 1)


def _products(axis: Axis, positions: npt.NDArray[np.float64]) -> Matrix:
    """[3 + k, i, n]: the weight of control point i at position n times that of control point i + k."""
    weights = np.pad(axis.basis(positions).T, ((3, 3), (0, 0)))
    return np.stack([weights[3:-3] * weights[k : k + axis.points] for k in range(7)])


def _banded(parts: Sequence[tuple[Matrix, int, int]], ridge: float, components: int) -> Matrix:
    """[i, k]: the elements [i, i + k] of a matrix of control points, each of which has so many components.

    It is the sum of stencils, each of which ties the one component of every point to the other one of those around it,
    and of `ridge` on the diagonal.
    """
    rows, columns = parts[0][0].shape[:2]
    furthest = max(stencil.shape[2] // 2 for stencil, _, _ in parts)
    out = np.zeros((rows, columns, components, components * (furthest * (columns + 1) + 1)))
    out[..., 0] = ridge
    for stencil, first, second in parts:
        reach = stencil.shape[2] // 2
        for down in range(reach + 1):
            for right in range(-reach, reach + 1):
                offset = components * (down * columns + right) + second - first
                # Where a grid is narrower than the stencil, what lies beyond it is 0.
                if offset >= 0:
                    out[..., first, offset] += stencil[..., reach + down, reach + right]
    return out.reshape(rows * columns * components, -1)
