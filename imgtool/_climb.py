"""The climb: from a start to the optimum of mutual information, from coarse to fine, by a model or by the best one."""

from functools import partial
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ._frame import LADDER, Frame
from ._level import Ascent, Level, Planes
from ._pyramid import halved
from ._search import Edges

Matrix = npt.NDArray[np.float64]

# Measured over tests/bench/registration.py: see docs/design.md, "Registration".
_COARSE_BINS = 24
# The coarsest level is the last one on which the smaller image's longer side has at least this many pixels ...
_COARSEST_SIDE = 32
# ... and the shorter side of either image this many. After a search the climb begins where it ended.
_COARSEST_SHORT_SIDE = 8
_SEARCHED_SIDE = 96
# More pixels than this make a level slow and the result hardly better: it is left out.
_ENOUGH_PIXELS = 3 << 19
# Where ascents end, in pixels of the level; the last one of all is settled with more samples.
_LAST_STEP, _NEARLY = 0.01, 0.05
# How much the logarithm of the edges' agreement counts beside that of NMI - 1: on all levels but the finest, and there,
# where NMI is the more exact of the two unless it is faint, over NMI - 1.
_EDGES, _EDGES_AT_LAST = 1.0, 0.004
# A finer level refines what coarser ones found. Where NMI, which counts for more on the finest, leads so many pixels
# away from it, edges count as much there as before.
_ASTRAY = 10.0
# What the next model must add to the height and to the worth of the edges' agreement, in standard deviations.
GAIN, WORTH_GAIN = 0.003, 1.0
# The share of the edges while settling: half of what that on the finest level exceeds this by. Noise moves coarse edges
# more than regions, so where NMI is above 1.1 it is left alone.
_EDGES_UNSETTLING = 0.04
# On how many levels running the next model is tried in vain before it is not tried any more.
_REFUSALS = 2


class Trial(NamedTuple):
    """What the next model was worth on one level."""

    model: str
    height: float  # what it added to that of the ascent
    worth: float  # what it added to the worth of the edges' agreement
    taken: bool


class Summit(NamedTuple):
    """Where the climb ended."""

    matrix: Matrix
    model: str
    steps: int
    trials: list[Trial]


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
    at, rung, steps, refusals = Ascent(start.matrix, 0.0, 0), start.model, 0, 0
    trials: list[Trial] = []
    for number in reversed(range(len(pyramid))):
        factor, planes = pyramid[number]
        level = Level(planes, factor, min(bins, _COARSE_BINS) if number else bins, frame, threads)
        view = edges.view(at.matrix) if max(planes[0].shape) >= _SEARCHED_SIDE else None
        share = _EDGES if number else min(_EDGES, _EDGES_AT_LAST / max(level.evaluate(at.matrix)[0] - 1, 1e-9))
        ascend = partial(level.ascend, edges=view, share=share, last_step=_LAST_STEP if number else _NEARLY)
        rungs = [rung]
        if model != "auto":
            # Without a search the coarsest level is climbed model after model.
            first = number == len(pyramid) - 1 and not start.searched
            rungs = list(LADDER[: LADDER.index(model) + 1]) if first else [model]
        for rung in rungs:
            there = ascend(rung, at.matrix)
            steps += there.steps
            placed = start.searched or number < len(pyramid) - 1
            if share < _EDGES and placed and frame.distance(there.matrix, at.matrix) > _ASTRAY * factor:
                share = _EDGES
                ascend = partial(ascend, share=share)
                there = ascend(rung, at.matrix)
                steps += there.steps
            at = there
        while model == "auto" and rung != LADDER[-1] and refusals < _REFUSALS:
            # Where one axis is stretched and the other shrunk one scale for both gains nothing, so that the model after
            # the next is asked, too, before the first refusal.
            next_ones = LADDER[LADDER.index(rung) + 1 :][: 1 if refusals else 2]
            for wider in next_ones:
                there = ascend(wider, at.matrix)
                steps += there.steps
                gains = there.height - at.height, edges.worth(there.matrix) - edges.worth(at.matrix)
                trials.append(Trial(wider, *gains, gains[0] >= GAIN and gains[1] >= WORTH_GAIN))
                if trials[-1].taken:
                    rung, at, refusals = wider, there, 0
                    break
            else:
                refusals += 1
                break
    last = Level.settling(planes, factor, bins, frame, threads)
    share = max(0.0, 0.5 * (share - _EDGES_UNSETTLING))
    settled = last.settle(rung, at.matrix, view if share else None, share, level)
    return Summit(settled.matrix, rung, steps + settled.steps, trials)


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
