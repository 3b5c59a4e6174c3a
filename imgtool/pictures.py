"""Pictures by which a person sees at once whether two images fit: red-cyan overlay and checkerboard."""

import numpy as np
import numpy.typing as npt

from ._check import Array
from .errors import ImgtoolError

Picture = npt.NDArray[np.uint8]

# What is darker or brighter is black or white: a few hot pixels must not make the rest of the picture black.
_PERCENTILES = (0.5, 99.5)
_SAMPLES = 1 << 18
# Squares of a checkerboard along the longer side, enough for outlines to cross many borders.
_SQUARES = 10


def gray_levels(plane: Array) -> Picture:
    """A plane of real numbers as 8-bit gray, its robust range from black to white; NaN is black.

    Examples
    --------
    >>> gray_levels(np.array([[0.0, 5.0, 10.0]]))
    array([[  0, 128, 255]], dtype=uint8)
    """
    values = plane.astype(np.float64)
    sample = values.reshape(-1)[:: max(1, values.size // _SAMPLES)]
    sample = sample[np.isfinite(sample)]
    low, high = np.percentile(sample, _PERCENTILES) if sample.size else (0.0, 0.0)
    if low == high and sample.size:  # sparse images
        low, high = sample.min(), sample.max()
    if low == high:
        return np.full(values.shape, 128 if sample.size else 0, np.uint8)
    share = np.clip((values - low) / (high - low), 0, 1)
    return np.rint(np.nan_to_num(share, nan=0.0) * 255).astype(np.uint8)


def overlay(fixed: Array, warped: Array) -> Picture:
    """`fixed` in red and `warped` in cyan: gray where they fit, coloured fringes where they do not.

    Parameters
    ----------
    fixed, warped : (height, width) arrays of real numbers
        Each is stretched to its own robust range. Where `warped` is NaN only `fixed` is seen, in red.

    Returns
    -------
    (height, width, 3) ndarray of uint8

    Raises
    ------
    ImgtoolError
        If the sizes differ.

    Examples
    --------
    >>> overlay(np.array([[0, 9]]), np.array([[0, 7]]))
    array([[[  0,   0,   0],
            [255, 255, 255]]], dtype=uint8)
    """
    _check_sizes(fixed, warped)
    red, cyan = gray_levels(fixed), gray_levels(warped)
    return np.dstack([red, cyan, cyan])


def checkerboard(fixed: Array, warped: Array, size: int | None = None) -> Picture:
    """Squares of `fixed` and `warped` in turn: outlines run on across the borders where the two fit.

    Parameters
    ----------
    fixed, warped : (height, width) arrays of real numbers
        Each is stretched to its own robust range.
    size : int, optional
        The side of a square in pixels. Default: a tenth of the longer side, and at least 4.

    Returns
    -------
    (height, width) ndarray of uint8

    Raises
    ------
    ImgtoolError
        If the sizes differ.

    Examples
    --------
    >>> checkerboard(np.array([[0, 9, 9]]), np.array([[7, 7, 0]]), size=1)
    array([[  0, 255, 255]], dtype=uint8)
    """
    _check_sizes(fixed, warped)
    side = max(4, -(-max(fixed.shape) // _SQUARES)) if size is None else size
    y, x = np.ogrid[: fixed.shape[0], : fixed.shape[1]]
    return np.where((y // side + x // side) % 2, gray_levels(warped), gray_levels(fixed))


def _check_sizes(fixed: Array, warped: Array) -> None:
    if fixed.ndim != 2 or fixed.shape != warped.shape:
        raise ImgtoolError(f"a picture needs two planes of one size, not of shapes {fixed.shape} and {warped.shape}")
