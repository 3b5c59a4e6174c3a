"""Grids of pixels, and points on them."""

from typing import Any

import numpy as np
import numpy.typing as npt

from .._check import as_array
from ..errors import ImgtoolError

Shape = tuple[int, int]
Points = npt.NDArray[np.float64]


def checked_shape(values: Any, name: str) -> Shape:
    """`values` as (height, width); `name` is for the error message."""
    try:
        sizes = [int(size) for size in values if not isinstance(size, bool) and int(size) == size > 0]
        if len(sizes) == len(values) == 2:
            return sizes[0], sizes[1]
    except (TypeError, ValueError, OverflowError):
        pass
    raise ImgtoolError(f"the transform's {name} must be [height, width] in pixels, not {values!r}")


def checked_points(values: npt.ArrayLike) -> Points:
    """`values` as an (N, 2) array of x, y."""
    points = as_array(values, "points")
    if points.ndim != 2 or points.shape[1] != 2 or points.dtype.kind == "c":
        raise ImgtoolError(f"points must be an (N, 2) array of real x, y, not {points.shape} of {points.dtype}")
    return points.astype(np.float64, copy=False)


def pixel_points(rows: range, columns: range) -> Points:
    """The coordinates x, y of a window of pixels, as a (2, rows, columns) array."""
    points = np.empty((2, len(rows), len(columns)))
    points[0] = np.arange(columns.start, columns.stop)
    points[1] = np.arange(rows.start, rows.stop)[:, None]
    return points


def size_text(shape: tuple[int, ...]) -> str:
    """(height, width, ...) as people write it: WIDTHxHEIGHT."""
    return f"{shape[1]}x{shape[0]}"
