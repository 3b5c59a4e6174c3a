"""Registration of two images by normalised mutual information, from coarse to fine."""

import time
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from . import _ffd, metrics
from ._background import static_frame
from ._check import Array, as_array, thread_count
from ._colour import gray
from ._finding import find
from ._frame import LADDER
from ._judge import Judge
from .errors import ImgtoolError
from .transforms import BSplineTransform, MatrixTransform, warp

# Measured over tests/bench/registration.py: see docs/design.md, "Registration".
BINS = 64
_LEAST_SIDE = 4

REGISTERED_MODELS = ("auto", *LADDER, "bspline")
SEARCHES = ("auto", "none", "shift", "rotation", "full")
BACKGROUNDS = ("auto", "none")

Plane = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Registration:
    """The result of `register`."""

    transform: MatrixTransform | BSplineTransform  # fixed to moving pixel coordinates
    warped: Array  # moving on the grid of fixed, of moving's dtype and channels; 0 where moving does not reach
    nmi_before: float  # image centre on image centre, no rotation, or at `initial`; of images of up to 1.5 megapixels
    nmi_after: float  # of the same images with the transform; both are the same for swapped images, but for "bspline"
    iterations: int  # accepted optimiser steps, all levels
    seconds: float
    overlap: float  # share of the fixed image's pixels that map inside the moving image
    confident: bool  # whether the evidence singles this transform out
    confidence: float  # from 0 to 1; `confident` from 0.5 on
    search: str  # how far the search before the climb went: "none", "shift", "rotation" or "full"
    reason: str  # why the transform is of this model
    static_frame: float  # share of the fixed image's pixels set aside as a frame that does not move

    @property
    def improved(self) -> bool:
        """Whether NMI rose, or the start was the optimum already."""
        return self.nmi_after >= self.nmi_before

    @property
    def mirrored(self) -> bool:
        """Whether moving shows a mirror image of what fixed shows."""
        return bool(np.linalg.det(self.transform.matrix) < 0)


def register(
    fixed: npt.ArrayLike,
    moving: npt.ArrayLike,
    *,
    model: str = "auto",
    search: str = "auto",
    background: str = "auto",
    flips: bool = False,
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
    flips : bool
        Whether the search tries mirror images of moving, too; transforms of every model but "bspline" may then mirror.
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
    if flips and (search == "none" or initial is not None):
        raise ImgtoolError("flips are for a search to try; leave them out with initial or search='none'")
    if flips and model == "bspline":
        raise ImgtoolError("flips are for models that are matrices; bspline folds nowhere, so flip moving beforehand")
    planes = (
        _unit_plane(fixed, "fixed", fixed_mask, channel_axis, threads),
        _unit_plane(moving, "moving", moving_mask, channel_axis, threads),
    )
    if initial is not None:
        _check_initial(initial, planes, model)
    static = static_frame(*planes) if background == "auto" else None
    if static is not None:
        planes = _without(planes[0], static), _without(planes[1], static)
    found = find(planes, "affine" if model == "bspline" else model, search, flips, initial, bins, threads)
    start = MatrixTransform(found.matrix, found.model, planes[0].shape, planes[1].shape)
    transform: MatrixTransform | BSplineTransform = start
    nmi_before, nmi_after, steps = found.nmi_before, found.nmi_after, found.steps
    if model == "bspline":
        transform, nmi_after, more = _ffd.fit_spline(*planes, start, spacing, bins, threads)
        steps += more
        # On the same grid as that after, and of images of the same size.
        begin = MatrixTransform(found.begin, "projective", planes[0].shape, planes[1].shape)
        nmi_before, _ = Judge(*planes, bins, threads).evaluate(begin)
    image = as_array(moving, "moving")
    axis = -1 if image.ndim == 3 else None
    has_alpha = axis is not None and image.shape[-1] in (2, 4)
    warped = warp(image, transform, channel_axis=axis, has_alpha=has_alpha, threads=threads)
    everywhere = np.ones(planes[1].shape, np.uint8)
    overlap = float(warp(everywhere, transform, interpolation="nearest", threads=threads).mean())
    return Registration(
        transform,
        warped,
        nmi_before,
        nmi_after,
        steps,
        time.perf_counter() - began,
        overlap,
        found.confidence >= 0.5,
        found.confidence,
        found.search,
        "bspline was asked for" if model == "bspline" else found.reason,
        0.0 if static is None else float(static.mean()),
    )


def _without(plane: Plane, mask: Mask) -> Plane:
    return np.where(mask, np.float32(np.nan), plane)


def _check_initial(initial: MatrixTransform, planes: tuple[Plane, Plane], model: str) -> None:
    if model == "bspline" and np.linalg.det(initial.matrix) < 0:
        raise ImgtoolError("initial mirrors the image, and bspline folds nowhere; flip moving beforehand")
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
