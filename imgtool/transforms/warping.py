"""Images resampled at transformed positions."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import product

import numpy as np
import numpy.typing as npt

from .. import _ext
from .._check import Array, as_array, empty, rounded_to, thread_count
from .._slabs import run_slabs
from ..errors import ImgtoolError
from ._base import Transform
from ._grid import Points, Shape, size_text
from .matrix import MatrixTransform

#: By name, how many pixels along each axis a value is made of.
INTERPOLATIONS = {"nearest": 1, "linear": 2, "cubic": 4, "lanczos": 6}

# Tiles of the result. Their source, in floating point, stays in the second-level cache unless the image shrinks.
_TILE_ROWS, _TILE_COLUMNS = 256, 512
# A tile whose source has more pixels than this is split, as long as it has more than this itself.
_LARGEST_WINDOW, _SMALLEST_TILE = 1 << 22, 1 << 10
_LARGEST_SIDE = (1 << 31) - 64  # the kernels count columns in 32 bits
# What the kernels read before the first and behind the last pixel that a position may lie between.
_BEFORE = {2: 0, 4: 1, 6: 2}
_AFTER = {2: 1, 4: 2, 6: 5}
# The recursive filter forgets: from so many pixels away, what it begins with is below rounding (4 and 8 bytes).
_MEMORY = {4: 16, 8: 28}


def warp(
    moving: npt.ArrayLike,
    transform: Transform,
    *,
    shape: Shape | None = None,
    interpolation: str = "linear",
    fill: float = 0.0,
    channel_axis: int | None = None,
    has_alpha: bool = False,
    force: bool = False,
    threads: int | None = None,
    out: Array | None = None,
) -> Array:
    """`moving` resampled at the transformed positions of a grid, usually that of the fixed image.

    A pixel covers the half pixel around its centre: positions further than that outside the outermost centres get
    `fill`, and between there and the centres the border pixels go on. Where the transform is a shift by whole pixels,
    pixels are copied and every interpolation is exact. The work is done in tiles: besides the result, memory is needed
    for a few of them only, so `moving` may be a `numpy.memmap` larger than memory, and so may `out`.

    Parameters
    ----------
    moving : array_like of numbers or booleans, (height, width) or (height, width, channels)
        Integers are interpolated in floating point, rounded half to even and saturated. A pixel whose interpolation
        touches a NaN is NaN.
    transform : Transform
    shape : (height, width), optional
        The grid to fill. Default: `transform.fixed_shape`.
    interpolation : {"nearest", "linear", "cubic", "lanczos"}
        "nearest" copies pixels of any real dtype (label images); "cubic" is the interpolating cubic B-spline [1]_;
        "lanczos" is the windowed sinc of 6 x 6 pixels [2]_, its weights scaled to sum 1. Both mirror the borders.
    fill : float
        In the units of `moving`; rounded and saturated to its dtype like every other value.
    channel_axis : {None, -1}
        -1 if the last axis is channels, each of which is warped alike.
    has_alpha : bool
        If the last channel is alpha. Colours are then weighted by it, so that what is transparent does not bleed, and
        outside everything is 0: transparent.
    force : bool
        Accept an image of another size than the transform was made for.
    threads : int, optional
        Default: every processor. The result does not depend on it.

    out : ndarray, optional
        Where to write the result: of its shape and the dtype of `moving`, its axes in C order.

    Returns
    -------
    ndarray, of the dtype of `moving`

    Raises
    ------
    ImgtoolError
        If an argument does not fit the description above.

    References
    ----------
    .. [1] M. Unser, "Splines: a perfect fit for signal and image processing", IEEE Signal Processing Magazine 16(6),
       22-38 (1999).
    .. [2] C. E. Duchon, "Lanczos filtering in one and two dimensions", Journal of Applied Meteorology 18(8), 1016-1022
       (1979).

    Examples
    --------
    >>> import numpy as np
    >>> from imgtool.transforms import MatrixTransform, warp
    >>> shift = MatrixTransform([[1, 0, 1.5], [0, 1, 0], [0, 0, 1]], "translation", (1, 4), (1, 4))
    >>> warp(np.array([[0, 10, 20, 30]]), shift, fill=-1)
    array([[15, 25, 30, -1]])
    """
    image = as_array(moving, "moving")
    if image.dtype.kind == "c":
        raise ImgtoolError("moving is complex; warp its real and imaginary parts one after the other")
    if channel_axis not in (None, -1):
        raise ImgtoolError(f"channel_axis must be -1 (the last axis) or None, not {channel_axis!r}")
    if image.ndim != 2 + (channel_axis is not None):
        raise ImgtoolError(
            f"moving has {image.ndim} axes but must have {2 + (channel_axis is not None)} "
            f"with channel_axis={channel_axis}"
        )
    if interpolation not in INTERPOLATIONS:
        raise ImgtoolError(f"interpolation {interpolation!r} is unknown; use {', '.join(INTERPOLATIONS)}")
    if 0 in image.shape:
        raise ImgtoolError(f"moving has shape {image.shape} and so no pixels")
    if has_alpha and (channel_axis is None or image.shape[-1] < 2):
        raise ImgtoolError("has_alpha needs channel_axis=-1 and at least two channels, the last of them alpha")
    if max(image.shape[:2]) > _LARGEST_SIDE:
        raise ImgtoolError(
            f"moving is {size_text(image.shape)} pixels; more than {_LARGEST_SIDE} on a side are not warped"
        )
    if not force and transform.moving_shape not in (None, image.shape[:2]):
        raise ImgtoolError(
            f"moving is {size_text(image.shape)} pixels but the transform was made for "
            f"{size_text(transform.moving_shape)}; resize moving, or register it anew"
        )
    grid = transform.grid(shape)
    full = grid if channel_axis is None else (*grid, image.shape[-1])
    if out is None:
        out = empty(full, image.dtype)
    elif out.shape != full or out.dtype != image.dtype:
        raise ImgtoolError(f"out must be of shape {full} and {image.dtype}, not of {out.shape} and {out.dtype}")
    planes, goal = (image, out) if channel_axis is not None else (image[..., None], out[..., None])
    _Resampling(planes, transform, grid, INTERPOLATIONS[interpolation], fill, has_alpha).run(
        goal, thread_count(threads)
    )
    return out


@dataclass
class _Resampling:
    """One warp of an image (height, width, channels), whatever its size, tile by tile."""

    image: Array
    transform: Transform
    grid: Shape
    taps: int
    fill: float
    has_alpha: bool

    def __post_init__(self) -> None:
        self.matrix = self.transform.matrix if isinstance(self.transform, MatrixTransform) else None
        # On the pixels themselves every interpolation returns the pixel: copying is exact, also for 64-bit integers.
        self.copies = self.taps == 1 or (
            self.matrix is not None
            and np.array_equal(self.matrix[:, :2], np.eye(3, 2))
            and np.array_equal(self.matrix[:, 2], np.rint(self.matrix[:, 2]))
        )
        self.dtype = np.dtype(np.result_type(self.image.dtype, np.float32))
        # Linear interpolation takes its pixels from where they are, if they can be read as they are.
        plain = self.image.dtype == self.dtype and self.image.strides[1] == self.image.itemsize
        self.in_place = self.taps == 2 and plain and min(self.image.shape[:2]) > 1

    @cached_property
    def largest_alpha(self) -> float:
        """What a warped alpha cannot exceed; integers saturate by themselves."""
        return float(self.image[..., -1].max()) if self.image.dtype.kind == "f" else np.inf

    def run(self, out: Array, threads: int) -> None:
        """Write the warped image."""
        height, width = self.grid
        tiles = [
            (range(top, min(top + _TILE_ROWS, height)), range(left, min(left + _TILE_COLUMNS, width)))
            for top, left in product(range(0, height, _TILE_ROWS), range(0, width, _TILE_COLUMNS))
        ]

        def work(start: int, stop: int) -> None:
            for rows, columns in tiles[start:stop]:
                self._warp_tile(rows, columns, out)

        run_slabs(work, len(tiles), 1, threads)

    def _warp_tile(self, rows: range, columns: range, out: Array) -> None:
        goal = out[rows.start : rows.stop, columns.start : columns.stop]
        positions = None if self.matrix is not None else self.transform.positions(rows, columns)
        if self.copies:
            places = self._places(rows, columns, positions, (0, 0))
            for channel in range(goal.shape[2]):
                self._copy(self.image[..., channel], places, goal[..., channel])
            return
        window = self._window(rows, columns, positions)
        pixels = len(rows) * len(columns)
        if not self.in_place and len(window[0]) * len(window[1]) > _LARGEST_WINDOW and pixels > _SMALLEST_TILE:
            for part in _halves(rows, columns):
                self._warp_tile(*part, out)
            return
        places = self._places(rows, columns, positions, self._origin(window))
        source = self.image[window[0].start : window[0].stop, window[1].start : window[1].stop]
        if self.has_alpha:
            self._blend(source, places, goal)
            return
        for channel in range(goal.shape[2]):
            with self._stored(goal[..., channel]) as values:
                self._interpolate(source[..., channel], places, self.fill, values)

    def _places(self, rows: range, columns: range, positions: Points | None, origin: tuple[int, int]) -> _ext.Places:
        return _ext.Places(self.matrix, positions, rows.start, columns.start, *origin, *self.image.shape[:2])

    def _window(self, rows: range, columns: range, positions: Points | None) -> tuple[range, range]:
        """The rows and columns of the image that a tile needs."""
        whole = range(self.image.shape[0]), range(self.image.shape[1])
        if self.in_place:
            return whole
        if positions is None:
            # A matrix takes the tile to a convex quadrilateral: its corners tell how far it reaches.
            corners = [(x, y) for x in (columns.start, columns.stop - 1) for y in (rows.start, rows.stop - 1)]
            positions = self.transform(corners).T
        x, y = positions.reshape(2, -1)
        limits = float(x.min()), float(x.max()), float(y.min()), float(y.max())
        if not np.isfinite(limits).all():
            return whole
        margin = _MEMORY[self.dtype.itemsize] if self.taps == 4 else 0
        before, after = _BEFORE[self.taps] + margin, _AFTER[self.taps] + margin
        return _reached(limits[2:], len(whole[0]), before, after), _reached(limits[:2], len(whole[1]), before, after)

    def _origin(self, window: tuple[range, range]) -> tuple[int, int]:
        before = 0 if self.in_place else _BEFORE[self.taps]
        return window[0].start - before, window[1].start - before

    def _copy(self, plane: Array, places: _ext.Places, goal: Array) -> None:
        bits = np.dtype(f"u{plane.dtype.itemsize}")
        fill = rounded_to(np.array([0.0 if self.has_alpha else self.fill]), plane.dtype).view(bits)[0]
        _ext.warp_nearest(plane.view(bits), places, fill, goal.view(bits))

    def _interpolate(self, source: Array, places: _ext.Places, fill: float, out: Array) -> None:
        """Interpolate the plane of a window, in the working dtype."""
        if self.in_place:
            _ext.warp_real(source, places, self.taps, fill, out)
            return
        before, after = _BEFORE[self.taps], _AFTER[self.taps]
        padded = np.empty((source.shape[0] + before + after, source.shape[1] + before + after), self.dtype)
        inner = padded[before : before + source.shape[0], before : before + source.shape[1]]
        inner[...] = source
        # The recursive filter would carry one NaN along its whole row and column; only its neighbours are NaN.
        missing = self.taps > 2 and source.dtype.kind == "f" and _ext.take_missing(inner) > 0
        if self.taps == 4:
            _ext.spline_coefficients(padded, before, after)
        else:
            _ext.mirror_border(padded, before, after)
        _ext.warp_real(padded, places, self.taps, fill, out)
        if missing:
            inner[...] = np.where(np.isfinite(source), 0, np.nan)
            _ext.mirror_border(padded, before, after)
            touched = np.empty(out.shape, self.dtype)
            _ext.warp_real(padded, places, 2, 0.0, touched)
            out[np.isnan(touched)] = np.nan

    def _blend(self, source: Array, places: _ext.Places, goal: Array) -> None:
        """Interpolate colours weighted by alpha, and alpha; outside, everything is 0."""
        alpha = source[..., -1].astype(self.dtype)
        warped_alpha = np.empty(goal.shape[:2], self.dtype)
        self._interpolate(alpha, places, 0.0, warped_alpha)
        # A cubic overshoots: where alpha comes out below 0, colours would turn around.
        visible = warped_alpha > 0
        weighted = np.empty_like(warped_alpha)
        for channel in range(goal.shape[2] - 1):
            # What lies under a transparent pixel does not count, not even as NaN.
            colour = np.multiply(source[..., channel], alpha, out=np.zeros_like(alpha), where=alpha != 0)
            self._interpolate(colour, places, 0.0, weighted)
            with self._stored(goal[..., channel]) as values:
                values[...] = 0
                np.divide(weighted, warped_alpha, out=values, where=visible)
        with self._stored(goal[..., -1]) as values:
            np.clip(warped_alpha, 0, self.largest_alpha, out=values)

    @contextmanager
    def _stored(self, goal: Array) -> Iterator[Array]:
        """An array in the working dtype, whose values are in `goal` at the end, rounded and saturated."""
        if goal.dtype == self.dtype:
            yield goal
            return
        values = np.empty(goal.shape, self.dtype)
        yield values
        if goal.dtype.kind in "iu":
            _ext.round_into(values, goal)
        else:
            goal[...] = rounded_to(values, goal.dtype)


def _reached(limits: tuple[float, float], size: int, before: int, after: int) -> range:
    """The pixels between which positions within the limits lie, and as many more as there are around them."""
    first, last = (min(int(min(max(limit, 0), size - 1)), max(size - 2, 0)) for limit in limits)
    return range(max(first - before, 0), min(last + after + 1, size))


def _halves(rows: range, columns: range) -> tuple[tuple[range, range], tuple[range, range]]:
    """Both halves of a tile, cut across its longer side."""
    if len(rows) > len(columns):
        middle = (rows.start + rows.stop) // 2
        return (range(rows.start, middle), columns), (range(middle, rows.stop), columns)
    middle = (columns.start + columns.stop) // 2
    return (rows, range(columns.start, middle)), (rows, range(middle, columns.stop))
