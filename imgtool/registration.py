"""Registration of two images by normalised mutual information, from coarse to fine."""

import time
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from . import metrics
from ._background import static_frame
from ._check import Array, as_array, thread_count
from ._climb import Level, climb
from ._frame import LADDER, Frame
from ._search import Found, Search
from .errors import ImgtoolError
from .transforms import MatrixTransform, warp

# Measured over tests/bench/registration.py: see docs/design.md, "Registration".
BINS = 64
_LEAST_SIDE = 4
# A result that moves the corners by less than this, in pixels, and is not better than the start, is the start: images
# that fit from the beginning come back unchanged.
_SAME_PLACE = 0.1
# How many times the score of the runner-up that of the result must be for equal odds that it is right, and how steeply
# the odds rise: see docs/accuracy.md, "Confidence".
_EVEN_RATIO, _STEEPNESS = 1.2, 8
_ELSEWHERE = 0.1

REGISTERED_MODELS = ("auto", *LADDER)
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
    look = Search(*units, frame, threads)
    found = None if search == "none" or initial is not None else look.run(search)
    start = centred if initial is None else initial.matrix
    rung = "rigid" if initial is None else initial.model
    if found is not None:
        start, rung = found.best.matrix, found.best.model
    edges = look.fine
    top = climb(*units, model, bins, frame, start, rung, edges, found is not None, threads)
    matrix = top.matrix
    judge = Level(*units, 1, bins, frame, False, threads)
    nmi_before, common = judge.evaluate(centred)
    nmi_after, _ = judge.evaluate(matrix)
    if not common:
        raise ImgtoolError(
            "fixed and moving have no pixel in common when their centres coincide; check masks and missing pixels"
        )
    if nmi_after < nmi_before and frame.distance(matrix, centred) < _SAME_PLACE:
        matrix, nmi_after = centred, nmi_before
    confidence = _confidence(edges.score(matrix), found, matrix, frame)
    model, steps = top.model, top.steps
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
        confidence >= 0.5,
        confidence,
        "none" if found is None else found.kind,
        0.0 if static is None else float(static.mean()),
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


def _confidence(score: float, found: Found | None, matrix: Matrix, frame: Frame) -> float:
    """From 0 to 1, by how much the edges agree better here than where they agree best elsewhere."""
    if found is None or score <= 0:
        return 0.0
    elsewhere = [c.score for c in (found.best, *found.rivals) if not frame.same(c.matrix, matrix, _ELSEWHERE)]
    rival = max(elsewhere, default=0.0)
    return 1 / (1 + (_EVEN_RATIO * rival / score) ** _STEEPNESS)
