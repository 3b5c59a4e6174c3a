"""The search before the climb: where the edges of two images agree best, over all shifts, rotations and scales.

Nothing but the orientation of gradients is compared, whatever their sign, so that it works from one modality to the
other; and the score is a significance, not a mean, so that a large overlap with fair agreement beats a small one that
agrees well by chance.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from . import _ext
from ._fields import Field
from ._frame import LADDER, Frame
from ._optimise import maximise
from ._slabs import run_slabs

Matrix = npt.NDArray[np.float64]
Vector = npt.NDArray[np.float64]
Plane = npt.NDArray[np.float32]
View = Callable[[str, Vector], tuple[float, Vector]]

# The longer side of the fixed image, in pixels, on which everything is tried, and on which what is left is compared.
_COARSE, _FINE = 64, 128
_ANGLES = [2 * math.pi * i / 36 for i in range(36)]
# Over a natural scale; refinement bridges what lies between.
_SCALES = (2**-0.5, 2**-0.25, 1.0, 2**0.25, 2**0.5)
# Images whose sizes differ by no more than this factor are taken to have pixels of one size.
_ONE_SIZE = 1.15
# The share of the smaller image that must overlap while shifts are tried, and of the fixed edges when refining.
_LEAST_OVERLAP, _LEAST_SEEN = 0.35, 0.3
_PEAKS = 3  # for each rotation
_SCAN_SLAB = 6  # rotations; even, since they are transformed in pairs
# On the fine level all shifts are tried again around the finalists, which coarse edges may have led beside the place.
_NEARBY_ANGLES, _NEARBY_SCALES, _NEARBY_STARTS = (-4.0, 0.0, 4.0), (0.93, 1.0, 1.07), 12
_NEARBY_ITERATIONS = 8
# Candidates whose corners are this near, as a share of the image's size, are one.
_SAME_START, _SAME, _SAME_PLACE = 0.06, 0.03, 0.06
# Candidates further away than this are other answers.
ELSEWHERE = 0.1
# Images of one kind of thing mostly show it at one size. The score that a change of size must make up for, in standard
# deviations, and the change from which on all of it is asked for.
_DOUBT, _DOUBTFUL_CHANGE = 10.0, 1.2
# A simpler model is as good if it is worth no less than this below.
_AS_GOOD = 1.0
# How many times the runner-up's score makes a result clear.
_CLEAR = 2.0


class _Effort(NamedTuple):
    starts: tuple[int, ...]  # candidates that enter each round of refinement on the coarse level, and that are left
    iterations: tuple[int, ...]  # of each round
    fine_iterations: int
    apart: float  # how far from each other those are that are left, as a share of the image's size


_THOROUGH, _GLANCE = _Effort((32, 12, 6), (5, 15), 20, _SAME), _Effort((5, 2), (6,), 10, ELSEWHERE)


class Candidate(NamedTuple):
    """A possible answer."""

    matrix: Matrix  # fixed to moving, full size
    model: str
    score: float  # agreement in standard deviations of what independent edges would show
    worth: float  # what candidates are ordered by: the score, on the fine level less the doubt


class Found(NamedTuple):
    """What the search found."""

    best: Candidate
    rivals: list[Candidate]  # elsewhere, the best first
    kind: str  # how far it went: "shift", "rotation" or "full"


class Edges:
    """The edges of both images, with the longer side of fixed `side` pixels."""

    def __init__(self, fixed: Plane, moving: Plane, side: int, frame: Frame) -> None:
        self._frame, self._moving_plane = frame, moving
        self._shrink = min(1.0, side / max(fixed.shape))
        self.fixed = Field.of(fixed, _reduced(fixed.shape, self._shrink))
        self._moving: dict[float, Field] = {}
        self._texture = float((self.fixed.samples[2] ** 2 + self.fixed.samples[3] ** 2).sum())
        ratio = math.sqrt(moving.size / fixed.size)
        # Without other knowledge pixels are of one size, or else both images show the same.
        self.natural_scales = (1.0,) if max(ratio, 1 / ratio) < _ONE_SIZE else (1.0, ratio)
        self.scales = tuple(natural * scale for natural in self.natural_scales for scale in _SCALES)

    def moving(self, scale: float) -> Field:
        """The moving field whose pixels are as large as those of fixed where one of those is `scale` of moving."""
        if scale not in self._moving:
            shape = _reduced(self._moving_plane.shape, min(1.0, self._shrink / scale))
            self._moving[scale] = Field.of(self._moving_plane, shape)
        return self._moving[scale]

    def view(self, matrix: Matrix) -> View:
        """The score and its derivative as a function of a model and its parameters, for matrices like this one.

        The score is -inf where too few of the fixed edges meet moving.
        """
        size = max(self._frame.size(matrix), 1e-9)
        moving = self.moving(min(self.scales, key=lambda scale: abs(math.log(size / scale))))
        return lambda model, parameters: self._value_and_gradient(model, parameters, moving)

    def _value_and_gradient(self, model: str, parameters: Vector, moving: Field) -> tuple[float, Vector]:
        inner = moving.from_full @ self._frame.matrix(model, parameters) @ self.fixed.to_full
        sums = np.empty(19)
        _ext.orientation_sums(self.fixed.samples, moving.pixels, moving.noise, inner, sums)
        agreement, energy, seen = sums[:3].tolist()
        if seen < _LEAST_SEEN * self._texture or energy <= 0:
            return -math.inf, np.zeros_like(parameters)
        # Of independent orientations each agreement has a variance of half its energy.
        deviation = math.sqrt(energy / 2)
        by_inner = np.empty(9)
        by_inner[:8] = sums[3:11] / deviation - sums[11:] * (agreement / (2 * energy * deviation))
        # A matrix and its multiples are one transform, which gives the derivative with respect to the ninth entry.
        by_inner[8] = -float(by_inner[:8] @ inner.ravel()[:8]) / inner[2, 2]
        by_matrix = moving.from_full.T @ by_inner.reshape(3, 3) @ self.fixed.to_full.T
        return agreement / deviation, self._frame.gradient(model, parameters, by_matrix)

    def score(self, matrix: Matrix) -> float:
        """The agreement at `matrix` in standard deviations of what independent edges would show."""
        return self.view(matrix)("projective", self._frame.parameters("projective", matrix))[0]

    def doubt(self, matrix: Matrix) -> float:
        """What a score must exceed that of a rigid motion by, for what `matrix` does to sizes and angles."""
        large, small = (max(abs(scale), 1e-9) for scale in self._frame.scales(matrix))
        depth = np.maximum(self._frame.denominators(matrix), 1e-9)
        scale = min(abs(math.log(large * small) / 2 - math.log(natural)) for natural in self.natural_scales)
        changes = scale, math.log(large / small), math.log(depth.max() / depth.min())
        return sum(_DOUBT * min(1.0, change / math.log(_DOUBTFUL_CHANGE)) for change in changes)

    def worth(self, matrix: Matrix) -> float:
        """The score less the doubt."""
        return self.score(matrix) - self.doubt(matrix)

    def plausible(self, matrix: Matrix) -> bool:
        """Whether a matrix is what two views of one thing may differ by: no mirror, no collapse, no horizon."""
        (large, small), depth = self._frame.scales(matrix), self._frame.denominators(matrix)
        return bool(
            0.4 * min(self.natural_scales) < small <= large < 2.5 * max(self.natural_scales)
            and large < 2 * small
            and 0.5 < depth.min() <= depth.max() < 2
        )

    def refined(self, model: str, matrix: Matrix, iterations: int) -> Candidate:
        """The best of `model` near `matrix`."""
        view = self.view(matrix)
        pixel = 1 / self._shrink
        best = maximise(
            lambda parameters: view(model, parameters),
            self._frame.parameters(model, matrix),
            first_step=0.5 * pixel,
            longest_step=3 * pixel,
            tolerance=0.02 * pixel,
            iterations=iterations,
        )
        return Candidate(self._frame.matrix(model, best.parameters), model, best.value, best.value)

    def scan(self, views: Sequence[tuple[float, Sequence[float]]], threads: int) -> list[Candidate]:
        """The best shifts for each view: a scale, and angles in radians."""
        fixed = self.fixed
        n = max(32, 1 << (2 * max(fixed.weight.shape) - 1).bit_length())
        shifts = _ext.Shifts(*fixed.orientation, np.ascontiguousarray(fixed.weight), n)
        found = []
        for scale, turns in views:
            moving, angles = self.moving(scale), np.array(turns)
            peaks = np.zeros((len(angles), _PEAKS, 3))
            least = _LEAST_OVERLAP * float(min(fixed.weight.sum(), moving.weight.sum()))

            def work(start: int, stop: int) -> None:
                shifts.scan(moving.pixels, moving.noise, angles, least, peaks, start, stop)  # noqa: B023, run at once

            run_slabs(work, len(angles), _SCAN_SLAB, threads)
            centres = [(np.array(field.weight.shape[::-1]) - 1) / 2 for field in (fixed, moving)]
            for angle, rows in zip(angles, peaks, strict=True):
                inner = np.eye(3)
                cos, sin = math.cos(angle), math.sin(angle)
                inner[:2, :2] = [[cos, -sin], [sin, cos]]
                for score, x, y in rows[rows[:, 0] > 0].tolist():
                    inner[:2, 2] = inner[:2, :2] @ ([x, y] - centres[0]) + centres[1]
                    matrix = moving.to_full @ inner @ fixed.from_full
                    found.append(Candidate(matrix, "similarity", score, score))
        return found


def _reduced(shape: tuple[int, ...], factor: float) -> tuple[int, int]:
    height, width = (max(4, round(size * factor)) for size in shape)
    return height, width


class Search:
    """The search for the place of `moving` in `fixed`: intensities in [0, 1], NaN where pixels are missing."""

    def __init__(self, planes: tuple[Plane, Plane], frame: Frame, threads: int) -> None:
        self._frame, self._threads = frame, threads
        self._coarse, self.fine = (Edges(*planes, side, frame) for side in (_COARSE, _FINE))

    def run(self, kind: str) -> Found | None:
        """The best candidate; None if there are no edges to compare.

        `kind` is "shift", "rotation", "full" (with scales) or "auto": rotation, and full without a clear winner.
        """
        angles = [0.0] if kind == "shift" else _ANGLES
        finalists: list[Candidate] = []
        if kind != "full":
            finalists = self._finalists(angles, (1.0,), ("rigid",), [])
            if finalists and (kind != "auto" or _is_clear(finalists)):
                return Found(finalists[0], finalists[1:], "rotation" if kind == "auto" else kind)
        if kind in ("auto", "full"):
            finalists = self._finalists(angles, self.fine.scales, ("similarity", "affine"), finalists)
        return Found(self._simplest(finalists[0]), finalists[1:], "full") if finalists else None

    def rivals(self, result: Matrix) -> list[Candidate]:
        """The best candidates elsewhere, among rigid motions at a glance: what a result found otherwise must outdo."""
        return self._finalists(_ANGLES, (1.0,), ("rigid",), [], _GLANCE, result)

    def leads_to(self, rival: Candidate, result: Matrix, model: str) -> bool:
        """Whether coarse edges lead from a rival to the result: then it lies on a slope of the same hill."""
        if self._frame.scales(rival.matrix)[1] < 0:
            return False
        wider = max(rival.model, model, key=LADDER.index)
        top = self._coarse.refined(wider, rival.matrix, sum(_THOROUGH.iterations))
        return self._frame.same(top.matrix, result, _SAME_PLACE)

    def _finalists(
        self,
        angles: list[float],
        scales: Sequence[float],
        models: Sequence[str],
        known: list[Candidate],
        effort: _Effort = _THOROUGH,
        elsewhere_than: Matrix | None = None,
    ) -> list[Candidate]:
        """The best candidates, `known` among them, after refinement on the fine level, the best first."""
        coarse, fine = self._coarse, self.fine
        candidates = coarse.scan([(scale, angles) for scale in scales], self._threads)
        candidates = self._distinct(candidates, _SAME_START, effort.starts[0], elsewhere_than)
        for count, iterations in zip(effort.starts[1:], effort.iterations, strict=True):
            candidates = _refined(coarse, candidates, models, iterations)
            candidates = self._distinct(candidates, effort.apart, count, elsewhere_than)
        if len(scales) > 1:
            candidates += self._nearby(candidates)
        candidates = [
            candidate._replace(worth=candidate.score - fine.doubt(candidate.matrix))
            for candidate in _refined(fine, candidates, models, effort.fine_iterations)
        ]
        return self._distinct(candidates + known, _SAME_PLACE, effort.starts[-1])

    def _nearby(self, candidates: list[Candidate]) -> list[Candidate]:
        """What all shifts on the fine level find for sizes and angles near those of the candidates."""
        views = []
        for candidate in candidates:
            angle, size = self._frame.angle(candidate.matrix), self._frame.size(candidate.matrix)
            angles = [angle + math.radians(degrees) for degrees in _NEARBY_ANGLES]
            views += [(size * scale, angles) for scale in _NEARBY_SCALES]
        found = self._distinct(self.fine.scan(views, self._threads), _SAME, _NEARBY_STARTS)
        refined = _refined(self.fine, found, ("similarity",), _NEARBY_ITERATIONS)
        return self._distinct(refined, _SAME, _THOROUGH.starts[-1])

    def _simplest(self, best: Candidate) -> Candidate:
        """The candidate of the simplest model at this place that is worth about as much."""
        for model in LADDER[1 : LADDER.index(best.model)]:
            simple = self.fine.refined(model, best.matrix, _THOROUGH.fine_iterations)
            near = self._frame.same(simple.matrix, best.matrix, _SAME_PLACE)
            if near and self.fine.worth(simple.matrix) > best.worth - _AS_GOOD:
                return simple
        return best

    def _distinct(
        self, candidates: list[Candidate], apart: float, count: int, elsewhere_than: Matrix | None = None
    ) -> list[Candidate]:
        """The best `count` candidates of which no two are nearer than `apart`, as a share of the image's size."""
        ordered = sorted(candidates, key=lambda candidate: -candidate.worth)
        if not ordered:
            return []
        matrices = np.array([candidate.matrix for candidate in ordered])
        places = self._frame.places(matrices)
        reach = apart * self._frame.side * self._frame.sizes(matrices)
        kept: list[Candidate] = []
        free = np.ones(len(ordered), bool)
        if elsewhere_than is not None:
            far = ELSEWHERE * self._frame.side * self._frame.size(elsewhere_than)
            free = np.linalg.norm(places - self._frame.places(elsewhere_than), axis=2).max(axis=1) >= far
        for i, candidate in enumerate(ordered):
            if free[i]:
                kept.append(candidate)
                if len(kept) == count:
                    break
                free &= np.linalg.norm(places - places[i], axis=2).max(axis=1) >= reach[i]
        return kept


def _refined(edges: Edges, candidates: list[Candidate], models: Sequence[str], iterations: int) -> list[Candidate]:
    """Each candidate after refinement by one model after the other, and on the way."""
    out = []
    for start in candidates:
        for model in models:
            # Going back to a narrower model would lose what was found.
            if LADDER.index(model) >= LADDER.index(start.model) or model == models[-1]:
                start = edges.refined(model, start.matrix, iterations)
                if edges.plausible(start.matrix):
                    out.append(start)
    return out


def _is_clear(finalists: list[Candidate]) -> bool:
    return len(finalists) < 2 or finalists[0].worth > _CLEAR * finalists[1].worth
