"""Linear filters."""

import math
from collections.abc import Callable, Sequence
from functools import partial
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt

from . import _ext
from ._check import Array, as_array, rounded_to, thread_count
from ._slabs import run_slabs
from .errors import ImgtoolError

_CODES = {"reflect": 0, "mirror": 1, "nearest": 2, "wrap": 3, "constant": 4}  # as in ext/border.pxd

#: Every accepted name of a border, and the canonical name it stands for.
BORDERS = {name: name for name in _CODES} | {
    "symmetric": "reflect",
    "grid-mirror": "reflect",
    "reflect101": "mirror",
    "edge": "nearest",
    "replicate": "nearest",
    "periodic": "wrap",
    "circular": "wrap",
    "zero": "constant",
}

# One multiply-add counts 1; reading, converting and storing a value costs about as much as 16 of them. A slab should be
# worth the 0.1 ms that handing it to a thread costs.
_SLAB_COST = 1 << 23
_FIXED_COST = 16


def convolve(
    image: npt.ArrayLike,
    kernel: npt.ArrayLike,
    *,
    border: str = "reflect",
    cval: float = 0.0,
    correlate: bool = False,
    dtype: npt.DTypeLike | None = None,
    channel_axis: int | None = None,
    threads: int | None = None,
) -> Array:
    """Convolve an image with a kernel; the result has the image's shape.

    ``out[y, x] = sum_ij kernel[i, j] * image[y + cy - i, x + cx - j]`` with the centre ``c = (size - 1) // 2`` of each
    axis, as in `scipy.signal.convolve`; likewise for any number of axes.

    Parameters
    ----------
    image : array_like
        Numbers of any integer, floating point, complex or boolean type; at least one axis. Any strides, byte order and
        read-only arrays are taken as they are.
    kernel : array_like
        Finite numbers, one axis for each axis of the image but the channels'.
    border : str
        What lies beyond the edge: ``reflect`` (c b a | a b c), ``mirror`` (c b | a b c), ``nearest`` (a a | a b c),
        ``wrap`` or ``constant``; or an unambiguous alias of `BORDERS`. Kernels larger than the image are welcome.
    cval : float
        The value beyond the edge with ``border="constant"``.
    correlate : bool
        Leave the kernel unflipped: the same as convolving with ``numpy.flip(kernel)``.
    dtype : dtype, optional
        Type of the result, the image's by default. Integer types are rounded half to even and saturated. Integer images
        with integer kernels are summed exactly.
    channel_axis : int, optional
        The axis of colour channels, which are filtered alike; every axis is spatial without it.
    threads : int, optional
        Threads to use, all processors by default; the result does not depend on it.

    Returns
    -------
    ndarray
        The filtered image.

    Raises
    ------
    ImgtoolError
        If an argument is not as said above.

    Examples
    --------
    >>> import numpy as np
    >>> convolve(np.array([[1, 2, 250]], dtype=np.uint8), [[1, 1, 1]])
    array([[  4, 253, 255]], dtype=uint8)
    """
    result, _ = apply_kernel(
        image,
        (kernel,),
        border=border,
        cval=cval,
        correlate=correlate,
        dtype=dtype,
        channel_axis=channel_axis,
        threads=threads,
    )
    return result


def apply_kernel(
    image: npt.ArrayLike,
    kernels: Sequence[npt.ArrayLike],
    *,
    border: str = "reflect",
    cval: float = 0.0,
    correlate: bool = False,
    dtype: npt.DTypeLike | None = None,
    channel_axis: int | None = None,
    has_alpha: bool = False,
    threads: int | None = None,
) -> tuple[Array, int]:
    """Convolve, and say how many values were saturated.

    Parameters
    ----------
    image, border, cval, correlate, dtype, channel_axis, threads
        As for `convolve`.
    kernels : sequence of array_like
        One kernel, or several of which the magnitude (root of the sum of squares) of the results is taken.
    has_alpha : bool
        The last channel is alpha (opaque: 1, or an integer type's largest value). Colours are weighted by it, and it is
        filtered with the kernel brought to sum 1; beyond a constant border it is opaque. An opaque alpha changes
        nothing, and a kernel of sum 0 (edges) leaves alpha as it is.

    Returns
    -------
    result : ndarray
        The filtered image.
    saturated : int
        How many of its values had to be clipped to the range of an integer type.

    Raises
    ------
    ImgtoolError
        If an argument is not as said above.
    """
    source = as_array(image, "image")
    if source.ndim == 0:
        raise ImgtoolError("image has no axes; give an array of at least one")
    if channel_axis is not None:
        if not -source.ndim <= channel_axis < source.ndim:
            raise ImgtoolError(f"channel_axis {channel_axis} does not exist in an image of shape {source.shape}")
        source = np.moveaxis(source, channel_axis, -1)
    else:
        source = source[..., np.newaxis]
    if border not in BORDERS:
        raise ImgtoolError(f"border {border!r} is unknown; use one of {', '.join(BORDERS)}")
    taps = [_checked_kernel(kernel, source.ndim - 1, correlate) for kernel in kernels]
    target = _checked_dtype(source.dtype if dtype is None else dtype, source.dtype, taps)
    if not isinstance(cval, complex) and not math.isfinite(cval) and target.kind in "iub":
        raise ImgtoolError(f"cval {cval} has no place in a result of type {target}; give a finite number")
    threads = thread_count(threads)
    work = partial(_filter, border=border, cval=cval, threads=threads)

    keeps_alpha = has_alpha and all(_sums_to_zero(kernel) for kernel in taps)
    colour = source[..., :-1] if keeps_alpha else source
    if len(taps) == 1:
        result, saturated = work(colour, taps[0], target, has_alpha=has_alpha and not keeps_alpha)
    else:
        result, saturated = _magnitude(work, colour, taps, target, has_alpha=has_alpha and not keeps_alpha)
    if keeps_alpha:
        result = np.concatenate([result, rounded_to(source[..., -1:].astype(np.float64), target)], axis=-1)
    if channel_axis is None:
        return result[..., 0], saturated
    return np.moveaxis(result, -1, channel_axis), saturated


def _checked_kernel(kernel: npt.ArrayLike, axes: int, correlate: bool) -> Array:
    """The kernel as it is laid on the image without flipping."""
    taps = as_array(kernel, "kernel")
    if taps.ndim != axes:
        raise ImgtoolError(
            f"the kernel has {taps.ndim} axes but the image has {axes} besides channels; "
            "say which axis holds colours with channel_axis, or reshape the kernel"
        )
    if taps.size == 0:
        raise ImgtoolError(f"the kernel is empty (shape {taps.shape}); give at least one number")
    if not np.isfinite(taps).all():
        raise ImgtoolError("the kernel holds NaN or infinity; give finite numbers")
    return taps if correlate else np.flip(taps)


def _checked_dtype(dtype: npt.DTypeLike, image: np.dtype[Any], kernels: Sequence[Array]) -> np.dtype[Any]:
    try:
        target = np.dtype(dtype).newbyteorder("=")
    except TypeError:
        raise ImgtoolError(f"dtype {dtype!r} is unknown; use for example uint8, uint16 or float32") from None
    if target.kind not in "biufc" or (target.kind == "f" and target.itemsize > 8):
        raise ImgtoolError(f"dtype {target} cannot hold an image; use an integer or floating point type up to 64 bits")
    if image.kind == "c" or any(kernel.dtype.kind == "c" for kernel in kernels):
        if target.kind != "c":
            target = np.dtype(np.complex64 if target.itemsize <= 4 else np.complex128)
    elif target.kind == "c":
        raise ImgtoolError(f"dtype {target} needs a complex image or kernel; convert the image first")
    return target


def _sums_to_zero(kernel: Array) -> bool:
    """Whether a kernel only finds differences: its sum is nothing but rounding."""
    return bool(abs(kernel.sum()) <= 1e-12 * np.abs(kernel).sum())


def _magnitude(
    work: Callable[..., tuple[Array, int]],
    source: Array,
    kernels: Sequence[Array],
    target: np.dtype[Any],
    has_alpha: bool,
) -> tuple[Array, int]:
    """The root of the sum of squares of the results of several kernels."""
    precise = np.dtype(np.float32 if source.dtype == target == np.float32 else np.float64)
    total, _ = work(source, kernels[0], precise, has_alpha=has_alpha)
    for kernel in kernels[1:]:
        np.hypot(total, work(source, kernel, precise, has_alpha=has_alpha)[0], out=total)
    saturated = int(np.count_nonzero(np.rint(total) > np.iinfo(target).max)) if target.kind in "iu" else 0
    return rounded_to(total, target), saturated


def _filter(
    source: Array, kernel: Array, target: np.dtype[Any], *, border: str, cval: complex, has_alpha: bool, threads: int
) -> tuple[Array, int]:
    """Correlate arrays of spatial axes + channels; complex, half and boolean types by way of those the kernels know."""
    again = partial(_filter, border=border, has_alpha=has_alpha, threads=threads)
    if target.kind == "c":
        part = np.dtype(f"f{target.itemsize // 2}")
        result = np.zeros(source.shape, target)
        cval = complex(cval)
        for kernel_part, unit in ((kernel.real, 1), (kernel.imag, 1j)) if kernel.dtype.kind == "c" else ((kernel, 1),):
            result += unit * again(source.real, kernel_part, part, cval=cval.real)[0]
            if source.dtype.kind == "c" or cval.imag:
                result += unit * 1j * again(source.imag, kernel_part, part, cval=cval.imag)[0]
        return result, 0
    if source.dtype == np.float16:
        return again(source.astype(np.float32), kernel, target, cval=cval)
    if target == np.float16:
        result, saturated = again(source, kernel, np.dtype(np.float32), cval=cval)
        return rounded_to(result, target), saturated
    if target.kind == "b":
        result, saturated = again(source, kernel, np.dtype(np.uint8), cval=cval)
        return result != 0, saturated
    result = np.empty(source.shape, target)
    if source.size == 0:
        return result, 0
    cval = float(cval.real)
    accumulator = _accumulator(source.dtype, target, kernel, cval if border == "constant" else 0.0, has_alpha)
    return result, _correlate(source, kernel, result, border, cval, accumulator, has_alpha, threads)


def _accumulator(
    source: np.dtype[Any], target: np.dtype[Any], kernel: Array, cval: float, has_alpha: bool
) -> np.dtype[Any]:
    """The fastest type in which sums are exact, or for fractions near enough: float32, float64 or int64 (128 bits).

    Before an integer result of a fractional kernel is rounded it differs from the exact sum by less than 1e-3: each
    rounding of a float32 sum errs by at most 2**-24 of the partial sum (Higham 2002, sec. 3.1), and so do the kernel's
    weights and, without fused multiply-add, the products.
    """
    single, double, exact = np.dtype(np.float32), np.dtype(np.float64), np.dtype(np.int64)
    if source.kind == "f":
        return single if source == target == single else double
    info = np.iinfo(np.uint8 if source.kind == "b" else source)
    weights = np.abs(kernel.astype(np.float64)).ravel()
    largest = float(max(info.max, -info.min, abs(cval)))
    peak = largest * float(weights.sum())
    if cval == round(cval) and (kernel.dtype.kind in "iub" or bool((kernel == np.rint(kernel)).all())):
        if peak < 2**24:
            return single
        return double if peak < 2**53 or peak >= 2**126 or has_alpha or abs(cval) >= 2**63 else exact
    if target.kind in "iu":
        error = 2.0**-24 * (largest * float(np.add.accumulate(weights).sum()) + 2 * peak)
        return single if target.itemsize <= 2 and error < 1e-3 else double
    return single if target == single and source.itemsize <= 2 else double


def _correlate(
    source: Array,
    kernel: Array,
    result: Array,
    border: str,
    cval: float,
    accumulator: np.dtype[Any],
    has_alpha: bool,
    threads: int,
) -> int:
    """Correlate into `result` by slabs: rows of one image, or whole planes of an array of more axes."""
    axes = source.ndim - 1
    if axes == 1:
        source, kernel, result = source[np.newaxis], kernel[np.newaxis], result[np.newaxis]
    code = _CODES[BORDERS[border]]
    height, width, channels = source.shape[-3:]
    taps = np.ascontiguousarray(kernel, accumulator).reshape(-1, *kernel.shape[-2:])
    if accumulator == np.int64:
        kernel_call = partial(_ext.correlate_slab_exact, kernel=taps, border=code, outside=int(cval))
    else:
        outside = np.full(channels, cval, accumulator)
        alpha_one = kernel_sum = 0.0
        if has_alpha:
            outside[-1] = 1
            alpha_one = float(np.iinfo(source.dtype).max) if source.dtype.kind in "iu" else 1.0
            # Summed as the kernel sums where all alpha is 1, so that opaque alpha divides by exactly 1.
            kernel_sum = float(np.add.accumulate(taps.ravel())[-1])
        slab = _ext.correlate_slab_f32 if accumulator == np.float32 else _ext.correlate_slab_f64
        kernel_call = partial(
            slab, kernel=taps, border=code, outside=outside, alpha_one=alpha_one, kernel_sum=kernel_sum
        )

    outer = source.shape[:-3]
    if not outer:
        planes = np.zeros(1, np.intp)
        cost = width * channels * (kernel.size + _FIXED_COST)
        slab_rows = max(-(-_SLAB_COST // cost), 4 * kernel.shape[0])
        slab_rows = -(-slab_rows // 15) * 15  # whole blocks of 3 or 5 rows

        def rows(begin: int, end: int) -> int:
            return kernel_call(source, result, planes, begin=begin, end=end)

        return sum(run_slabs(rows, height, slab_rows, threads))

    offsets = _plane_offsets(source, kernel.shape[:-2], border)
    places = list(product(*(range(n) for n in outer)))
    first = source[(0,) * len(outer)]

    def volumes(begin: int, end: int) -> int:
        saturated = 0
        for place in places[begin:end]:
            saturated += kernel_call(first, result[place], offsets(place), begin=0, end=height)
        return saturated

    cost = height * width * channels * (kernel.size + _FIXED_COST)
    return sum(run_slabs(volumes, len(places), max(1, _SLAB_COST // cost), threads))


def _plane_offsets(
    source: Array, kernel_outer: tuple[int, ...], border: str
) -> Callable[[tuple[int, ...]], npt.NDArray[np.intp]]:
    """A function that gives, for the plane at some place, the offset in bytes of the plane under each kernel plane."""
    per_axis = []
    for length, size in zip(source.shape, kernel_outer, strict=False):
        per_axis.append(np.empty((length, size), np.intp))
        _ext.border_table(_CODES[BORDERS[border]], length, per_axis[-1])
    strides = source.strides[: len(kernel_outer)]

    def offsets(place: tuple[int, ...]) -> npt.NDArray[np.intp]:
        total: npt.NDArray[np.intp] = np.zeros((1,) * len(place), np.intp)
        inside: npt.NDArray[np.bool_] = np.ones_like(total, dtype=np.bool_)
        for axis, (table, where, stride) in enumerate(zip(per_axis, place, strides, strict=True)):
            shape = [1] * len(place)
            shape[axis] = -1
            index = table[where].reshape(shape)
            total = total + index * stride
            inside = inside & (index >= 0)
        return np.ascontiguousarray(np.where(inside, total, _ext.OUTSIDE_PLANE).ravel())

    return offsets
