"""What is asked of a filter: its options, checked, and what they make of a kernel and of shapes."""

import math
import operator
from collections.abc import Sequence
from numbers import Complex, Real
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from . import _plan
from ._check import Array
from .errors import ImgtoolError
from .kernels import divided_by_sum

#: Every accepted name of a border, and the canonical name it stands for.
BORDERS = {name: name for name in (*_plan.BORDER_CODES, "renormalize")} | {
    "symmetric": "reflect",
    "grid-mirror": "reflect",
    "reflect101": "mirror",
    "edge": "nearest",
    "replicate": "nearest",
    "periodic": "wrap",
    "circular": "wrap",
    "zero": "constant",
}
SHAPES = ("same", "valid", "full")
NAN = ("propagate", "ignore")


class Options(NamedTuple):
    """The options of `filters.convolve`, under its names."""

    border: str
    cval: complex
    correlate: bool
    dtype: npt.DTypeLike | None
    shape: str
    anchor: Sequence[int] | None
    scale: float
    bias: float
    normalize: bool
    nan: str
    method: str
    threads: int


def check_options(options: Options, target: np.dtype[Any]) -> None:
    """Refuse what no filter can do, whatever the image and the kernel are."""
    check_types(options)
    for name, value, known in (
        ("border", options.border, BORDERS),
        ("shape", options.shape, SHAPES),
        ("nan", options.nan, NAN),
        ("method", options.method, _plan.METHODS),
    ):
        if value not in known:
            raise ImgtoolError(f"{name} {value!r} is unknown; use one of {', '.join(known)}")
    for name, number in (("scale", options.scale), ("bias", options.bias)):
        if not math.isfinite(number):
            raise ImgtoolError(f"{name} {number} is no finite number")
    if target.kind in "iub" and not math.isfinite(options.cval.real):
        raise ImgtoolError(f"cval {options.cval} does not fit into {target}; give a finite number")
    if options.cval.imag and target.kind != "c":
        raise ImgtoolError(f"cval {options.cval} is complex, but image and kernel are real; give a real number")


def check_types(options: Options) -> None:
    """Refuse options of another type than they should have."""
    for name in ("border", "shape", "nan", "method"):
        if not isinstance(value := getattr(options, name), str):
            raise ImgtoolError(f"{name} must be a word, not {value!r}")
    for name, kind, what in (("cval", Complex, "a number"), ("scale", Real, "a number"), ("bias", Real, "a number")):
        if not isinstance(value := getattr(options, name), kind):
            raise ImgtoolError(f"{name} must be {what}, not {value!r}")
    if options.anchor is not None:
        try:
            tuple(map(operator.index, options.anchor))
        except TypeError:
            raise ImgtoolError(f"anchor must be a whole number for each axis, not {options.anchor!r}") from None


def target_of(options: Options, source: Array, kernels: Sequence[Array]) -> np.dtype[Any]:
    """The type of the result."""
    if options.dtype is None:
        target = source.dtype
    else:
        try:
            target = np.dtype(options.dtype).newbyteorder("=")
        except (TypeError, ValueError):
            raise ImgtoolError(
                f"dtype {options.dtype!r} is unknown; use for example uint8, uint16 or float32"
            ) from None
        if target.kind not in "biufc" or target.itemsize > (16 if target.kind == "c" else 8):
            raise ImgtoolError(
                f"dtype {target} cannot hold an image; use an integer or floating point type up to 64 bits"
            )
    if source.dtype.kind == "c" or any(kernel.dtype.kind == "c" for kernel in kernels):
        narrow = target.itemsize <= 2 or target == np.float32
        return target if target.kind == "c" else np.dtype(np.complex64 if narrow else np.complex128)
    if target.kind == "c":
        raise ImgtoolError(f"dtype {target} needs a complex image or kernel; convert the image first")
    return target


def sums_to_zero(kernel: Array) -> bool:
    """Whether a kernel only finds differences: its sum is nothing but rounding."""
    plain = kernel if kernel.dtype.kind == "c" else kernel.astype(np.float64)
    return bool(abs(plain.sum()) <= 1e-12 * np.abs(plain).sum())


def scaled(taps: Array, axes: int, options: Options) -> Array:
    """The kernel as the options change it: int64 if it is of whole numbers, else float64 or complex128."""
    if taps.ndim != axes:
        advice = "; colour channels have channel_axis" if taps.ndim == axes - 1 else ""
        raise ImgtoolError(f"the kernel has {taps.ndim} axes but the image has {axes}{advice}")
    if taps.size == 0:
        raise ImgtoolError("the kernel is empty; give at least one number")
    if not np.isfinite(taps).all():
        raise ImgtoolError("the kernel holds NaN or infinity; give finite numbers")
    if options.normalize:
        taps = divided_by_sum(taps, "the kernel")
    elif taps.dtype.kind in "iub" and options.scale == round(options.scale):
        whole = int(options.scale)
        if float(np.abs(taps.astype(np.float64)).sum()) * abs(whole) < 2**63:
            return np.asarray(taps.astype(np.int64) * whole)
    plain = taps.astype(np.complex128 if taps.dtype.kind == "c" else np.float64, copy=False)
    if options.scale != 1:
        with np.errstate(over="ignore"):
            plain = plain * float(options.scale)
        if not np.isfinite(plain).all():
            raise ImgtoolError(f"scale {options.scale} makes the kernel infinite; give a smaller one")
    return plain


def placed(size: tuple[int, ...], image: tuple[int, ...], options: Options) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The shape of the result, and how far the flipped kernel reaches before an output pixel's place, per axis."""
    if options.anchor is not None:
        if options.shape != "same":
            raise ImgtoolError(f"an anchor moves the kernel on the image; it has no meaning for shape {options.shape}")
        if len(options.anchor) != len(size) or any(not 0 <= a < n for a, n in zip(options.anchor, size, strict=True)):
            raise ImgtoolError(f"anchor {tuple(options.anchor)} is no index of a kernel of shape {size}")
        if options.correlate:
            return image, tuple(options.anchor)
        return image, tuple(n - 1 - a for a, n in zip(options.anchor, size, strict=True))
    if options.shape == "valid":
        if any(k > n for k, n in zip(size, image, strict=True)):
            raise ImgtoolError(f"shape valid needs a kernel no larger than the image, not {size} on {image}")
        return tuple(n - k + 1 for k, n in zip(size, image, strict=True)), (0,) * len(size)
    if options.shape == "full":
        if 0 in image:
            raise ImgtoolError(f"shape full needs an image with pixels, not one of shape {image}")
        return tuple(n + k - 1 for k, n in zip(size, image, strict=True)), tuple(k - 1 for k in size)
    return image, tuple(k // 2 for k in size)
