"""The climb: from a start to the optimum of mutual information, from coarse to fine, by a model or by the best one."""

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from . import metrics
from ._frame import LADDER, Frame
from ._optimise import maximise
from ._pyramid import halved
from ._search import Edges, View

Matrix = npt.NDArray[np.float64]
Vector = npt.NDArray[np.float64]
Plane = npt.NDArray[np.float32]
Planes = tuple[Plane, Plane]

# Measured over tests/bench/registration.py: see docs/design.md, "Registration".
_COARSE_BINS = 24
# The coarsest level is the last one on which the smaller image's longer side has at least this many pixels ...
_COARSEST_SIDE = 32
# ... and the shorter side of either image this many. After a search the climb begins where it ended.
_COARSEST_SHORT_SIDE = 8
_SEARCHED_SIDE = 96
# NMI can grow without end while the overlap shrinks to a place where both images are flat: such steps are refused.
_LEAST_OVERLAP = 0.4
# More pixels than this make a level slow and the result hardly better: it is left out.
_ENOUGH_PIXELS = 3 << 19
_ITERATIONS = 60
# Steps, in pixels of the level: where the climb begins, the longest it may make, and where it ends.
_FIRST_STEP, _LONGEST_STEP, _LAST_STEP = 1.0, 4.0, 0.01
_LAST_STEP_FULL_SIZE = 0.004
# How much the logarithm of the edges' agreement counts beside that of NMI - 1: on all levels but the finest, and there,
# where NMI is the more exact of the two unless it is faint, over NMI - 1.
_EDGES, _EDGES_AT_LAST = 1.0, 0.004
# What the next model must add to the height and to the worth of the edges' agreement, in standard deviations.
_GAIN, _WORTH_GAIN = 0.003, 1.0
# On how many levels running the next model is tried in vain before it is not tried any more.
_REFUSALS = 2


def _beside(size: int) -> npt.NDArray[np.float32]:
    """Offsets (x, y) within half a pixel for a tile of pixels: the R2 sequence of M. Roberts, evenly spread.

    At the pixels' centres moving would be smoothed by the interpolation wherever it is not shifted by whole pixels,
    and fixed would not: noise then makes NMI prefer, or shun, such shifts (J. Tsao, IEEE Transactions on Medical
    Imaging 22, 2003).
    """
    number = np.arange(1, size * size + 1)
    ratio = 1.32471795724474602596  # the root of x^3 = x + 1
    return np.stack([(number / ratio**power) % 1 - 0.5 for power in (1, 2)]).reshape(2, size, size).astype(np.float32)


_BESIDE = _beside(32)


class Summit(NamedTuple):
    """Where the climb ended."""

    matrix: Matrix
    model: str
    steps: int


class Level:
    """Both images at one size, and the climb on it. Matrices are those of full size."""

    def __init__(
        self,
        planes: Planes,
        factor: int,
        bins: int,
        frame: Frame,
        threads: int,
        offsets: npt.NDArray[np.float32] | None = _BESIDE,
    ) -> None:
        low, high = metrics.bin_limits(bins)
        fixed, moving = (plane * np.float32(high - low) + np.float32(low) for plane in planes)
        self._alignment = metrics.Alignment(fixed, moving, bins=bins, threads=threads, offsets=offsets)
        self._frame, self._factor = frame, factor
        # Pixel i of this level lies at factor * i + (factor - 1) / 2 in full size.
        offset = (factor - 1) / 2
        self._to_full = np.array([[factor, 0, offset], [0, factor, offset], [0, 0, 1.0]])
        self._to_level = np.linalg.inv(self._to_full)
        possible = min(np.count_nonzero(~np.isnan(plane)) for plane in planes)
        self._least_count = float(_LEAST_OVERLAP * possible)

    def evaluate(self, matrix: Matrix) -> tuple[float, int]:
        """NMI at `matrix`, and how many pixels overlap; (0, 0) if none does."""
        return self._alignment.evaluate(self._to_level @ matrix @ self._to_full)

    def value_and_gradient(self, model: str, parameters: Vector) -> tuple[float, Vector]:
        """NMI and its derivative with respect to the parameters; -inf where the overlap is too small."""
        value, count = self.evaluate(self._frame.matrix(model, parameters))
        if count < self._least_count:
            return -math.inf, np.zeros_like(parameters)
        by_level = self._alignment.gradient(projective=model == "projective")
        return value, self._frame.gradient(model, parameters, self._to_level.T @ by_level @ self._to_full.T)

    def climb(self, model: str, matrix: Matrix, edges: View | None, share: float) -> tuple[Matrix, float, int]:
        """The best matrix of `model` near `matrix`, its height, and the number of steps to it.

        The height is ln(NMI - 1), and with `edges` ln(their score) times `share` added: mutual information looks at
        regions and edges at their borders, and what misleads one seldom misleads the other as much.
        """
        start = self._frame.parameters(model, matrix)
        # The overlap may be small from the beginning, for masks; it must not become much smaller.
        _, begin = self.evaluate(self._frame.matrix(model, start))
        self._least_count = min(self._least_count, 0.8 * begin)
        if begin == 0:
            return matrix, -math.inf, 0

        def height(parameters: Vector) -> tuple[float, Vector]:
            nmi, gradient = self.value_and_gradient(model, parameters)
            if nmi <= 1:
                return -math.inf, gradient
            gradient = gradient / (nmi - 1)
            if edges is None:
                return math.log(nmi - 1), gradient
            score, by_score = edges(model, parameters)
            if score <= 0:
                return -math.inf, gradient
            return math.log(nmi - 1) + share * math.log(score), gradient + share / score * by_score

        last_step = _LAST_STEP_FULL_SIZE if self._factor == 1 else _LAST_STEP
        best = maximise(
            height,
            start,
            first_step=_FIRST_STEP * self._factor,
            longest_step=_LONGEST_STEP * self._factor,
            tolerance=last_step * self._factor,
            iterations=_ITERATIONS,
        )
        return self._frame.matrix(model, best.parameters), best.value, best.iterations


class Start(NamedTuple):
    """Where a climb begins."""

    matrix: Matrix
    model: str  # the simplest that "auto" may end with
    searched: bool  # whether it is a search's answer, or a guess, for which the climb begins on smaller images


def climb(
    pyramid: list[tuple[int, Planes]], start: Start, model: str, bins: int, frame: Frame, edges: Edges, threads: int
) -> Summit:
    """The summit near the start, from the coarsest level to the finest.

    `model` may be "auto": then, on each level, the next model is taken if it gains enough.
    """
    matrix, rung, steps, refusals = start.matrix, start.model, 0, 0
    for number in reversed(range(len(pyramid))):
        factor, planes = pyramid[number]
        level = Level(planes, factor, min(bins, _COARSE_BINS) if number else bins, frame, threads)
        view = edges.view(matrix) if max(planes[0].shape) >= _SEARCHED_SIDE else None
        share = _EDGES if number else min(_EDGES, _EDGES_AT_LAST / max(level.evaluate(matrix)[0] - 1, 1e-9))
        rungs = [rung]
        if model != "auto":
            # Without a search the coarsest level is climbed model after model.
            first = number == len(pyramid) - 1 and not start.searched
            rungs = list(LADDER[: LADDER.index(model) + 1]) if first else [model]
        for rung in rungs:
            matrix, height, taken = level.climb(rung, matrix, view, share)
            steps += taken
        while model == "auto" and rung != LADDER[-1] and refusals < _REFUSALS:
            wider = LADDER[LADDER.index(rung) + 1]
            there, higher, taken = level.climb(wider, matrix, view, share)
            steps += taken
            if higher < height + _GAIN or edges.worth(there) < edges.worth(matrix) + _WORTH_GAIN:
                refusals += 1
                break
            rung, matrix, height, refusals = wider, there, higher, 0
    return Summit(matrix, rung, steps)


def levels_of(planes: Planes, searched: bool) -> list[tuple[int, Planes]]:
    """The levels of a climb, the finest first: how many pixels of full size make one, and the images.

    After a search the coarsest level is the one that the search ended on.
    """
    coarsest = _SEARCHED_SIDE if searched else _COARSEST_SIDE
    levels = [(1, planes)]
    while (
        min(max(plane.shape) for plane in planes) >= 2 * coarsest
        and min(min(plane.shape) for plane in planes) >= 2 * _COARSEST_SHORT_SIDE
    ):
        planes = halved(planes[0]), halved(planes[1])
        levels.append((2 * levels[-1][0], planes))
    while len(levels) > 1 and levels[0][1][0].size > _ENOUGH_PIXELS:
        del levels[0]
    return levels
