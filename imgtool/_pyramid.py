"""Image pyramids in which missing pixels (NaN) do not bleed: normalised smoothing."""

import numpy as np
import numpy.typing as npt

Plane = npt.NDArray[np.float32]

# A pixel of a coarser level exists if at least this share of the weights that made it lay on pixels that exist.
_LEAST_SUPPORT = 0.5


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


def _half(values: Plane, axis: int) -> Plane:
    values = np.moveaxis(values, axis, 0)
    even, odd = values[::2], values[1::2]
    out = 0.375 * even
    out[: len(odd)] += 0.375 * odd
    out[1:] += 0.125 * odd[: len(even) - 1]
    out[: len(even) - 1] += 0.125 * even[1:]
    return np.moveaxis(out, 0, axis)
