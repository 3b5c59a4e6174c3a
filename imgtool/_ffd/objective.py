"""What a free-form deformation maximises: NMI, less bending, less what keeps the plane from folding."""

from typing import Any

import numpy as np
import numpy.typing as npt

from .. import _ext, metrics
from .._slabs import run_slabs
from .._spline import Axis, Control, Grid, Table, determinant, fill_field

Plane = npt.NDArray[np.floating[Any]]
Matrix = npt.NDArray[np.float64]

_SLAB_PIXELS = 1 << 15


class Similarity:
    """NMI of `fixed` at p and of `moving` at matrix * (p + u(p)), as a function of the control points of u.

    Both planes have values from 0 to 1, NaN where pixels are missing, and are of one dtype. Pixel i of this level of
    the pyramid is at `factor` * i + (factor - 1) / 2 in full size, for which grid, control points and matrix are meant.

    Moving is interpolated by a cubic B-spline and compared at the centres of fixed's pixels, which stay as they are.
    """

    def __init__(
        self, fixed: Plane, moving: Plane, factor: int, matrix: Matrix, grid: Grid, bins: int, threads: int
    ) -> None:
        low, high = metrics.bin_limits(bins)
        dtype = fixed.dtype.type
        self.held = low, high
        self.grid, self.bins, self.threads = grid, bins, threads
        self.fixed = fixed * dtype(high - low) + dtype(low)
        self._coefficients = _padded_coefficients(moving, *self.held)
        self._warped = np.empty_like(self.fixed)
        self._along = np.empty((2, *fixed.shape), dtype)
        offset = (factor - 1) / 2
        self._rows, self._columns = (factor * np.arange(size, dtype=np.float64) + offset for size in fixed.shape)
        self._column_table = grid.x.table(self._columns, 0, dtype)
        self._slab_rows = max(1, _SLAB_PIXELS // fixed.shape[1])
        rows = grid.y.table(self._rows, 0, dtype)
        starts = range(0, len(fixed), self._slab_rows)
        self._row_tables = {start: rows.part(start, start + self._slab_rows) for start in starts}
        self._to_moving = np.array([[1, 0, -offset], [0, 1, -offset], [0, 0, factor]]) / factor @ matrix

    def histogram(self, control: Control) -> metrics.Table:
        """The joint histogram; its sum is the number of pixels in the overlap."""
        control = control.astype(self.fixed.dtype)

        def work(start: int, stop: int) -> metrics.Table:
            warped, along = self._warped[start:stop], self._along[:, start:stop]
            shift = np.empty_like(along)
            fill_field(control, self._row_tables[start], self._column_table, shift)
            matrix, rows, (low, high) = self._to_moving, self._rows[start:stop], self.held
            _ext.sample_displaced(
                self._coefficients, matrix, self._columns, rows, shift[0], shift[1], low, high, warped, along[0], along[1]
            )
            table = np.zeros((self.bins, self.bins))
            _ext.joint_histogram(self.fixed[start:stop].reshape(-1), warped.reshape(-1), table, 0, warped.size)
            return table

        return metrics.total(run_slabs(work, len(self.fixed), self._slab_rows, self.threads))

    def gradient(self, slopes: metrics.Table) -> Control:
        """The derivative of NMI with respect to the control points of the last `histogram`, from its slope table.

        The size of the overlap is taken as constant, as for matrices.
        """
        table = slopes.astype(self.fixed.dtype)
        out = np.zeros((2, *self.grid.shape))

        def work(start: int, stop: int) -> tuple[int, Control]:
            fixed, warped = self.fixed[start:stop], self._warped[start:stop]
            slope = np.empty_like(fixed)
            low, high = self.held
            _ext.sample_slopes(
                fixed.reshape(-1), warped.reshape(-1), table, low, high, slope.reshape(-1), 0, fixed.size
            )
            rows = self._row_tables[start]
            base = int(rows.first[0])
            part = np.zeros((2, int(rows.first[-1]) + 4 - base, self.grid.shape[1]))
            for along, sums in zip(self._along[:, start:stop], part, strict=True):
                _ext.spline_adjoint(along * slope, *self._column_table, *rows, sums, base)
            return base, part

        for base, part in run_slabs(work, len(self.fixed), self._slab_rows, self.threads):
            out[:, base : base + part.shape[1]] += part
        # The chain rule through the matrix commutes with the adjoint of the spline.
        (a, b), (c, d) = self._to_moving[:2, :2].tolist()
        return np.stack([a * out[0] + c * out[1], b * out[0] + d * out[1]])


def _padded_coefficients(plane: Plane, low: float, high: float) -> Plane:
    """The B-spline of a plane with [0, 1] mapped to [low, high]; padded for sampling, NaN where a pixel is missing."""
    out = np.empty((plane.shape[0] + 3, plane.shape[1] + 3), plane.dtype)
    inner = out[1:-2, 1:-2]
    np.multiply(plane, high - low, out=inner)
    inner += low
    missing = np.isnan(plane)
    some = bool(missing.any())
    if some:
        # The recursive filter carries what stands there to its neighbours: little, if it is like the rest.
        inner[missing] = inner[~missing].mean()
    _ext.spline_coefficients(out, 1, 2)
    if some:
        out[np.pad(missing, ((1, 2), (1, 2)), mode="reflect")] = np.nan
    return out


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
    """NMI, less `bending` times the bending energy, less `folding` times the barrier."""

    def __init__(self, similarity: Similarity, bending: float, folding: float, least_count: float) -> None:
        self._similarity, self._bending, self._folding = similarity, bending, folding
        self._barrier = Barrier(similarity.grid)
        self._least_count = least_count

    def value(self, control: Control) -> float:
        """The objective; -inf where the plane folds or the overlap is too small."""
        folding = self._barrier.value(control)
        if not np.isfinite(folding):
            return -np.inf
        table = self._similarity.histogram(control)
        if table.sum() <= self._least_count:
            return -np.inf
        nmi, self._slopes = metrics.score(table)
        energy, self._bending_gradient = self._similarity.grid.bending(control)
        return nmi - self._bending * energy - self._folding * folding

    def gradient(self) -> Control:
        """The derivative of the last `value`, which was finite, with respect to the control points."""
        out = self._similarity.gradient(self._slopes)
        out -= self._bending * self._bending_gradient
        out -= self._folding * self._barrier.gradient()
        return out
