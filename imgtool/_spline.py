"""Cubic B-spline control grids: where they lie, and fields evaluated on them.

A field has components; its control points are an array (components, rows, columns). Control point i of an axis lies at
`origin + (i - 1) * spacing`: the grid covers its cells with one more point on their one side and two on the other.
"""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from . import _ext
from ._check import Array, empty
from ._slabs import run_slabs

Control = npt.NDArray[np.float64]
Positions = npt.NDArray[np.float64]

_SLAB_PIXELS = 1 << 16

# How often a cell is halved before its determinant counts as not more than 0.
_HALVINGS = 5
_BAND = 16  # rows of cells that are looked at together
# Bernstein coefficients of the cubic on a cell, from the four control points that it depends on.
_TO_BERNSTEIN = np.array([[1, 4, 1, 0], [0, 4, 2, 0], [0, 2, 4, 0], [0, 1, 4, 1]]) / 6
_BINOMIALS = {degree: np.array([math.comb(degree, i) for i in range(degree + 1)], float) for degree in (2, 3, 5)}
# The coefficients of degree 5 on the first and on the second half of an interval (de Casteljau).
_FIRST_HALF = np.array([[math.comb(i, k) / 2**i for k in range(6)] for i in range(6)])
_HALVES = (_FIRST_HALF, _FIRST_HALF[::-1, ::-1])


class Table(NamedTuple):
    """For positions along an axis: the first of the four control points they touch, and the four's weights."""

    first: npt.NDArray[np.int32]
    weights: Array  # (4, positions)

    def part(self, start: int, stop: int) -> "Table":
        """The table of positions [start, stop)."""
        return Table(self.first[start:stop], np.ascontiguousarray(self.weights[:, start:stop]))


@dataclass(frozen=True)
class Axis:
    """The control points along one axis, in pixels."""

    origin: float
    spacing: float
    cells: int

    @classmethod
    def covering(cls, size: int, spacing: float) -> "Axis":
        """The axis that covers `size` pixels, from the border of the first one on."""
        return cls(-0.5, spacing, max(1, math.ceil(size / spacing - 1e-9)))

    @property
    def points(self) -> int:
        """The number of control points."""
        return self.cells + 3

    @property
    def length(self) -> float:
        """What the cells cover, in pixels."""
        return self.cells * self.spacing

    def table(self, positions: Positions, order: int = 0, dtype: npt.DTypeLike = np.float64) -> Table:
        """The weights of values (`order` 0), slopes (1) or curvatures (2) at `positions`."""
        table = Table(np.empty(positions.size, np.int32), np.empty((4, positions.size), dtype))
        _ext.spline_axis(positions, self.origin, self.spacing, self.cells, order, *table)
        return table

    def basis(self, positions: Positions) -> npt.NDArray[np.float64]:
        """The table of values at `positions` as a matrix, (positions, points)."""
        table, out = self.table(positions), np.zeros((positions.size, self.points))
        for k in range(4):
            out[np.arange(positions.size), table.first + k] = table.weights[k]
        return out

    def halved(self, size: int) -> "Axis":
        """The axis of half the spacing that covers `size` pixels."""
        axis = Axis(self.origin, self.spacing / 2, 2 * self.cells)
        return Axis(axis.origin, axis.spacing, min(axis.cells, Axis.covering(size, axis.spacing).cells))

    @cached_property
    def bands(self) -> npt.NDArray[np.float64]:
        """[order, i, 3 + k - i]: the integrals over the cells of products of derivatives of basis functions i and k."""
        # Gauss's rule with four points is exact for the products, which are of degree 6 at most.
        nodes, shares = np.polynomial.legendre.leggauss(4)
        cell = Axis(0.0, self.spacing, 1)
        out = np.zeros((3, self.points, 7))
        for order in range(3):
            weights = cell.table((nodes + 1) / 2 * self.spacing, order).weights
            products = (weights * shares * self.spacing / 2) @ weights.T
            for i in range(4):
                for k in range(4):
                    out[order, i : i + self.cells, 3 + k - i] += products[i, k]
        return out


@dataclass(frozen=True)
class Grid:
    """Control points in rows (`y`) and columns (`x`)."""

    y: Axis
    x: Axis

    @classmethod
    def covering(cls, shape: tuple[int, ...], spacing: float) -> "Grid":
        """The grid that covers an image of this (height, width)."""
        return cls(Axis.covering(shape[0], spacing), Axis.covering(shape[1], spacing))

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of control points."""
        return self.y.points, self.x.points

    def refined(self, control: Control, shape: tuple[int, ...]) -> tuple["Grid", Control]:
        """The same field on the grid of half the spacing that covers an image of this (height, width)."""
        grid = Grid(self.y.halved(shape[0]), self.x.halved(shape[1]))
        out = np.empty((len(control), *grid.shape))
        for component, target in zip(control, out, strict=True):
            _ext.spline_refined(np.ascontiguousarray(component), target)
        return grid, out

    def projected(self, control: Control, grid: "Grid") -> Control:
        """The field on another grid that is nearest to this one's, component by component."""
        down, across = (_projection(old, new) for old, new in ((self.y, grid.y), (self.x, grid.x)))
        return down @ control @ across.T

    def bending(self, control: Control) -> tuple[float, Control]:
        """The mean over the cells of |second derivatives|^2 of the field, and its gradient (Rueckert et al. 1999).

        The mean is over the area: the sum over components of the mean of f_xx^2 + 2 f_xy^2 + f_yy^2, exactly.
        """
        gradient = np.empty_like(control)
        for component, out in zip(control, gradient, strict=True):
            _ext.bending_product(component, self.x.bands, self.y.bands, out)
        gradient /= self.y.length * self.x.length
        # Not a product of BLAS, whose order of summation is not ours to know.
        energy = float((control * gradient).sum())
        return energy, 2 * gradient

    def field(self, control: Array, rows: Table, columns: Table, threads: int) -> Array:
        """The field at the crossings of rows and columns, (components, rows, columns), of the dtype of the weights."""
        control = np.ascontiguousarray(control, columns.weights.dtype)
        height, width = rows.first.size, columns.first.size
        out = empty((len(control), height, width), control.dtype)

        def work(start: int, stop: int) -> None:
            fill_field(control, rows.part(start, stop), columns, out[:, start:stop])

        run_slabs(work, height, max(1, _SLAB_PIXELS // max(width, 1)), threads)
        return out

    def at_points(self, control: Control, points: Positions, orders: tuple[int, int] = (0, 0)) -> Positions:
        """The field at (N, 2) points x, y, or its derivative of these orders (along x, along y), as (components, N)."""
        columns = self.x.table(points[:, 0], orders[0])
        rows = self.y.table(points[:, 1], orders[1])
        out = np.empty((len(control), len(points)))
        for component, values in zip(control, out, strict=True):
            _ext.spline_points(component, *columns, *rows, values)
        return out

    def least_determinant(self, control: Control) -> float:
        """A bound below which the Jacobian determinant of p + field(p) lies nowhere on the cells.

        On a cell the determinant is a polynomial of degree 5 along each axis, and not below the least of its
        coefficients in Bernstein's basis. Cells where that is not more than 0 are halved, both ways, a few times: the
        coefficients come close to the polynomial quickly.
        """
        bands = (control[:, row : row + _BAND + 3] for row in range(0, self.y.cells, _BAND))
        return min(_least_coefficient(_bernstein_determinant(band, self.x.spacing, self.y.spacing)) for band in bands)


def _projection(old: Axis, new: Axis) -> npt.NDArray[np.float64]:
    """The control points of `new` as the least squares solution of those of `old`, (new points, old points)."""
    places = old.origin + (np.arange(4 * old.cells) + 0.5) * old.spacing / 4
    # Control points that hardly reach the old cells go on as the ones beside them do.
    smooth = 1e-3 * np.diff(np.eye(new.points), 3, axis=0)
    wanted = np.vstack([old.basis(places), np.zeros((len(smooth), old.points))])
    solution, *_ = np.linalg.lstsq(np.vstack([new.basis(places), smooth]), wanted, rcond=None)
    return np.asarray(solution)


def determinant(along_x: Array, along_y: Array) -> Array:
    """The Jacobian determinant of p + field(p), from the derivatives (components, ...) of the field along x and y."""
    (ux, vx), (uy, vy) = along_x, along_y
    return np.asarray((1 + ux) * (1 + vy) - uy * vx)


def _least_coefficient(cells: Array) -> float:
    least = np.inf
    for _ in range(_HALVINGS):
        lowest = cells.min(axis=(1, 2))
        least = min(least, float(lowest[lowest > 0].min(initial=np.inf)))
        cells = cells[lowest <= 0]
        if not len(cells):
            return least
        cells = np.concatenate([down @ cells @ across.T for down in _HALVES for across in _HALVES])
    return min(least, float(cells.min()))


def _bernstein_determinant(control: Control, spacing_x: float, spacing_y: float) -> Array:
    """The coefficients (cells, 6, 6) of the Jacobian determinant of p + field(p) in Bernstein's basis of degree 5."""
    windows = np.lib.stride_tricks.sliding_window_view(control, (4, 4), axis=(1, 2))
    u, v = windows.reshape(2, -1, 4, 4)
    # Weighted by binomials, Bernstein coefficients multiply like those of powers.
    cubic, slope = _BINOMIALS[3][:, None] * _TO_BERNSTEIN, _BINOMIALS[2][:, None] * (3 * np.diff(_TO_BERNSTEIN, axis=0))
    one_x, one_y = np.outer(_BINOMIALS[3], _BINOMIALS[2]), np.outer(_BINOMIALS[2], _BINOMIALS[3])
    ux, vx = (cubic @ field @ slope.T / spacing_x for field in (u, v))
    uy, vy = (slope @ field @ cubic.T / spacing_y for field in (u, v))
    ux, vy = ux + one_x, vy + one_y
    out = np.zeros((len(u), 6, 6))
    for i in range(4):
        for k in range(3):
            out[:, i : i + 3, k : k + 4] += ux[:, i, k, None, None] * vy - vx[:, i, k, None, None] * uy
    return out / np.outer(_BINOMIALS[5], _BINOMIALS[5])


def fill_field(control: Array, rows: Table, columns: Table, out: Array) -> None:
    """Write the field at the crossings of rows and columns to `out`; all of one floating point dtype."""
    for component, target in zip(control, out, strict=True):
        _ext.spline_field(component, *columns, *rows, target)
