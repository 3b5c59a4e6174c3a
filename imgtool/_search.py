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
Plane = npt.NDArray[np.float32]

# The longer side of the fixed image, in pixels, on which everything is tried, and on which what is left is compared.
_COARSE, _FINE = 64, 128
_ROTATIONS = 36
# Over the nominal scale; refinement bridges what lies between.
_SCALES = (2**-0.5, 2**-0.25, 1.0, 2**0.25, 2**0.5)
# The share of the smaller image that must overlap, while shifts are tried and while candidates are refined.
_LEAST_OVERLAP, _LEAST_SEEN = 0.35, 0.3
_PEAKS_PER_ROTATION = 3
# How many candidates enter each round of refinement on the coarse level, and how many are left; its iterations.
_STARTS, _ITERATIONS, _FINE_ITERATIONS = (32, 12, 6), (5, 15), 20
# Candidates whose corners are this near, as a share of the image's size, are one.
_SAME_START, _SAME_COARSE, _SAME_FINE = 0.06, 0.03, 0.06
# Images of one kind of thing mostly show it at one size. The score that a change of size must make up for, in standard
# deviations, and the change from which on it is all asked for.
_DOUBT, _DOUBTFUL_CHANGE = 10.0, 1.2
# A simpler model is as good if it is worth no less than this below.
_AS_GOOD = 1.0
# How many times the runner-up's score makes a result clear.
_CLEAR = 2.0


View = Callable[[str, npt.NDArray[np.float64]], tuple[float, npt.NDArray[np.float64]]]


class Candidate(NamedTuple):
    """A possible answer."""

    matrix: Matrix  # fixed to moving, full size
    model: str
    score: float  # agreement in standard deviations of what independent edges would show
    worth: float  # what candidates are ordered by


class Edges:
    """The edges of both images at one resolution."""

    def __init__(self, fixed: Plane, moving: Plane, side: int, nominal: float, frame: Frame) -> None:
        self._frame, self._nominal, self._moving_plane = frame, nominal, moving
        self._shrink = min(1.0, side / max(fixed.shape))
        self.fixed = Field.of(fixed, _reduced(fixed.shape, self._shrink))
        self._moving: dict[float, Field] = {}
        self._texture = float((self.fixed.samples[2] ** 2 + self.fixed.samples[3] ** 2).sum())

    def view(self, matrix: Matrix) -> View:
        """The score and its derivative as a function of a model and its parameters, for matrices like this one."""
        moving = self._moving_under(matrix)
        return lambda model, parameters: self.value_and_gradient(model, parameters, moving)

    def moving(self, scale: float) -> Field:
        """The moving field whose pixels are as large as those of fixed if it is `scale` times its nominal scale."""
        if scale not in self._moving:
            shape = _reduced(self._moving_plane.shape, min(1.0, self._shrink / (scale * self._nominal)))
            self._moving[scale] = Field.of(self._moving_plane, shape)
        return self._moving[scale]

    def value_and_gradient(
        self, model: str, parameters: npt.NDArray[np.float64], moving: Field
    ) -> tuple[float, npt.NDArray[np.float64]]:
        """The score and its derivative; -inf where too few of the fixed edges meet moving."""
        matrix = self._frame.matrix(model, parameters)
        inner = moving.from_full @ matrix @ self.fixed.to_full
        sums = self.sums(inner, moving)
        agreement, energy, seen = sums[:3]
        if seen < _LEAST_SEEN * self._texture or energy <= 0:
            return -math.inf, np.zeros_like(parameters)
        deviation = math.sqrt(energy / 2)
        by_eight = sums[3:11] / deviation - sums[11:] * (agreement / (2 * energy * deviation))
        # A matrix and its multiples are one transform, which gives the derivative with respect to the ninth entry.
        by_inner = np.append(by_eight, -(by_eight @ inner.ravel()[:8]) / inner[2, 2]).reshape(3, 3)
        by_matrix = moving.from_full.T @ by_inner @ self.fixed.to_full.T
        return agreement / deviation, self._frame.gradient(model, parameters, by_matrix)

    def sums(self, inner: Matrix, moving: Field) -> npt.NDArray[np.float64]:
        out = np.zeros(19)
        _ext.orientation_sums(self.fixed.samples, moving.pixels, moving.noise, inner, out)
        return out

    def _moving_under(self, matrix: Matrix) -> Field:
        """The moving field whose pixels are nearest in size to those of fixed under `matrix`."""
        size = max(self._frame.size(matrix) / self._nominal, 1e-9)
        return self.moving(min(_SCALES, key=lambda scale: abs(math.log(size / scale))))

    def score(self, matrix: Matrix) -> float:
        """The score of `matrix`."""
        return self.view(matrix)("projective", self._frame.parameters("projective", matrix))[0]

    def doubt(self, matrix: Matrix) -> float:
        """What a score must exceed that of a rigid motion by, to make up for the sizes and angles that `matrix` changes."""
        inner = self._frame.about_centres(matrix)
        linear = inner[:2, :2] - np.outer(inner[:2, 2], inner[2, :2])
        large, small = np.maximum(np.linalg.svd(linear, compute_uv=False) / self._nominal, 1e-9)
        depth = 1 + (self._frame.corners - self._frame.fixed_centre) @ inner[2, :2]
        changes = large * small, large / small, max(depth.max() / max(depth.min(), 1e-9), 1.0)
        logs = np.abs(np.log(changes)) * (0.5, 1, 1)
        return float(_DOUBT * np.minimum(1, logs / math.log(_DOUBTFUL_CHANGE)).sum())

    def worth(self, matrix: Matrix) -> float:
        """The score less the doubt."""
        return self.score(matrix) - self.doubt(matrix)

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


def _reduced(shape: tuple[int, ...], factor: float) -> tuple[int, int]:
    height, width = (max(4, round(size * factor)) for size in shape)
    return height, width


class Found(NamedTuple):
    """What the search found."""

    best: Candidate
    rivals: list[Candidate]  # elsewhere
    kind: str  # how far it went: "shift", "rotation" or "full"


class Search:
    """The edges of both images at the resolutions at which they are compared."""

    def __init__(self, fixed: Plane, moving: Plane, frame: Frame, threads: int) -> None:
        self._planes, self.frame, self._threads = (fixed, moving), frame, threads
        self.nominal = math.sqrt(moving.size / fixed.size)
        self._edges: dict[int, Edges] = {}

    @property
    def fine(self) -> Edges:
        """The edges on the level where candidates are compared."""
        return self.edges(_FINE)

    def edges(self, side: int) -> Edges:
        """The edges with the longer side of fixed `side` pixels."""
        if side not in self._edges:
            self._edges[side] = Edges(*self._planes, side, self.nominal, self.frame)
        return self._edges[side]

    def run(self, kind: str) -> Found:
        """The best candidate; `kind` is "auto", "shift", "rotation" or "full"."""
        angles = np.arange(1 if kind == "shift" else _ROTATIONS) * (2 * math.pi / _ROTATIONS)
        finalists: list[Candidate] = []
        if kind != "full":
            finalists = self._finalists(angles, (1.0,), ("rigid",), [])
            if kind != "auto" or _is_clear(finalists):
                return Found(finalists[0], finalists[1:], "rotation" if kind == "auto" else kind)
        finalists = self._finalists(angles, _SCALES, ("similarity", "affine"), finalists)
        return Found(self._simplest(finalists[0]), finalists[1:], "full")

    def _simplest(self, best: Candidate) -> Candidate:
        """The candidate of the simplest model at this place that is worth about as much."""
        for model in LADDER[1 : LADDER.index(best.model)]:
            simple = self.fine.refined(model, best.matrix, _FINE_ITERATIONS)
            if self.fine.worth(simple.matrix) > best.worth - _AS_GOOD and self.frame.same(
                simple.matrix, best.matrix, _SAME_FINE
            ):
                return simple
        return best

    def _finalists(
        self, angles: npt.NDArray[np.float64], scales: Sequence[float], models: Sequence[str], known: list[Candidate]
    ) -> list[Candidate]:
        """The best candidates, `known` among them, after refinement on the fine level, the best first."""
        coarse, fine = self.edges(_COARSE), self.fine
        candidates = scan(coarse, [(scale, angles) for scale in scales], self._threads)
        candidates = self._distinct(candidates, _SAME_START, _STARTS[0])
        for count, iterations in zip(_STARTS[1:], _ITERATIONS, strict=True):
            candidates = self._refined(coarse, candidates, models, iterations)
            candidates = self._distinct(candidates, _SAME_COARSE, count)
        if models[-1] == "affine":
            around = scan(fine, [self._around(candidate.matrix, size) for candidate in candidates for size in (.93, 1, 1.07)], self._threads)
            around = self._distinct(around, .03, 12)
            around = self._distinct(self._refined(fine, around, ("similarity",), 8), .03, 6)
            candidates += around
        candidates = [
            candidate._replace(worth=candidate.score - fine.doubt(candidate.matrix))
            for candidate in self._refined(fine, candidates, models, _FINE_ITERATIONS)
        ]
        return self._distinct(candidates + known, _SAME_FINE, _STARTS[-1])

    def _refined(
        self, edges: Edges, candidates: list[Candidate], models: Sequence[str], iterations: int
    ) -> list[Candidate]:
        out = []
        for start in candidates:
            for model in models:
                # A wider model goes on from where the simpler one arrived, a narrower one would lose what was found.
                if LADDER.index(model) >= LADDER.index(start.model) or model == models[-1]:
                    start = edges.refined(model, start.matrix, iterations)
                    if plausible(start.matrix, self.frame, self.nominal):
                        out.append(start)
        return out

    def _distinct(self, candidates: list[Candidate], apart: float, count: int) -> list[Candidate]:
        """The best `count` candidates of which no two are nearer than `apart`, as a share of the image's size."""
        kept: list[Candidate] = []
        for candidate in sorted(candidates, key=lambda candidate: -candidate.worth):
            if not any(self.frame.same(candidate.matrix, other.matrix, apart) for other in kept):
                kept.append(candidate)
                if len(kept) == count:
                    break
        return kept

    def _around(self, matrix, size):
        inner = self.frame.about_centres(matrix)
        linear = inner[:2, :2] - np.outer(inner[:2, 2], inner[2, :2])
        angle = math.atan2(linear[1, 0] - linear[0, 1], linear[0, 0] + linear[1, 1])
        return self.frame.size(matrix) / self.nominal * size, [angle + math.radians(d) for d in (-4, 0, 4)]


def _is_clear(candidates: list[Candidate]) -> bool:
    return len(candidates) < 2 or candidates[0].worth > _CLEAR * candidates[1].worth


def plausible(matrix: Matrix, frame: Frame, nominal: float) -> bool:
    """Whether a matrix is what two views of one thing may differ by: no mirror, no collapse, no horizon."""
    inner = frame.about_centres(matrix)
    linear = inner[:2, :2] - np.outer(inner[:2, 2], inner[2, :2])
    denominators = 1 + (frame.corners - frame.fixed_centre) @ inner[2, :2]
    large, small = np.linalg.svd(linear, compute_uv=False) / nominal
    return bool(
        np.linalg.det(linear) > 0
        and 0.4 < small <= large < 2.5
        and large < 2 * small
        and 0.5 < denominators.min() <= denominators.max() < 2
    )


def scan(
    edges: Edges, views: Sequence[tuple[float, Sequence[float]]], threads: int
) -> list[Candidate]:
    """The best shifts for each view: a scale, and angles."""
    fixed = edges.fixed
    n = max(32, 1 << (2 * max(fixed.weight.shape) - 1).bit_length())
    plan = _ext.Shifts(*fixed.orientation, np.ascontiguousarray(fixed.weight), n)
    found = []
    for scale, turns in views:
        moving = edges.moving(scale)
        angles = np.array(turns)
        peaks = np.zeros((len(angles), _PEAKS_PER_ROTATION, 3))
        least = _LEAST_OVERLAP * min(float(fixed.weight.sum()), float(moving.weight.sum()))

        def work(start: int, stop: int) -> None:
            plan.scan(moving.pixels, moving.noise, angles, least, peaks, start, stop)

        run_slabs(work, len(angles), 6, threads)
        centres = [(np.array(field.weight.shape[::-1]) - 1) / 2 for field in (fixed, moving)]
        for angle, rows in zip(angles, peaks, strict=True):
            cos, sin = math.cos(angle), math.sin(angle)
            turn = np.array([[cos, -sin], [sin, cos]])
            for score, x, y in rows:
                if score > 0:
                    inner = np.eye(3)
                    inner[:2, :2] = turn
                    inner[:2, 2] = turn @ ([x, y] - centres[0]) + centres[1]
                    matrix = moving.to_full @ inner @ fixed.from_full
                    found.append(Candidate(matrix, "similarity", score, score))
    return found
