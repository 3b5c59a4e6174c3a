"""Image pyramids in which missing pixels (NaN) do not bleed: normalised smoothing, and finer pixels in between."""

import numpy as np
import numpy.typing as npt

from .filters import convolve

Plane = npt.NDArray[np.float32]
Matrix = npt.NDArray[np.float64]

# A pixel of a coarser level exists if at least this share of the weights that made it lay on pixels that exist.
_LEAST_SUPPORT = 0.5
# The polynomial through the three pixels on either side, at the middle.
_MIDDLE = np.array([3, -25, 150, 150, -25, 3]) / 256


def halved(plane: Plane) -> Plane:
    """`plane` at half the size, rounded up: pixel i lies between pixels 2 i and 2 i + 1 of the finer level.

    The window is [1 3 3 1] / 8 both ways over the pixels that exist. At a border it is narrower rather than filled up
    with mirrored pixels, which would pull the scale of a registration towards smaller images.
    """
    missing = np.isnan(plane)
    if not missing.any():
        rows, columns = (_half(np.ones(size, np.float32), 0) for size in plane.shape)
        return _half(_half(plane, 0) / rows[:, None], 1) / columns
    weight = (~missing).astype(np.float32)
    values = np.where(missing, np.float32(0), plane)
    for axis in (0, 1):
        values, weight = _half(values, axis), _half(weight, axis)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(weight >= _LEAST_SUPPORT**2, values / weight, np.float32(np.nan))


def to_full_size(factor: int) -> Matrix:
    """The matrix from pixels of a level, `factor` times as large as those of full size, to the latter."""
    # Pixel i lies at factor * i + (factor - 1) / 2.
    offset = (factor - 1) / 2
    return np.array([[factor, 0, offset], [0, factor, offset], [0, 0, 1.0]])


def doubled(plane: Plane, threads: int) -> Plane:
    """`plane` with a pixel between any two neighbours: pixel (2 y, 2 x) is pixel (y, x) of the coarser one.

    Linear interpolation of these blurs a quarter as much as that of the plane itself. Where one of six neighbours is
    missing, the nearer two decide.
    """
    return _with_middles(_with_middles(plane, 0, threads), 1, threads)


def _with_middles(plane: Plane, axis: int, threads: int) -> Plane:
    """A row, or a column, after each but the last, between it and the next."""
    kernel, anchor, shape = [1, 1], [0, 0], list(plane.shape)
    kernel[axis], anchor[axis], shape[axis] = _MIDDLE.size, _MIDDLE.size // 2 - 1, 2 * shape[axis] - 1
    line = _MIDDLE.reshape(kernel)
    middles = convolve(plane, line, correlate=True, anchor=anchor, border="nearest", threads=threads)
    out = np.empty(shape, np.float32)
    given, between, both = (np.moveaxis(each, axis, 0) for each in (plane, middles, out))
    between = between[:-1]
    missing = np.isnan(between)
    if missing.any():
        between[missing] = (0.5 * (given[:-1] + given[1:]))[missing]
    both[::2], both[1::2] = given, between
    return out


def _half(values: Plane, axis: int) -> Plane:
    values = np.moveaxis(values, axis, 0)
    even, odd = values[::2], values[1::2]
    out = 0.375 * even
    out[: len(odd)] += 0.375 * odd
    out[1:] += 0.125 * odd[: len(even) - 1]
    out[: len(even) - 1] += 0.125 * even[1:]
    return np.moveaxis(out, 0, axis)
