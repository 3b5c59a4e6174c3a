"""How alike two images are under a displacement: NMI, agreement of edges, and what neighbours tell."""

import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from .. import _ext, metrics
from .._slabs import run_slabs
from .._spline import Control, Grid, Positions, fill_field
from .noise import noise_variance, quieted
from .orientation import orientation

Plane = npt.NDArray[np.floating[Any]]
Matrix = npt.NDArray[np.float64]

_SLAB_PIXELS = 1 << 15
# The share of the noise's variance that is added to those of a window of neighbours: measured, see docs/design.md.
_RIDGE = 0.5
# So many cells of `Curvature` for each control point along an axis tell products of two basis functions well enough.
_CELLS = 4
# Windows of neighbours reach three rows beyond a slab, and begin at even ones.
_REACH = 4
_Pulls = tuple[int, Control]


class Curvature(NamedTuple):
    """What a model of the similarity loses with displacements, in cells of a few pixels."""

    rows: Positions  # the cells' centres, in pixels of full size
    columns: Positions
    cells: Matrix  # (3, rows, columns): minus its second derivatives by x twice, by x and y, by y twice
    pixels: int


class Similarity:
    """`fixed` at p against `moving` at matrix * (p + u(p)), as functions of the control points of u.

    Both planes have values from 0 to 1, NaN where pixels are missing, and are of one dtype. Pixel i of this level of
    the pyramid is at `factor` * i + (factor - 1) / 2 in full size, for which grid, control points and matrix are meant.

    Moving is interpolated by a cubic B-spline and compared at the centres of fixed's pixels, which stay as they are:
    the orientations of edges, too. These count as turned by the matrix, not by u. The joint histogram is that of
    `quieted` fixed, the edges are those of both images quieted; neighbours are compared as they are.
    """

    def __init__(
        self, fixed: Plane, moving: Plane, factor: int, matrix: Matrix, grid: Grid, bins: int, threads: int
    ) -> None:
        dtype = fixed.dtype.type
        (a, b), (c, d) = matrix[:2, :2].tolist()
        fixed_noise, moving_noise = noise_variance(fixed), noise_variance(moving)
        self._quiet = quieted(fixed, fixed_noise, threads)
        # In 127ths: a quarter of the memory, and far more exact than the orientations are.
        directions = orientation(self._quiet, 0.0, threads)
        directions *= 127
        self._directions = np.rint(directions, out=directions).astype(np.int8)
        del directions
        turned = orientation(quieted(moving, moving_noise, threads), -math.atan2(c - b, a + d), threads)
        self._turned = [_padded_coefficients(part, 0.0, 1.0) for part in turned]
        del turned
        self.held = metrics.bin_limits(bins)
        scale = (self.held[1] - self.held[0]) ** 2
        self._noise = _RIDGE * scale * fixed_noise, _RIDGE * scale * moving_noise
        self.bins, self.threads, self._factor = bins, threads, factor
        self._fixed, self._scale = fixed, dtype(self.held[1] - self.held[0])
        self._coefficients = _padded_coefficients(moving, *self.held)
        offset = (factor - 1) / 2
        self._rows, self._columns = (factor * np.arange(size, dtype=np.float64) + offset for size in fixed.shape)
        # Windows of neighbours begin at every second row, and so do slabs.
        self._slab_rows = max(2, _SLAB_PIXELS // fixed.shape[1] & ~1)
        self.use(grid)
        self._to_moving = np.array([[1, 0, -offset], [0, 1, -offset], [0, 0, factor]]) / factor @ matrix

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of fixed."""
        height, width = self._fixed.shape
        return height, width

    def use(self, grid: Grid) -> None:
        """Expect control points of this grid from here on."""
        self.grid = grid
        self._row_table = grid.y.table(self._rows, 0, self._fixed.dtype)
        self._column_table = grid.x.table(self._columns, 0, self._fixed.dtype)

    def evaluate(self, control: Control) -> tuple[metrics.Table, float]:
        """The joint histogram, whose sum is the number of pixels in the overlap, and the agreement of structures.

        The latter is the mean over the pixels of fixed of two numbers: the cosine between both images' edges, weighted
        by how certain each is, from -1 to 1; and what neighbours tell, in nats.
        """
        self._control = control.astype(self._fixed.dtype)

        def work(start: int, stop: int) -> tuple[metrics.Table, float, _Pulls]:
            inner, fixed, shift, value, slopes = self._around(start, stop)
            informing = np.empty_like(value)
            agreement = _ext.window_information(fixed, value, *self._noise, inner.start, inner.stop, informing)
            quiet, table = self._binned(self._quiet[start:stop]).reshape(-1), np.zeros((self.bins, self.bins))
            _ext.joint_histogram(quiet, value[inner].reshape(-1), table, 0, quiet.size)
            forces = slopes[:, inner] * informing[inner]
            for directions, turned in zip(self._directions[:, start:stop], self._turned, strict=True):
                value, slopes = self._sample(turned, start, shift[:, inner])
                agreement += _ext.weigh_slopes(directions, value, slopes[0], slopes[1])
                forces += slopes
            return table, agreement, self._pull(forces, start, stop)

        parts = run_slabs(work, len(self._fixed), self._slab_rows, self.threads)
        self._structure_gradient = self._collected([part[2] for part in parts]) / self._fixed.size
        table = sum((part[0] for part in parts), np.zeros((self.bins, self.bins)))
        return table, sum(part[1] for part in parts) / self._fixed.size

    def gradient(self, slopes: metrics.Table) -> Control:
        """The derivative of NMI plus the agreement of structures at the last `evaluate`, from NMI's slope table.

        The size of the overlap is taken as constant, as for matrices. Moving is sampled once more, slab by slab: its
        values and slopes, kept from `evaluate`, would be three planes.
        """
        table, (low, high) = slopes.astype(self._fixed.dtype), self.held

        def work(start: int, stop: int) -> _Pulls:
            warped, along = self._sample(self._coefficients, start, self._shift(start, stop))
            slope, quiet = np.empty_like(warped), self._binned(self._quiet[start:stop]).reshape(-1)
            _ext.sample_slopes(quiet, warped.reshape(-1), table, low, high, slope.reshape(-1), 0, warped.size)
            along *= slope
            return self._pull(along, start, stop)

        parts = run_slabs(work, len(self._fixed), self._slab_rows, self.threads)
        return self._structure_gradient + self._collected(parts)

    def curvature(self, control: Control) -> Curvature:
        """How the information of neighbours bends around `control`, the relation in every window being what it is."""
        self._control = control.astype(self._fixed.dtype)
        (a, b), (c, d) = self._to_moving[:2, :2].tolist()
        height, width = self.shape
        side = max(1, int(min(self.grid.x.spacing, self.grid.y.spacing) / (_CELLS * self._factor)))
        columns = np.arange(0, width, side)

        def work(start: int, stop: int) -> Matrix:
            inner, fixed, _, value, slopes = self._around(start, stop)
            informing, bends = np.empty_like(value), np.empty_like(value)
            _ext.window_information(fixed, value, *self._noise, inner.start, inner.stop, informing, bends)
            (x, y), bends = slopes[:, inner], bends[inner]
            x, y = a * x + c * y, b * x + d * y
            cells = np.add.reduceat(np.stack([bends * x * x, bends * x * y, bends * y * y]), columns, axis=2)
            return np.add.reduceat(cells, np.arange(0, stop - start, side), axis=1, dtype=np.float64)

        slab_rows = max(side, _SLAB_PIXELS // width // side * side)
        cells = np.concatenate(run_slabs(work, height, slab_rows, self.threads), axis=1)
        cells /= height * width
        return Curvature(_means(self._rows, side), _means(self._columns, side), cells, height * width)

    def _around(self, start: int, stop: int) -> tuple[slice, Plane, Plane, Plane, Plane]:
        """A slab of rows and those that its windows of neighbours reach.

        These are the slab's place among them, and of them all: fixed in bin coordinates, the displacement, moving's
        values and its slopes.
        """
        first, last = max(start - _REACH, 0), min(stop + _REACH, len(self._fixed))
        shift = self._shift(first, last)
        value, slopes = self._sample(self._coefficients, first, shift)
        return slice(start - first, stop - first), self._binned(self._fixed[first:last]), shift, value, slopes

    def _binned(self, rows: Plane) -> Plane:
        """Rows of the fixed image in bin coordinates."""
        return rows * self._scale + self._scale.dtype.type(self.held[0])

    def _shift(self, start: int, stop: int) -> Plane:
        """The displacement of a slab of rows."""
        shift = np.empty((2, stop - start, self._fixed.shape[1]), self._fixed.dtype)
        fill_field(self._control, self._row_table.part(start, stop), self._column_table, shift)
        return shift

    def _sample(self, coefficients: Plane, start: int, shift: Plane) -> tuple[Plane, Plane]:
        """The values of a spline at the displaced pixels of a slab, and its slopes."""
        value, slopes = np.empty_like(shift[0]), np.empty(shift.shape, shift.dtype)
        rows, (low, high) = self._rows[start : start + len(value)], self.held
        if coefficients is not self._coefficients:
            low, high = -2.0, 2.0  # beyond what orientations reach
        places = coefficients, self._to_moving, self._columns, rows, shift[0], shift[1]
        _ext.sample_displaced(*places, low, high, value, slopes[0], slopes[1])
        return value, slopes

    def _pull(self, forces: Plane, start: int, stop: int) -> _Pulls:
        """What the forces on a slab's pixels do to the control points, from the first row of those on."""
        rows = self._row_table.part(start, stop)
        first, end = int(rows.first[0]), int(rows.first[-1]) + 4
        pulls = np.zeros((2, end - first, self.grid.shape[1]))
        for force, sums in zip(forces, pulls, strict=True):
            _ext.spline_adjoint(force, *self._column_table, *rows, sums, first)
        return first, pulls

    def _collected(self, parts: list[_Pulls]) -> Control:
        """The sum of all slabs' pulls, in moving, as derivatives with respect to the control points."""
        out = np.zeros((2, *self.grid.shape))
        for first, pulls in parts:
            out[:, first : first + pulls.shape[1]] += pulls
        # The chain rule through the matrix commutes with the adjoint of the spline.
        (a, b), (c, d) = self._to_moving[:2, :2].tolist()
        return np.stack([a * out[0] + c * out[1], b * out[0] + d * out[1]])


def _means(places: Positions, side: int) -> Positions:
    """The centres of cells of so many pixels at these places."""
    starts = np.arange(0, places.size, side)
    return np.add.reduceat(places, starts) / np.diff(np.append(starts, places.size))


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
    _ext.spline_coefficients(inner, out, 1, 2)
    if some:
        out[np.pad(missing, ((1, 2), (1, 2)), mode="reflect")] = np.nan
    return out
