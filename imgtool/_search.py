"""The search before the climb: where the edges of two images agree best, over all shifts, rotations and scales.

Nothing but the orientation of gradients is compared, whatever their sign, so that it works from one modality to the
other; and the score is a significance, not a mean, so that a large overlap with fair agreement beats a small one that
agrees well by chance.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from . import _ext
from ._fields import Field
from ._frame import Frame, mapped
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
_STARTS, _FINALISTS = 12, 4
# Candidates whose corners are this near, as a share of the image's size, are one.
_SAME_START, _SAME_COARSE, _SAME_FINE = 0.1, 0.03, 0.06
# What an affine candidate's score must exceed that of a similarity by, to count as more.
_AFFINE_GAIN = 1.15
# How many times the runner-up's score makes a result clear, and what a change of scale must bring.
_CLEAR, _WORTH_A_SCALE = 2.0, 1.4
_ITERATIONS = 15


class Candidate(NamedTuple):
    """A possible answer."""

    matrix: Matrix  # fixed to moving, full size
    model: str
    score: float  # agreement in standard deviations of what independent edges would show


class Edges:
    """The edges of both images at one resolution."""

    def __init__(self, fixed: Plane, moving: Plane, side: int, nominal: float, frame: Frame) -> None:
        self._frame, self._nominal, self._moving_plane = frame, nominal, moving
        self._shrink = min(1.0, side / max(fixed.shape))
        self.fixed = Field.of(fixed, _reduced(fixed.shape, self._shrink))
        self._moving: dict[float, Field] = {}
        self._texture = float((self.fixed.samples[2] ** 2 + self.fixed.samples[3] ** 2).sum())

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
        from_full = np.linalg.inv(moving.to_full)
        inner = from_full @ matrix @ self.fixed.to_full
        sums = self.sums(inner, moving)
        agreement, energy, seen = sums[:3]
        if seen < _LEAST_SEEN * self._texture or energy <= 0:
            return -math.inf, np.zeros_like(parameters)
        deviation = math.sqrt(energy / 2)
        by_eight = sums[3:11] / deviation - sums[11:] * (agreement / (2 * energy * deviation))
        # A matrix and its multiples are one transform, which gives the derivative with respect to the ninth entry.
        by_inner = np.append(by_eight, -(by_eight @ inner.ravel()[:8]) / inner[2, 2]).reshape(3, 3)
        by_matrix = from_full.T @ by_inner @ self.fixed.to_full.T
        return agreement / deviation, self._frame.gradient(model, parameters, by_matrix)

    def sums(self, inner: Matrix, moving: Field) -> npt.NDArray[np.float64]:
        out = np.zeros(19)
        _ext.orientation_sums(*self.fixed.samples, moving.gx, moving.gy, moving.weight, moving.noise, inner, out)
        return out

    def _moving_under(self, matrix: Matrix) -> Field:
        """The moving field whose pixels are nearest in size to those of fixed under `matrix`."""
        size = max(self._frame.size(matrix) / self._nominal, 1e-9)
        return self.moving(min(_SCALES, key=lambda scale: abs(math.log(size / scale))))

    def score(self, matrix: Matrix) -> float:
        """The score of `matrix`."""
        parameters = self._frame.parameters("projective", matrix)
        return self.value_and_gradient("projective", parameters, self._moving_under(matrix))[0]

    def refined(self, model: str, matrix: Matrix, iterations: int) -> Candidate:
        """The best of `model` near `matrix`."""
        moving = self._moving_under(matrix)
        pixel = 1 / self._shrink
        best = maximise(
            lambda parameters: self.value_and_gradient(model, parameters, moving),
            self._frame.parameters(model, matrix),
            first_step=0.5 * pixel,
            longest_step=3 * pixel,
            tolerance=0.02 * pixel,
            iterations=iterations,
        )
        return Candidate(self._frame.matrix(model, best.parameters), model, best.value)


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

    def edges(self, side: int) -> Edges:
        """The edges with the longer side of fixed `side` pixels."""
        if side not in self._edges:
            self._edges[side] = Edges(*self._planes, side, self.nominal, self.frame)
        return self._edges[side]

    def run(self, kind: str) -> Found:
        """The best candidate; `kind` is "auto", "shift", "rotation" or "full"."""
        angles = np.arange(1 if kind == "shift" else _ROTATIONS) * (2 * math.pi / _ROTATIONS)
        rigid = self._finalists(angles, (1.0,), "rigid")
        if kind in ("shift", "rotation") or (kind == "auto" and _is_clear(rigid)):
            return Found(rigid[0], rigid[1:], "rotation" if kind == "auto" else kind)
        general = self._finalists(angles, _SCALES, "affine")
        best = rigid[0]
        if general[0].score > _WORTH_A_SCALE * rigid[0].score or self._near(general[0], rigid[0]):
            best = general[0]
        rivals = [candidate for candidate in rigid + general if not self._near(candidate, best)]
        return Found(best, sorted(rivals, key=lambda candidate: -candidate.score), "full")

    def _near(self, one: Candidate, other: Candidate) -> bool:
        return self.frame.same(one.matrix, other.matrix, _SAME_FINE)

    def _finalists(self, angles: npt.NDArray[np.float64], scales: Sequence[float], model: str) -> list[Candidate]:
        """The best candidates after refinement on the fine level, the best first."""
        coarse, fine = self.edges(_COARSE), self.edges(_FINE)
        found = scan(coarse, angles, scales, self._threads)
        starts = distinct(found, self.frame, _SAME_START, _STARTS)
        finalists = self._refined(coarse, starts, model)
        finalists = self._refined(fine, distinct(finalists, self.frame, _SAME_COARSE, _FINALISTS), model)
        return distinct(finalists, self.frame, _SAME_FINE, _FINALISTS)

    def _refined(self, edges: Edges, candidates: list[Candidate], model: str) -> list[Candidate]:
        if model == "rigid":
            return [edges.refined("rigid", candidate.matrix, _ITERATIONS) for candidate in candidates]
        out = []
        for candidate in candidates:
            similar = edges.refined("similarity", candidate.matrix, _ITERATIONS)
            out.append(similar)
            start = candidate if candidate.model == "affine" else similar
            affine = edges.refined("affine", start.matrix, _ITERATIONS)
            if plausible(affine.matrix, self.frame, self.nominal):
                out.append(affine._replace(score=affine.score / _AFFINE_GAIN))
        return out


def _is_clear(candidates: list[Candidate]) -> bool:
    return len(candidates) < 2 or candidates[0].score > _CLEAR * candidates[1].score


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
    edges: Edges, angles: npt.NDArray[np.float64], scales: Sequence[float], threads: int
) -> list[Candidate]:
    """The best shifts for each rotation and scale."""
    fixed = edges.fixed
    side = max(fixed.weight.shape)
    n = max(32, 1 << (2 * side - 1).bit_length())
    plan = _ext.Shifts(*fixed.orientation, fixed.weight, n)
    found = []
    for scale in scales:
        moving = edges.moving(scale)
        peaks = np.zeros((len(angles), _PEAKS_PER_ROTATION, 3))
        least = _LEAST_OVERLAP * min(float(fixed.weight.sum()), float(moving.weight.sum()))

        def work(start: int, stop: int) -> tuple[float, float]:
            return plan.scan(moving.gx, moving.gy, moving.weight, moving.noise, angles, least, peaks, start, stop)

        run_slabs(work, len(angles), 6, threads)
        from_full = np.linalg.inv(fixed.to_full)
        for angle, rows in zip(angles, peaks, strict=True):
            cos, sin = math.cos(angle), math.sin(angle)
            turn = np.array([[cos, -sin], [sin, cos]])
            for score, x, y in rows:
                if score <= 0:
                    continue
                inner = np.eye(3)
                inner[:2, :2] = turn
                centre_m = (np.array(moving.weight.shape[::-1]) - 1) / 2
                centre_f = (np.array(fixed.weight.shape[::-1]) - 1) / 2
                inner[:2, 2] = turn @ (np.array([x, y]) - centre_f) + centre_m
                found.append(Candidate(moving.to_full @ inner @ from_full, "similarity", score))
    return found


def distinct(candidates: list[Candidate], frame: Frame, apart: float, count: int) -> list[Candidate]:
    """The best `count` candidates of which no two are nearer than `apart`, as a share of the image's size."""
    kept: list[Candidate] = []
    for candidate in sorted(candidates, key=lambda candidate: -candidate.score):
        if not any(frame.same(candidate.matrix, other.matrix, apart) for other in kept):
            kept.append(candidate)
            if len(kept) == count:
                break
    return kept
