"""Registration of two images by normalised mutual information, from coarse to fine."""

import time
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from . import _ffd, metrics
from ._background import static_frame
from ._check import Array, as_array, thread_count
from ._climb import Start, Summit, climb, levels_of
from ._colour import gray
from ._frame import LADDER, Frame
from ._level import Level
from ._search import Candidate, Search
from .errors import ImgtoolError
from .transforms import BSplineTransform, MatrixTransform, warp

# Measured over tests/bench/registration.py: see docs/design.md, "Registration".
BINS = 64
_LEAST_SIDE = 4
# A result that moves the corners by less than this, in pixels, and is not better than the start, is the start: images
# that fit from the beginning come back unchanged.
_SAME_PLACE = 0.1
# What noise adds to the information, in nats for each parameter, is one half on average where pixels are independent
# (Wilks 1938); samples interpolated from common pixels double that. Four times as much is no chance.
_CHANCE = 2.0
# How many times the score of the runner-up that of the result must be for equal odds that it is right, and how steeply
# the odds rise: see docs/accuracy.md, "Confidence".
_EVEN_RATIO, _STEEPNESS = 1.45, 8
_ELSEWHERE = 0.1

REGISTERED_MODELS = ("auto", *LADDER, "bspline")
SEARCHES = ("auto", "none", "shift", "rotation", "full")
BACKGROUNDS = ("auto", "none")

Matrix = npt.NDArray[np.float64]
Plane = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Registration:
    """The result of `register`."""

    transform: MatrixTransform | BSplineTransform  # fixed to moving pixel coordinates
    warped: Array  # moving on the grid of fixed, of moving's dtype and channels; 0 where moving does not reach
    nmi_before: float  # image centre on image centre, no rotation, or at `initial`; of images of up to 1.5 megapixels
    nmi_after: float  # of the same images with the transform
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
    grid_spacing: float | None = None,
    bins: int = BINS,
    fixed_mask: npt.ArrayLike | None = None,
    moving_mask: npt.ArrayLike | None = None,
    channel_axis: int | None = None,
    threads: int | None = None,
) -> Registration:
    """Find the transform that makes `moving` fit `fixed`.

    The search tries all shifts, rotations and scales on small images, by the orientation of edges; the climb refines
    what it found by the exact gradient of normalised mutual information and by the edges, from coarse to fine. The
    result is the same to the last bit for any number of threads.

    Parameters
    ----------
    fixed, moving : array_like of real numbers, (height, width) or (height, width, channels)
        Their sizes and dtypes may differ. NaN and infinite pixels do not count.
    model : {"auto", "translation", "rigid", "similarity", "affine", "projective", "bspline"}
        What the transform may do. "auto" begins with rigid and goes on as far as the evidence asks for, up to
        projective; the result's `transform.model` tells how far. "bspline" is an affine transform refined by a
        free-form deformation, which folds nowhere: its Jacobian determinant is positive at every pixel and between
        them.
    search : {"auto", "none", "shift", "rotation", "full"}
        What is tried before the climb: all shifts; at all angles; and with scales from 0.6 to 1.7 in addition. "auto"
        tries angles, and scales where no angle stands out. With "none" the climb begins with the centres on each other:
        for shifts up to a tenth of the width, rotations up to 15 degrees and scales up to 10 %.
    background : {"auto", "none"}
        With "auto", a flat background whose outline lies at one place in both images is taken for a frame that did not
        move with what it shows, and does not count.
    initial : MatrixTransform, optional
        Where the climb begins, instead of a search.
    grid_spacing : float, optional
        Distance of the control points of "bspline" in pixels of `fixed`, 1 or more. Default: 16.
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
        If an image is constant, smaller than 4x4 pixels, or without a pixel that counts, or if `initial` was made for
        images of other sizes.

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
    if grid_spacing is not None and model != "bspline":
        raise ImgtoolError(f"grid_spacing is for model='bspline' only; the model is {model!r}")
    spacing = _ffd.checked_spacing(grid_spacing)
    if initial is not None and search not in ("auto", "none"):
        raise ImgtoolError(f"search {search!r} would not use initial; leave one of the two out")
    planes = (
        _unit_plane(fixed, "fixed", fixed_mask, channel_axis, threads),
        _unit_plane(moving, "moving", moving_mask, channel_axis, threads),
    )
    if initial is not None:
        _check_initial(initial, planes)
    static = static_frame(*planes) if background == "auto" else None
    if static is not None:
        planes = _without(planes[0], static), _without(planes[1], static)
    found = _find(planes, "affine" if model == "bspline" else model, search, initial, bins, threads)
    start = MatrixTransform(found.top.matrix, found.top.model, planes[0].shape, planes[1].shape)
    transform: MatrixTransform | BSplineTransform = start
    nmi_after, steps = found.nmi_after, found.top.steps
    if model == "bspline":
        transform, nmi_after, more = _ffd.fit_spline(*planes, start, spacing, bins, threads)
        steps += more
    image = as_array(moving, "moving")
    axis = -1 if image.ndim == 3 else None
    has_alpha = axis is not None and image.shape[-1] in (2, 4)
    warped = warp(image, transform, channel_axis=axis, has_alpha=has_alpha, threads=threads)
    everywhere = np.ones(planes[1].shape, np.uint8)
    overlap = float(warp(everywhere, transform, interpolation="nearest", threads=threads).mean())
    return Registration(
        transform,
        warped,
        found.nmi_before,
        nmi_after,
        steps,
        time.perf_counter() - began,
        overlap,
        found.confidence >= 0.5,
        found.confidence,
        found.search,
        0.0 if static is None else float(static.mean()),
    )


class _Finding(NamedTuple):
    top: Summit
    nmi_before: float
    nmi_after: float
    confidence: float
    search: str


def _find(
    planes: tuple[Plane, Plane], model: str, search: str, initial: MatrixTransform | None, bins: int, threads: int
) -> _Finding:
    """Search, climb, and judge."""
    frame = Frame.of(planes[0].shape, planes[1].shape)
    begin = frame.matrix("translation", np.zeros(2)) if initial is None else initial.matrix
    look = Search(planes, frame, threads)
    found = None if search == "none" or initial is not None else look.run(search)
    levels = levels_of(planes, searched=found is not None)
    judge = Level(levels[0][1], levels[0][0], bins, frame, threads, tiles=[None])
    nmi_before, common = judge.evaluate(begin)
    if found is not None:
        start = Start(found.best.matrix, found.best.model, searched=True)
    elif common:
        start = Start(begin, "rigid" if initial is None else initial.model, searched=False)
    else:
        raise ImgtoolError("fixed and moving have no pixel in common where the climb begins; check masks and initial")
    top = climb(levels, start, model, bins, frame, look.fine, threads)
    nmi_after, _ = judge.evaluate(top.matrix)
    if frame.distance(top.matrix, begin) < _SAME_PLACE and (
        nmi_after < nmi_before or (initial is None and _by_chance(top, begin, planes, frame))
    ):
        top, nmi_after = top._replace(matrix=begin), nmi_before
    rivals = look.rivals() if found is None else [found.best, *found.rivals]
    confidence = _confidence(look.fine.score(top.matrix), rivals, top.matrix, frame)
    return _Finding(top, nmi_before, nmi_after, confidence, "none" if found is None else found.kind)


def _by_chance(top: Summit, begin: Matrix, planes: tuple[Plane, Plane], frame: Frame) -> bool:
    """Whether images of one size say no more of each other at `top` than they would by chance if `begin` were right.

    The information times the number of pixels is the logarithm of a ratio of likelihoods.
    """
    gain = top.level.information(top.matrix) - top.level.information(begin)
    return planes[0].shape == planes[1].shape and gain < _CHANCE * frame.parameters(top.model, begin).size


def _without(plane: Plane, mask: Mask) -> Plane:
    return np.where(mask, np.float32(np.nan), plane)


def _check_initial(initial: MatrixTransform, planes: tuple[Plane, Plane]) -> None:
    for name, made_for, plane in zip(
        ("fixed", "moving"), (initial.fixed_shape, initial.moving_shape), planes, strict=True
    ):
        if made_for is not None and tuple(made_for) != plane.shape:
            height, width = made_for
            raise ImgtoolError(
                f"{name} is {plane.shape[1]}x{plane.shape[0]} pixels but initial was made for {width}x{height}"
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
        channels = values.shape[-1]
        if not 1 <= channels <= 4:
            raise ImgtoolError(f"{name} has {channels} channels; register takes 1 (gray) to 4 (RGBA), so choose some")
        values, visible = gray(values, has_alpha=channels in (2, 4))
        keep = visible if keep is None or visible is None else keep & visible
    if keep is not None:
        values = np.where(keep, values, values.dtype.type(np.nan))
    limits = metrics.intensity_range(values, name)
    unit = metrics.to_bins(values, limits, (0.0, 1.0), threads)
    return unit.astype(np.float32, copy=False).reshape(values.shape)


def _confidence(score: float, rivals: list[Candidate], matrix: Matrix, frame: Frame) -> float:
    """From 0 to 1, by how much the edges agree better here than where they agree best elsewhere."""
    if score <= 0:
        return 0.0
    elsewhere = [rival.score for rival in rivals if not frame.same(rival.matrix, matrix, _ELSEWHERE)]
    return 1 / (1 + (_EVEN_RATIO * max(elsewhere, default=0.0) / score) ** _STEEPNESS)
