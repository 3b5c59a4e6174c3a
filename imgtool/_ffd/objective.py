"""What a free-form deformation maximises: similarity, less bending, less what keeps the plane from folding."""

import numpy as np

from .. import _ext, metrics
from .._spline import Axis, Control, Grid, Table, determinant, fill_field
from .prior import Prior
from .similarity import Similarity


class Barrier:
    """A penalty that grows without bound as the Jacobian determinant of p + u(p) falls to 0.

    It is the mean over a lattice of (limit - J)^2 / J where J, the determinant, is below the limit. The lattice has
    three points for each control point along each axis: between them J, a polynomial, cannot dip far.
    """

    LIMIT = 0.5
    _PER_CELL = 3

    def __init__(self, grid: Grid) -> None:
        def tables(axis: Axis) -> tuple[Table, Table]:
            count = axis.cells * self._PER_CELL
            positions = axis.origin + (np.arange(count, dtype=np.float64) + 0.5) * (axis.length / count)
            return axis.table(positions), axis.table(positions, 1)

        self._shape = grid.shape
        (self._rows, self._row_slopes), (self._columns, self._column_slopes) = tables(grid.y), tables(grid.x)
        self._slopes = np.empty((2, 2, self._rows.first.size, self._columns.first.size))

    def value(self, control: Control) -> float:
        """The penalty; infinite where J is 0 or less on the lattice."""
        along_x, along_y = self._slopes
        fill_field(control, self._rows, self._column_slopes, along_x)
        fill_field(control, self._row_slopes, self._columns, along_y)
        self._jacobian = determinant(along_x, along_y)
        if self._jacobian.min() <= 0:
            return np.inf
        short = np.maximum(self.LIMIT - self._jacobian, 0)
        return float((short**2 / self._jacobian).mean())

    def gradient(self) -> Control:
        """The derivative of the last `value`, which was finite, with respect to the control points."""
        out = np.zeros((2, *self._shape))
        short = np.maximum(self.LIMIT - self._jacobian, 0)
        if not short.any():
            return out
        share = -short * (2 * self._jacobian + short) / (self._jacobian**2 * short.size)
        (ux, vx), (uy, vy) = self._slopes
        for by_x, by_y, sums in ((1 + vy, -vx, out[0]), (-uy, 1 + ux, out[1])):
            _ext.spline_adjoint(share * by_x, *self._column_slopes, *self._rows, sums, 0)
            _ext.spline_adjoint(share * by_y, *self._columns, *self._row_slopes, sums, 0)
        return out


class Objective:
    """NMI plus the agreement of structures, less the energy of the prior and `folding` times the barrier."""

    def __init__(self, similarity: Similarity, prior: Prior, folding: float, least_count: float) -> None:
        self._similarity, self.prior, self._folding = similarity, prior, folding
        self._barrier = Barrier(similarity.grid)
        self._least_count = least_count

    def value(self, control: Control) -> float:
        """The objective; -inf where the plane folds or the overlap is too small."""
        folding = self._barrier.value(control)
        if not np.isfinite(folding):
            return -np.inf
        table, agreement = self._similarity.evaluate(control)
        if table.sum() <= self._least_count:
            return -np.inf
        nmi, self._slopes = metrics.score(table)
        energy, self._prior_gradient = self.prior.energy(control)
        return nmi + agreement - energy - self._folding * folding

    def gradient(self) -> Control:
        """The derivative of the last `value`, which was finite, with respect to the control points."""
        return self.data_gradient() - self._prior_gradient

    def data_gradient(self) -> Control:
        """The part of `gradient` that is not the prior's."""
        out = self._similarity.gradient(self._slopes)
        out -= self._folding * self._barrier.gradient()
        return out
