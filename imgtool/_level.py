"""Mutual information of two images at one size as a function of the parameters of a matrix, and its ascent."""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from . import metrics
from ._frame import Frame
from ._optimise import Function, maximise, settle
from ._pyramid import doubled, to_full_size
from ._search import View
from ._slabs import run_slabs

Matrix = npt.NDArray[np.float64]
Vector = npt.NDArray[np.float64]
Plane = npt.NDArray[np.float32]
Planes = tuple[Plane, Plane]
Tile = npt.NDArray[np.float32]
T = TypeVar("T")

# Measured over tests/bench/registration.py: see docs/design.md, "Registration".
# NMI can grow without end while the overlap shrinks to a place where both images are flat: such steps are refused.
_LEAST_OVERLAP = 0.4
_ITERATIONS = 60
# In pixels of the level: the first step of an ascent, and the longest; the longest of settling, what it probes the
# curvature by, and where it ends.
_FIRST_STEP, _LONGEST_STEP = 1.0, 4.0
_LONGEST_STEP_SETTLING, _PROBE, _LAST_STEP, _LAST_STEP_TO_A_CUSP = 0.5, 0.4, 0.01, 0.001
# As many samples as this in both directions together make the noise of sampling small beside that of the images.
_ENOUGH_SAMPLES = 1 << 19
# Sub-bins in all, and per bin at least: sums over samples beside the pixels need no more, and more would make tables
# cost as much as the pixels of a small image.
_SUB_BINS, _LEAST_SUB_BINS = 128, 2
# Planes with fewer pixels than this are not worth a second thread each.
_SMALL = 1 << 16


def _beside(size: int) -> Tile:
    """Offsets (x, y) within half a pixel for a tile of pixels: the R2 sequence of M. Roberts, evenly spread.

    At the pixels' centres moving would be smoothed by the interpolation wherever it is not shifted by whole pixels,
    and fixed would not: noise then makes NMI prefer, or shun, such shifts (J. Tsao, IEEE Transactions on Medical
    Imaging 22, 2003).
    """
    number = np.arange(1, size * size + 1)
    ratio = 1.32471795724474602596  # the root of x^3 = x + 1
    return np.stack([(number / ratio**power) % 1 - 0.5 for power in (1, 2)]).reshape(2, size, size).astype(np.float32)


def _orbit(tile: Tile) -> list[Tile]:
    """`tile` and what becomes of its offsets in mirrored and transposed images; the first two are opposite."""
    signs = [np.array([x, y], np.float32)[:, None, None] for x, y in ((1, 1), (-1, -1), (-1, 1), (1, -1))]
    upright = [tile * sign for sign in signs]
    return upright + [np.ascontiguousarray(each.transpose(0, 2, 1)[::-1]) for each in upright]


_TILES = _orbit(_beside(32))


class Ascent(NamedTuple):
    """Where an ascent ended."""

    matrix: Matrix
    height: float
    steps: int


class Level:
    """Both images at one size, and the ascent on it. Matrices are those of full size.

    Samples lie beside the pixels of fixed, by `tiles` of offsets. If `settling`, they are interpolated better, moving
    is sampled in the same manner, too, and what is said of NMI is true of the mean.
    """

    def __init__(
        self,
        planes: Planes,
        factor: int,
        bins: int,
        frame: Frame,
        threads: int,
        tiles: Sequence[Tile] = _TILES[:1],
        settling: bool = False,
    ) -> None:
        low, high = metrics.bin_limits(bins)
        fixed, moving = (plane * np.float32(high - low) + np.float32(low) for plane in planes)
        if settling:
            fixed, moving = doubled(fixed, threads), doubled(moving, threads)
        small = planes[0].size < _SMALL
        self._threads, inside = (threads, 1) if small else (1, threads)
        sub_bins = max(_LEAST_SUB_BINS, round(_SUB_BINS / bins))
        alignment = partial(metrics.Alignment, bins=bins, threads=inside, sub_bins=sub_bins, fineness=1 + settling)
        self._there = [alignment(fixed, moving, offsets=tile) for tile in tiles]
        self._back = [alignment(moving, fixed, offsets=tile) for tile in tiles if settling]
        self._frame, self._factor = frame, factor
        self._to_full = to_full_size(factor)
        self._to_level = np.linalg.inv(self._to_full)
        possible = min(np.count_nonzero(~np.isnan(plane)) for plane in planes)
        self._least_count = float(_LEAST_OVERLAP * possible)

    @classmethod
    def settling(cls, planes: Planes, factor: int, bins: int, frame: Frame, threads: int) -> "Level":
        """The level on which an ascent may end.

        Sampled both ways, so that swapped images give the inverse, and at the more offsets the smaller the images are:
        what the noise of sampling adds would otherwise differ by a tenth of a pixel between mirrored images.
        """
        count = min(len(_TILES), max(1, _ENOUGH_SAMPLES // (planes[0].size + planes[1].size)))
        return cls(planes, factor, bins, frame, threads, _TILES[: 1 << (count.bit_length() - 1)], settling=True)

    def evaluate(self, matrix: Matrix) -> tuple[float, int]:
        """NMI at `matrix`, and how many pixels of fixed overlap; (0, 0) if none does."""
        found = self._each(matrix, metrics.Alignment.evaluate)
        return sum(nmi for nmi, _ in found) / len(found), found[0][1]

    def value_and_gradient(self, model: str, parameters: Vector, tiles: int | None = None) -> tuple[float, Vector]:
        """NMI and its derivative with respect to the parameters; -inf where hardly anything overlaps.

        Only the first `tiles` of samples count, both ways, if a number is given.
        """
        matrix = self._frame.matrix(model, parameters)

        def look(alignment: metrics.Alignment, inner: Matrix) -> tuple[float, int, Matrix]:
            return *alignment.evaluate(inner), alignment.gradient(projective=model == "projective")

        found = self._each(matrix, look, tiles)
        if found[0][1] < self._least_count:
            return -math.inf, np.zeros_like(parameters)
        slopes = [slope for _, _, slope in found]
        there = len(self._there[:tiles])
        by_level = sum(slopes[:there], np.zeros((3, 3)))
        if self._back:
            inverse = np.linalg.inv(self._inner(matrix))
            by_level -= inverse.T @ sum(slopes[there:], np.zeros((3, 3))) @ inverse.T
        by_full = self._to_level.T @ (by_level / len(found)) @ self._to_full.T
        return sum(nmi for nmi, _, _ in found) / len(found), self._frame.gradient(model, parameters, by_full)

    def _inner(self, matrix: Matrix) -> Matrix:
        """`matrix` between pixels of this level."""
        inner: Matrix = self._to_level @ matrix @ self._to_full
        return inner

    def _each(
        self, matrix: Matrix, look: Callable[[metrics.Alignment, Matrix], T], tiles: int | None = None
    ) -> list[T]:
        """`look(alignment, inner)` of the first `tiles` alignments, at `matrix` in their pixels and direction."""
        inner = self._inner(matrix)
        work = [(alignment, inner) for alignment in self._there[:tiles]]
        if self._back:
            inverse = np.asarray(np.linalg.inv(inner), np.float64)
            work += [(alignment, inverse) for alignment in self._back[:tiles]]
        return run_slabs(lambda number, _: look(*work[number]), len(work), 1, self._threads)

    def height(self, model: str, edges: View | None, share: float, tiles: int | None = None) -> Function:
        """What is climbed, and its derivative: ln(NMI - 1), and with `edges` ln(their score) times `share` added.

        Mutual information looks at regions and edges at their borders: what misleads one seldom misleads the other as
        much.
        """

        def height(parameters: Vector) -> tuple[float, Vector]:
            nmi, gradient = self.value_and_gradient(model, parameters, tiles)
            if nmi <= 1:
                return -math.inf, gradient
            gradient = gradient / (nmi - 1)
            if edges is None:
                return math.log(nmi - 1), gradient
            score, by_score = edges(model, parameters)
            if score <= 0:
                return -math.inf, gradient
            return math.log(nmi - 1) + share * math.log(score), gradient + share / score * by_score

        return height

    def ascend(self, model: str, matrix: Matrix, edges: View | None, share: float, last_step: float) -> Ascent:
        """The best matrix of `model` near `matrix`, until steps are shorter than `last_step` pixels of this level."""
        start = self._frame.parameters(model, matrix)
        # The overlap may be small from the beginning, for masks; it must not become much smaller.
        _, begin = self.evaluate(self._frame.matrix(model, start))
        self._least_count = min(self._least_count, 0.8 * begin)
        if begin == 0:
            return Ascent(matrix, -math.inf, 0)
        best = maximise(
            self.height(model, edges, share),
            start,
            first_step=_FIRST_STEP * self._factor,
            longest_step=_LONGEST_STEP * self._factor,
            tolerance=last_step * self._factor,
            iterations=_ITERATIONS,
        )
        return Ascent(self._frame.matrix(model, best.parameters), best.value, best.iterations)

    def settle(self, model: str, matrix: Matrix, edges: View | None, share: float, near: "Level") -> Ascent:
        """The top right beside `matrix`, to which an ascent on the level `near` has led."""
        self._least_count = near._least_count
        height = self.height(model, edges, share)
        # Most of the way is as sure with the samples of one tile.
        best, settled = settle(
            [self.height(model, edges, share, 1), height] if len(self._there) > 1 else [height],
            near.height(model, edges, share),
            self._frame.parameters(model, matrix),
            probe=_PROBE * self._factor,
            longest_step=_LONGEST_STEP_SETTLING * self._factor,
            tolerance=_LAST_STEP * self._factor,
        )
        if not settled:
            # Equal images meet in a cusp, where no gradient vanishes, and values tell the place well.
            best = maximise(
                height,
                best.parameters,
                first_step=_PROBE * self._factor,
                longest_step=_LONGEST_STEP_SETTLING * self._factor,
                tolerance=_LAST_STEP_TO_A_CUSP * self._factor,
                iterations=_ITERATIONS,
            )
        return Ascent(self._frame.matrix(model, best.parameters), best.value, best.iterations)
