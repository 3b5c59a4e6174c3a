"""What a filter does, and why, without doing it."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from . import _composed
from ._check import as_array
from ._colour import check_linear
from ._options import BORDERS, Options, check_options, scaled, target_of
from .filters import planned, sets_alpha_aside, with_channels
from .kernels import rank


def explain(
    image: npt.ArrayLike,
    kernels: Sequence[npt.ArrayLike],
    *,
    border: str = "reflect",
    cval: float = 0.0,
    correlate: bool = False,
    dtype: npt.DTypeLike | None = None,
    shape: str = "same",
    anchor: Sequence[int] | None = None,
    scale: float = 1.0,
    bias: float = 0.0,
    normalize: bool = False,
    mask: npt.ArrayLike | None = None,
    nan: str = "propagate",
    channel_axis: int | None = None,
    method: str = "auto",
    has_alpha: bool = False,
    linear: bool = False,
) -> dict[str, Any]:
    """What `apply_kernel` does with such an image and kernels, and why.

    Parameters
    ----------
    image, kernels, border, cval, correlate, dtype, shape, anchor, scale, bias, normalize, mask, nan, channel_axis
        As for `apply_kernel`; of the image's pixels only alpha is looked at.
    method, has_alpha, linear
        As for `apply_kernel`.

    Returns
    -------
    dict
        ``method``, ``reason``, ``kernel`` (its shape), ``kernels`` (their number), ``sum``, ``rank``, ``accumulator``,
        ``flops`` (of the whole image), ``memory`` (bytes beside input and output for each thread).

    Raises
    ------
    ImgtoolError
        If an argument is not as said for `apply_kernel`.

    Examples
    --------
    >>> found = explain(np.zeros((600, 800), np.uint8), [np.ones((5, 5))])
    >>> found["method"], found["rank"], found["sum"]
    ('box', 1, 25.0)
    """
    options = Options(border, cval, correlate, dtype, shape, anchor, scale, bias, normalize, nan, method, 1)
    source = with_channels(image, channel_axis)
    taps = [as_array(kernel, "kernel") for kernel in kernels]
    target = target_of(options, source, taps)
    check_options(options, target)
    kernel = scaled(taps[0], source.ndim - 1, options).real
    pixel, copies = source.dtype, 0
    if linear:
        check_linear(pixel)
        pixel = target = np.dtype(np.float64 if pixel == np.float64 else np.float32)
        options, copies = options._replace(bias=0.0), 2
    like = np.broadcast_to(pixel.type(0), source.shape)
    colours = has_alpha and sets_alpha_aside(like, taps, target, options, lambda: _composed.is_opaque(source))
    masked = mask is not None or nan != "propagate" or BORDERS[border] == "renormalize"
    if masked:
        options = _composed.without_missing(options)[0]
    if masked or len(taps) > 1:
        kind = _composed.precise(pixel, target)
        pixel, target = kind if masked else pixel, kind
        copies += 6 if masked else 2
    channels = source.shape[-1] - (has_alpha and (colours or masked))
    values = np.broadcast_to(_real(pixel).type(0), (*source.shape[:-1], channels))
    plain = options._replace(scale=1.0, normalize=False, cval=options.cval.real)
    found, size = planned(kernel, values, _real(target), plain, has_alpha and not colours and not masked)
    count = math.prod(size) * values.shape[-1]
    return {
        "method": found.method,
        "reason": found.reason,
        "kernel": kernel.shape,
        "kernels": len(taps),
        "sum": float(kernel.sum()),
        "rank": rank(kernel),
        "accumulator": _ACCUMULATORS[found.accumulator],
        "flops": found.flops(count) * len(taps),
        "memory": found.memory(size, values.shape[-1]) + copies * count * (4 if target == np.float32 else 8),
    }


_ACCUMULATORS = {
    "w2": "int16",
    "w4": "int32",
    "i4": "int32",
    "f4": "float32",
    "f8": "float64",
    "i8": "int128",
}


def _real(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The type that the kernels work on or write for one of another kind."""
    if dtype.kind == "c":
        return np.dtype(f"f{dtype.itemsize // 2}")
    return np.dtype(np.float32) if dtype == np.float16 else dtype
