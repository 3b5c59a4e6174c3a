"""Registration of two images by normalised mutual information, from coarse to fine."""

import time
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from . import metrics
from ._check import Array, as_array, thread_count
from ._background import static_frame
from ._frame import LADDER, Frame
from ._objective import Objective
from ._optimise import maximise
from ._pyramid import halved
from ._search import Edges, Search
from .errors import ImgtoolError
from .transforms import MODELS, MatrixTransform, warp

# Measured over tests/bench/registration.py: see docs/design.md, "Registration".
BINS = 64
_COARSE_BINS = 24
_LEAST_SIDE = 4
# The coarsest level is the last one on which the smaller image's longer side has at least this many pixels ...
_COARSEST_SIDE = 32
# ... and the shorter side of either image this many.
_COARSEST_SHORT_SIDE = 8
# NMI can grow without end while the overlap shrinks to a place where both images are flat: such steps are refused.
_LEAST_OVERLAP = 0.4
_ITERATIONS = 60
# Steps, in pixels of the level: where the climb begins, the longest it may make, and where it ends.
_FIRST_STEP, _LONGEST_STEP, _LAST_STEP = 1.0, 4.0, 0.01
_LAST_STEP_FULL_SIZE = 0.002
# A result that moves the corners by less than this, in pixels, and is not better than the start, is the start: images
# that fit from the beginning come back unchanged.
_SAME_PLACE = 0.1
# After a search, the climb begins on the coarsest level whose longer side has at least this many pixels.
_SEARCHED_SIDE = 96

REGISTERED_MODELS = ("auto", *MODELS)
SEARCHES = ("auto", "none", "shift", "rotation", "full")
BACKGROUNDS = ("auto", "none")

Matrix = npt.NDArray[np.float64]
Plane = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

_LUMINANCE = (0.299, 0.587, 0.114)  # ITU-R BT.601


@dataclass(frozen=True, eq=False)
class Registration:
    """The result of `register`."""

    transform: MatrixTransform  # fixed to moving pixel coordinates
    warped: Array  # moving on the grid of fixed, of moving's dtype and channels; 0 where moving does not reach
    nmi_before: float  # at full size where the search began: image centre on image centre, no rotation
    nmi_after: float  # at full size with the transform
    iterations: int  # accepted optimiser steps, all levels
    seconds: float
    overlap: float  # share of the fixed image's pixels that map inside the moving image
    confident: bool  # whether the evidence singles this transform out
    confidence: float  # from 0 to 1; `confident` from 0.5 on
    search: str  # how far the search before the climb went: "none", "shift", "rotation" or "full"
    static_frame: float  # share of the fixed image's pixels set aside as a frame that does not move

    @property
    def improved(self) -> bool:
        """Whether NMI rose, or the start was the optimum already."""
        return self.nmi_after >= self.nmi_before


def register(
    fixed: npt.ArrayLike,
    moving: npt.ArrayLike,
    *,
    model: str = "auto",
    search: str = "auto",
    background: str = "auto",
    initial: MatrixTransform | None = None,
    bins: int = BINS,
    fixed_mask: npt.ArrayLike | None = None,
    moving_mask: npt.ArrayLike | None = None,
    channel_axis: int | None = None,
    threads: int | None = None,
) -> Registration:
    """Find the transform that makes `moving` fit `fixed`, by the exact gradient of normalised mutual information.

    Both images become gray bin coordinates; the search climbs their pyramid from coarse to fine, on the coarsest level
    from translation over rigid and similarity up to `model`. It begins with the image centres on each other and is made
    for shifts up to a tenth of the width, rotations up to 15 degrees and scales up to 10 %; what is further away is
    found by luck. The result is the same to the last bit for any number of threads.

    Parameters
    ----------
    fixed, moving : array_like of real numbers, (height, width) or (height, width, channels)
        Their sizes and dtypes may differ. NaN and infinite pixels do not count.
    model : {"auto", "translation", "rigid", "similarity", "affine"}
        What the transform may do; "auto" chooses by evidence.
    search : {"auto", "none", "shift", "rotation", "full"}
        How far to look for a start before the climb.
    background : {"auto", "none"}
        Whether a frame that does not move with the content is looked for and set aside.
    initial : MatrixTransform, optional
        Where the climb begins, instead of a search.
    bins : int, 4 to 256
        Histogram bins per image.
    fixed_mask, moving_mask : array_like, (height, width), optional
        Pixels where it is zero do not count.
    channel_axis : {None, -1}
        -1 if the last axis of images with three axes is channels: 1 gray, 2 gray and alpha, 3 RGB, 4 RGBA. Colour is
        compared by its luminance (BT.601); pixels whose alpha is 0 do not count.
    threads : int, optional
        Default: every processor.

    Returns
    -------
    Registration
        Its `transform` maps fixed to moving (x, y); `warped` is `moving` on the grid of `fixed`.

    Raises
    ------
    ImgtoolError
        If an image is constant, smaller than 4x4 pixels, or without a pixel that counts.

    Examples
    --------
    >>> import numpy as np, imgtool
    >>> y, x = np.mgrid[:64, :64]
    >>> fixed = np.sin(x / 5) + np.cos(y / 7) + x / 64
    >>> moving = -np.sin((x - 3) / 5) - np.cos((y + 2) / 7) - (x - 3) / 64
    >>> imgtool.register(fixed, moving, model="translation").transform([[20, 20]]).round(1)
    array([[23., 18.]])
    """
    began = time.perf_counter()
    threads, bins = thread_count(threads), metrics.bin_count(bins)
    for name, value, known in (
        ("model", model, REGISTERED_MODELS),
        ("search", search, SEARCHES),
        ("background", background, BACKGROUNDS),
    ):
        if value not in known:
            raise ImgtoolError(f"{name} {value!r} is unknown; use {', '.join(known)}")
    units = [
        _unit_plane(image, name, mask, channel_axis, threads)
        for image, name, mask in ((fixed, "fixed", fixed_mask), (moving, "moving", moving_mask))
    ]
    frame = Frame.of(units[0].shape, units[1].shape)
    centred = frame.matrix("translation", np.zeros(2))
    static = static_frame(*units) if background == "auto" else None
    if static is not None:
        units = [np.where(static, np.float32(np.nan), plane) for plane in units]
    start, found = centred, None
    if initial is not None:
        start = initial.matrix
    edges = Search(*units, frame, threads)
    if search != "none":
        found = edges.run(search)
        start = found.best.matrix
    pyramid = _pyramid(*units)
    if found is not None:
        pyramid = [pair for i, pair in enumerate(pyramid) if i == 0 or max(pair[0].shape) >= _SEARCHED_SIDE]
    matrix, chosen, steps = _climb(
        pyramid,
        model,
        bins,
        frame,
        start,
        found.best.model if found else "rigid",
        edges.edges(128) if model == "auto" else None,
        threads,
    )
    judge = _Level(*units, 1, bins, frame, False, threads)
    nmi_before, nmi_after = judge.nmi(centred), judge.nmi(matrix)
    if nmi_after < nmi_before and frame.distance(matrix, centred) < _SAME_PLACE:
        matrix, nmi_after = centred, nmi_before
    fine = edges.edges(128)
    score = fine.score(matrix)
    rivals = [r.score for r in (found.rivals + [found.best] if found else []) if not frame.same(r.matrix, matrix, 0.1)]
    print('   ', chosen, f"score {score:.1f} rivals {max(rivals, default=0):.1f}")
    model = chosen
    transform = MatrixTransform(matrix, model, units[0].shape, units[1].shape)
    image = as_array(moving, "moving")
    axis = -1 if image.ndim == 3 else None
    has_alpha = axis is not None and image.shape[-1] in (2, 4)
    warped = warp(image, transform, channel_axis=axis, has_alpha=has_alpha, threads=threads)
    everywhere = np.ones(units[1].shape, np.uint8)
    overlap = float(warp(everywhere, transform, interpolation="nearest", threads=threads).mean())
    return Registration(
        transform,
        warped,
        nmi_before,
        nmi_after,
        steps,
        time.perf_counter() - began,
        overlap,
        True,
        1.0,
        "none",
        0.0,
    )


def _unit_plane(
    image: npt.ArrayLike, name: str, mask: npt.ArrayLike | None, channel_axis: int | None, threads: int
) -> Plane:
    """The image as gray, its robust intensity range mapped to [0, 1]; NaN where a pixel does not count."""
    values = metrics.real_image(image, name)
    if channel_axis not in (None, -1):
        raise ImgtoolError(f"channel_axis must be -1 (the last axis) or None, not {channel_axis!r}")
    if values.ndim != 2 and (values.ndim != 3 or channel_axis is None):
        raise ImgtoolError(
            f"{name} has shape {values.shape}; it must be (height, width), "
            "or (height, width, channels) with channel_axis=-1"
        )
    if min(values.shape[:2]) < _LEAST_SIDE:
        raise ImgtoolError(
            f"{name} is {values.shape[1]}x{values.shape[0]} pixels; registration needs at least "
            f"{_LEAST_SIDE}x{_LEAST_SIDE}, and works best from about 64x64 on"
        )
    keep = None if mask is None else metrics.pixel_mask(mask, values.shape[:2], f"{name}_mask")
    if values.ndim == 3:
        values, visible = _gray(values, name)
        keep = visible if keep is None or visible is None else keep & visible
    if keep is not None:
        values = np.where(keep, values, values.dtype.type(np.nan))
    limits = metrics.intensity_range(values, name)
    unit = metrics.to_bins(values, limits, (0.0, 1.0), threads)
    return unit.astype(np.float32, copy=False).reshape(values.shape)


def _gray(values: Array, name: str) -> tuple[Array, Mask | None]:
    channels = values.shape[-1]
    if channels not in (1, 2, 3, 4):
        raise ImgtoolError(f"{name} has {channels} channels; register takes 1 (gray) to 4 (RGBA), so choose some")
    visible = values[..., -1] != 0 if channels in (2, 4) else None
    if channels < 3:
        return values[..., 0], visible
    return values[..., :3] @ np.array(_LUMINANCE, values.dtype), visible


class _Level:
    """Both images at one size, and the climb on it. Matrices are those of full size."""

    def __init__(
        self, fixed: Plane, moving: Plane, factor: int, bins: int, frame: Frame, jitter: bool, threads: int
    ) -> None:
        low, high = metrics.bin_limits(bins)
        planes = [plane * np.float32(high - low) + np.float32(low) for plane in (fixed, moving)]
        self._objective = Objective(planes[0], planes[1], bins, jitter, threads)
        self._frame, self._factor = frame, factor
        self.edges = None
        self.weight = 1.0
        # Pixel i of this level lies at factor * i + (factor - 1) / 2 in full size.
        offset = (factor - 1) / 2
        self._to_full = np.array([[factor, 0, offset], [0, factor, offset], [0, 0, 1.0]])
        self._to_level = np.linalg.inv(self._to_full)
        possible = min(np.count_nonzero(~np.isnan(fixed)), np.count_nonzero(~np.isnan(moving)))
        self._least_count = _LEAST_OVERLAP * possible

    def nmi(self, matrix: Matrix) -> float:
        """NMI at `matrix`, whatever the overlap."""
        table = self._objective.histogram(self._to_level @ matrix @ self._to_full)
        if not table.any():
            raise ImgtoolError(
                "fixed and moving have no pixel in common when their centres coincide; check masks and missing pixels"
            )
        return metrics.score(table).nmi

    def value_and_gradient(
        self, model: str, parameters: npt.NDArray[np.float64]
    ) -> tuple[float, npt.NDArray[np.float64]]:
        """NMI and its derivative with respect to the parameters; -inf where the overlap is too small."""
        matrix = self._to_level @ self._frame.matrix(model, parameters) @ self._to_full
        table = self._objective.histogram(matrix)
        if table.sum() < self._least_count:
            return -np.inf, np.zeros_like(parameters)
        value, slopes = metrics.score(table)
        by_matrix = self._to_level.T @ self._objective.matrix_gradient(slopes) @ self._to_full.T
        gradient = self._frame.gradient(model, parameters, by_matrix)
        if self.edges is None:
            return value, gradient
        full = self._frame.matrix(model, parameters)
        z, by_z = self.edges.value_and_gradient(model, parameters, self.edges._moving_under(full))
        if z <= 0:
            return -np.inf, gradient
        excess = max(value - 1, 1e-6)
        return np.log(excess) + self.weight * np.log(z), gradient / excess + self.weight * by_z / z

    def climb(self, model: str, matrix: Matrix) -> tuple[Matrix, int]:
        """The best matrix of `model` near `matrix`, and the number of steps to it."""
        start = self._frame.parameters(model, matrix)
        # The overlap may be small from the beginning, for masks; it must not become much smaller.
        begin = self._objective.histogram(self._to_level @ self._frame.matrix(model, start) @ self._to_full).sum()
        self._least_count = min(self._least_count, 0.8 * begin)
        if begin == 0:
            return matrix, 0
        last_step = _LAST_STEP_FULL_SIZE if self._factor == 1 else _LAST_STEP
        best = maximise(
            lambda parameters: self.value_and_gradient(model, parameters),
            start,
            first_step=_FIRST_STEP * self._factor,
            longest_step=_LONGEST_STEP * self._factor,
            tolerance=last_step * self._factor,
            iterations=_ITERATIONS,
        )
        return self._frame.matrix(model, best.parameters), best.iterations


def _climb(
    pyramid: list[tuple[Plane, Plane]],
    model: str,
    bins: int,
    frame: Frame,
    matrix: Matrix,
    rung: str,
    edges: Edges | None,
    threads: int,
) -> tuple[Matrix, str, int]:
    """The best matrix near `matrix`, from the coarsest level to full size, its model, and the number of steps to it."""
    steps = 0
    score = edges.score(matrix) if edges is not None else 0
    for exponent in reversed(range(len(pyramid))):
        level_bins = min(bins, _COARSE_BINS) if exponent else bins
        level = _Level(*pyramid[exponent], 2**exponent, level_bins, frame, True, threads)
        if model != "auto":
            ladder = MODELS[: MODELS.index(model) + 1] if exponent == len(pyramid) - 1 else (model,)
            for rung in ladder:
                matrix, taken = level.climb(rung, matrix)
                steps += taken
            continue
        matrix = frame.nearest(rung, matrix)
        import os
        w = float(os.environ.get("W", "1"))
        wf = float(os.environ.get("WF", "1"))
        level.weight = wf if exponent == 0 else w
        if level.weight:
            level.edges = edges
        def J(rung, m):
            v = level.value_and_gradient(rung, frame.parameters(rung, m))[0]
            return v if level.weight else np.log(v - 1)
        matrix, taken = level.climb(rung, matrix)
        steps += taken
        while rung in GAINS:
            after = LADDER[LADDER.index(rung) + 1]
            wider, taken = level.climb(after, matrix)
            steps += taken
            gain = np.exp(J(after, wider) - J(rung, matrix))
            print("    ", exponent, after, f"gain {gain:.4f}  {edges.score(wider):.1f} {edges.score(matrix):.1f}")
            if gain < GAINS[rung]:
                break
            rung, matrix = after, wider
    return matrix, rung, steps


GAINS = {"rigid": 1.003, "similarity": 1.03}


def _pyramid(fixed: Plane, moving: Plane) -> list[tuple[Plane, Plane]]:
    """Both images at full size, half size and so on."""
    levels = [(fixed, moving)]
    while (
        min(max(fixed.shape), max(moving.shape)) >= 2 * _COARSEST_SIDE
        and min(*fixed.shape, *moving.shape) >= 2 * _COARSEST_SHORT_SIDE
    ):
        fixed, moving = halved(fixed), halved(moving)
        levels.append((fixed, moving))
    return levels
