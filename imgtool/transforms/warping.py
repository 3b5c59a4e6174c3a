"""Images resampled at transformed positions."""

from typing import Any

import numpy as np
import numpy.typing as npt

from .. import _ext
from .._check import Array, as_array, rounded_to, thread_count
from .._slabs import run_slabs
from ..errors import ImgtoolError
from ._grid import Shape, checked_shape
from .matrix import Matrix, MatrixTransform

INTERPOLATIONS = ("nearest", "linear", "cubic")
_SLAB_PIXELS = 1 << 16


def warp(
    moving: npt.ArrayLike,
    transform: MatrixTransform,
    *,
    shape: Shape | None = None,
    interpolation: str = "linear",
    fill: float = 0.0,
    channel_axis: int | None = None,
    has_alpha: bool = False,
    threads: int | None = None,
) -> Array:
    """`moving` resampled at the transformed positions of a grid, usually that of the fixed image.

    A pixel covers the half pixel around its centre: positions further than that outside the outermost centres get
    `fill`, and between there and the centres the border pixels go on. Where the transform is a shift by whole pixels,
    pixels are copied and every interpolation is exact.

    Parameters
    ----------
    moving : array_like of numbers or booleans, (height, width) or (height, width, channels)
        Integers are interpolated in floating point, rounded half to even and saturated. A pixel whose interpolation
        touches a NaN is NaN.
    transform : MatrixTransform
    shape : (height, width), optional
        The grid to fill. Default: `transform.fixed_shape`.
    interpolation : {"nearest", "linear", "cubic"}
        "nearest" copies pixels of any real dtype (label images); "cubic" is the interpolating cubic B-spline [1]_ with
        mirrored borders.
    fill : float
        In the units of `moving`; rounded and saturated to its dtype like every other value.
    channel_axis : {None, -1}
        -1 if the last axis is channels, each of which is warped alike.
    has_alpha : bool
        If the last channel is alpha. Colours are then weighted by it, so that what is transparent does not bleed, and
        outside everything is 0: transparent.
    threads : int, optional
        Default: every processor. The result does not depend on it.

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
    if transform.moving_shape != image.shape[:2]:
        raise ImgtoolError(
            f"moving is {_size(image.shape)} pixels but the transform was made for {_size(transform.moving_shape)}; "
            "resize moving, or register it anew"
        )
    grid = transform.fixed_shape if shape is None else checked_shape(shape, "shape")
    resampler = _Resampler(transform.matrix, grid, interpolation, thread_count(threads))
    if channel_axis is None:
        return resampler.plane(image, fill)
    out = np.empty((*grid, image.shape[-1]), image.dtype)
    if has_alpha and not resampler.copies:
        _warp_with_alpha(image, resampler, out)
    else:
        for channel in range(image.shape[-1]):
            out[..., channel] = resampler.plane(image[..., channel], 0.0 if has_alpha else fill)
    return out


def _size(shape: tuple[int, ...]) -> str:
    return f"{shape[1]}x{shape[0]}"


def _warp_with_alpha(image: Array, resampler: "_Resampler", out: Array) -> None:
    dtype = resampler.working_dtype(image.dtype)
    alpha = image[..., -1].astype(dtype)
    warped_alpha = resampler.real_plane(alpha, 0.0)
    # A cubic overshoots: without this, a slightly negative alpha would turn colours around.
    np.clip(warped_alpha, 0, alpha.max(), out=warped_alpha)
    visible = warped_alpha > 0
    for channel in range(image.shape[-1] - 1):
        # What lies under a transparent pixel does not count, not even as NaN.
        weighted = np.multiply(image[..., channel], alpha, out=np.zeros_like(alpha), where=alpha != 0)
        weighted = resampler.real_plane(weighted, 0.0)
        out[..., channel] = rounded_to(
            np.divide(weighted, warped_alpha, out=np.zeros_like(weighted), where=visible), image.dtype
        )
    out[..., -1] = rounded_to(warped_alpha, image.dtype)


class _Resampler:
    """One matrix, grid and interpolation, for as many planes as an image has."""

    def __init__(self, matrix: Matrix, grid: Shape, interpolation: str, threads: int) -> None:
        self.matrix, self.grid, self.interpolation, self.threads = matrix, grid, interpolation, threads
        linear_part_is_identity = np.array_equal(matrix[:2, :2], np.eye(2))
        shift_is_whole = np.array_equal(matrix[:2, 2], np.rint(matrix[:2, 2]))
        # On the pixels themselves every interpolation returns the pixel: copying is exact, also for 64-bit integers.
        self.copies = interpolation == "nearest" or (linear_part_is_identity and shift_is_whole)
        self._slab_rows = max(1, _SLAB_PIXELS // grid[1])

    def working_dtype(self, dtype: np.dtype[Any]) -> np.dtype[Any]:
        """The floating point dtype in which planes of this dtype are interpolated."""
        return np.dtype(np.result_type(dtype, np.float32))

    def plane(self, plane: Array, fill: float) -> Array:
        """`plane` warped, in its dtype."""
        if not self.copies:
            return rounded_to(self.real_plane(plane, fill), plane.dtype)
        bits = np.dtype(f"u{plane.dtype.itemsize}")
        out = np.empty(self.grid, plane.dtype)
        fill_bits = rounded_to(np.array([fill]), plane.dtype).view(bits)[0]
        source, target = plane.view(bits), out.view(bits)
        self._run(lambda start, stop: _ext.warp_nearest(source, self.matrix, fill_bits, target, start, stop))
        return out

    def real_plane(self, plane: Array, fill: float) -> Array:
        """`plane` interpolated, in the working dtype."""
        values = np.ascontiguousarray(plane, self.working_dtype(plane.dtype))
        out = np.empty(self.grid, values.dtype)
        if self.interpolation == "linear":
            self._run(lambda start, stop: _ext.warp_linear(values, self.matrix, fill, out, start, stop))
            return out
        missing = ~np.isfinite(values)
        coefficients = self._coefficients(np.where(missing, values.dtype.type(0), values))
        self._run(lambda start, stop: _ext.warp_cubic(coefficients, self.matrix, fill, out, start, stop))
        if missing.any():
            # The recursive filter would carry one NaN along its whole row and column; only its neighbours are NaN.
            touched = np.empty_like(out)
            holes = np.where(missing, np.nan, values).astype(values.dtype)
            self._run(lambda start, stop: _ext.warp_linear(holes, self.matrix, 0.0, touched, start, stop))
            out[np.isnan(touched)] = np.nan
        return out

    def _coefficients(self, values: Array) -> Array:
        def filtered(columns: Array) -> Array:
            columns = np.array(columns, order="C")

            def work(start: int, stop: int) -> None:
                _ext.spline_columns(columns, start, stop)

            run_slabs(work, columns.shape[1], max(64, _SLAB_PIXELS // columns.shape[0]), self.threads)
            return columns

        return np.ascontiguousarray(filtered(filtered(values).T).T)

    def _run(self, work: Any) -> None:
        run_slabs(work, self.grid[0], self._slab_rows, self.threads)
