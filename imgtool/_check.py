"""The boundary: what callers pass is checked and brought to a plain form here, and believed everywhere below."""

import math
import os
from typing import Any

import numpy as np
import numpy.typing as npt

from . import _ext
from .errors import ImgtoolError

Array = npt.NDArray[Any]


def as_array(values: npt.ArrayLike, name: str) -> Array:
    """`values` as an ndarray of numbers in native byte order; strides and writability stay as they are."""
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise ImgtoolError(f"{name} is no array of numbers: its rows differ in length") from error
    if array.dtype.kind not in "biufc":
        raise ImgtoolError(f"{name} must hold numbers, not {array.dtype}")
    if array.dtype.kind in "fc" and array.dtype.itemsize > (8 if array.dtype.kind == "f" else 16):
        raise ImgtoolError(f"{name} is {array.dtype}; convert it to float64 or complex128")
    native = array.dtype.newbyteorder("=")
    # A native order may have been said as well as meant: then buffers of the array are described in another way.
    return array.view(native) if array.dtype.isnative else array.astype(native)


def thread_count(threads: int | None) -> int:
    """The number of threads to use: `threads`, or every processor this process may run on."""
    if threads is None:
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if isinstance(threads, bool) or int(threads) != threads or threads < 1:
        raise ImgtoolError(f"threads must be a whole number of at least 1, not {threads!r}")
    return int(threads)


def empty(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """An array for a result, its values undefined; a large one lies in memory that is used again."""
    size = math.prod(shape) * dtype.itemsize
    if size < 1 << 20:
        return np.empty(shape, dtype)
    array: Array = np.frombuffer(memoryview(_ext.Block(size)), dtype).reshape(shape)
    return array


def alpha_one(dtype: np.dtype[Any]) -> float:
    """What opaque is in a type."""
    return float(np.iinfo(dtype).max) if dtype.kind in "iu" else 1.0


def rounded_to(values: Array, dtype: npt.DTypeLike) -> Array:
    """`values` (floating point) in `dtype`: integers are rounded half to even and saturated, NaN becomes 0."""
    dtype = np.dtype(dtype)
    if dtype.kind == "b":
        return np.asarray(np.rint(values) > 0)
    if dtype.kind not in "iu":
        with np.errstate(over="ignore"):
            return values.astype(dtype)
    out = empty(values.shape, dtype)
    # The limits of 32-bit integers are no float32 values, and the kernel compares with them.
    if values.dtype != np.float64 and (values.dtype != np.float32 or dtype.itemsize > 2):
        values = values.astype(np.float64)
    _ext.round_into(values.reshape(1, -1), out.reshape(1, -1))
    return out


def saturation(values: Array, target: np.dtype[Any]) -> int:
    """How many values do not fit into an integer type after rounding."""
    if target.kind not in "iu":
        return 0
    whole, info = np.rint(values), np.iinfo(target)
    return int(np.count_nonzero((whole < info.min) | (whole > info.max)))
