"""Linear filters."""

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from . import _colour, _correlate, _ext
from ._check import Array, as_array, rounded_to, saturation, thread_count
from .errors import ImgtoolError

_CANONICAL = (*_correlate.BORDER_CODES, "renormalize")

#: Every accepted name of a border, and the canonical name it stands for.
BORDERS = {name: name for name in _CANONICAL} | {
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


def convolve(
    image: npt.ArrayLike,
    kernel: npt.ArrayLike,
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
    threads: int | None = None,
) -> Array:
    """Convolve an image with a kernel.

    ``out[y, x] = sum_ij kernel[i, j] * image[y + cy - i, x + cx - j]`` with the centre ``c = (size - 1) // 2`` of each
    axis, as in `scipy.signal.convolve`; likewise for any number of axes. The result is the same to the last bit for any
    number of threads.

    Parameters
    ----------
    image : array_like
        Numbers of any integer, floating point, complex or boolean type; at least one axis. Any strides, byte order and
        read-only arrays are taken as they are.
    kernel : array_like
        Finite numbers, one axis for each axis of the image but the channels'.
    border : str
        What lies beyond the edge: ``reflect`` (c b a | a b c), ``mirror`` (c b | a b c), ``nearest`` (a a | a b c),
        ``wrap``, ``constant``, or nothing at all: ``renormalize`` scales the sum by the kernel's sum over that of the
        weights that fell inside. Or an unambiguous alias of `BORDERS`. Kernels larger than the image are welcome.
    cval : float
        The value beyond the edge with ``border="constant"``.
    correlate : bool
        Leave the kernel unflipped: the same as convolving with ``numpy.flip(kernel)``.
    dtype : dtype, optional
        Type of the result, the image's by default. Integer types are rounded half to even and saturated. Integer images
        with integer kernels are summed exactly.
    shape : str
        ``same`` as the image, ``valid`` (where the kernel lies inside) or ``full`` (wherever it touches the image).
    anchor : sequence of int, optional
        The index in the kernel, per axis, that lies on the output pixel, instead of its centre; for ``same``.
    scale, bias : float
        The kernel is multiplied by `scale`, and `bias` added to every sum before it is rounded.
    normalize : bool
        Divide the kernel by its sum.
    mask : array_like, optional
        True where the image is valid, of the image's shape without channels. Other pixels do not count: sums are scaled
        by the kernel's sum over that of the weights on valid pixels (normalised convolution); where there are none the
        result is NaN, or 0 in integer types.
    nan : str
        ``propagate``: a NaN spreads exactly as far as the kernel reaches; ``ignore``: it is masked.
    channel_axis : int, optional
        The axis of colour channels, which are filtered alike; every axis is spatial without it.
    method : str
        ``auto`` chooses the fastest of ``direct``, ``separable`` (for kernels of rank 1) and ``fft`` (overlap-save).
    threads : int, optional
        Threads to use, all processors by default.

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
    >>> convolve(np.array([1.0, np.nan, 5.0]), [1, 1, 1], nan="ignore", normalize=True)
    array([1., 3., 5.])
    """
    # A small image takes less time than finding out what to do with it: that is remembered.
    key = None
    if type(image) is np.ndarray and type(kernel) is np.ndarray and channel_axis is mask is anchor is None:
        options = (border, cval, correlate, dtype, shape, scale, bias, normalize, nan, method)
        key = (kernel.tobytes(), kernel.dtype, kernel.shape, image.dtype, image.shape, options)
        known = _small.get(key)
        if known is not None:
            correlation, rows, result = known[0], known[1][0], np.empty(*known[1:])
            correlation.slab(image, result, None, 0, rows)
            return result
    request = _Filter(
        border, cval, correlate, dtype, shape, anchor, scale, bias, normalize, nan, method, thread_count(threads)
    )
    result, _ = _apply(image, (kernel,), request, mask, channel_axis, False)
    if key is not None:
        _remember(key, np.asarray(image), np.asarray(kernel), request, result)
    return result


def apply_kernel(
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
    threads: int | None = None,
    has_alpha: bool = False,
    linear: bool = False,
) -> tuple[Array, int]:
    """Convolve, and say how many values were saturated.

    Parameters
    ----------
    image, border, cval, correlate, dtype, shape, anchor, scale, bias, normalize, mask, nan
        As for `convolve`.
    channel_axis, method, threads
        As for `convolve`.
    kernels : sequence of array_like
        One kernel, or several of which the magnitude (root of the sum of squares) of the results is taken.
    has_alpha : bool
        The last channel is alpha (opaque: 1, or an integer type's largest value). Colours are weighted by it, and it is
        filtered with the kernel brought to sum 1; beyond a constant border it is opaque. An opaque alpha changes
        nothing, and a kernel of sum 0 (edges) leaves alpha as it is.
    linear : bool
        Filter in linear light: the colours are sRGB (0..1, or an integer type's range) before and after.

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
    request = _Filter(
        border, cval, correlate, dtype, shape, anchor, scale, bias, normalize, nan, method, thread_count(threads)
    )
    if not linear:
        return _apply(image, kernels, request, mask, channel_axis, has_alpha)
    source = as_array(image, "image")
    target = np.dtype(source.dtype if dtype is None else dtype)
    light = _colour.to_linear(source, channel_axis, has_alpha)
    inner = request._replace(cval=_colour.value_to_linear(cval, source.dtype), dtype=light.dtype, bias=0.0)
    result, _ = _apply(light, kernels, inner, mask, channel_axis, has_alpha)
    return _colour.from_linear(result, source.dtype, target, bias, channel_axis, has_alpha)


def explain(
    image: npt.ArrayLike,
    kernel: npt.ArrayLike,
    *,
    border: str = "reflect",
    dtype: npt.DTypeLike | None = None,
    channel_axis: int | None = None,
    method: str = "auto",
) -> dict[str, Any]:
    """What `convolve` would do with such an image and kernel, and why; the pixels are not looked at.

    Returns
    -------
    dict
        ``method``, ``reason``, ``kernel`` (shape), ``sum``, ``rank``, ``accumulator``, ``flops`` (of the whole image),
        ``memory`` (bytes beside input and output).

    Raises
    ------
    ImgtoolError
        If an argument is not as said for `convolve`.
    """
    source = as_array(image, "image")
    source = source[..., np.newaxis] if channel_axis is None else np.moveaxis(source, channel_axis, -1)
    taps = as_array(kernel, "kernel")
    request = _Filter(border, 0.0, False, dtype, "same", None, 1.0, 0.0, False, "propagate", method, 1)
    found, shape = _planned(taps, source, _target(request, source, [taps]), request, False)
    matrix = np.reshape(taps.astype(np.float64), (-1, taps.shape[-1]))
    return {
        "method": found.method,
        "reason": found.reason,
        "kernel": taps.shape,
        "sum": float(taps.sum()),
        "rank": int(np.linalg.matrix_rank(matrix)),
        "accumulator": {"f4": "float32", "f8": "float64", "i8": "int128"}[found.accumulator],
        "flops": found.flops(math.prod(shape) * source.shape[-1]),
        "memory": found.memory(shape, source.shape[-1]),
    }


# What to do with a small image, by everything that decides about it: the kernel, the shape and type of its result.
_small: dict[Any, tuple[_ext.Correlation, tuple[int, ...], np.dtype[Any]]] = {}


def _remember(key: Any, image: Array, kernel: Array, options: "_Filter", result: Array) -> None:
    """Keep the plan for a real image of two axes that is filtered in one piece."""
    types = {image.dtype.kind, result.dtype.kind} | {kernel.dtype.kind}
    plain = types <= set("iuf") and np.float16 not in (image.dtype, result.dtype) and image.dtype.isnative
    if not plain or image.ndim != 2 or not result.size or options.nan != "propagate":
        return
    if BORDERS[options.border] == "renormalize":
        return
    found, _ = _planned(kernel, image[..., np.newaxis], result.dtype, options, False)
    if found.method != "fft" and _correlate.slab_rows(found, result.shape[1]) >= result.shape[0]:
        if len(_small) >= 64:
            _small.clear()
        _small[key] = (found.ready, result.shape, result.dtype)


def forget() -> None:
    """Drop all plans that are kept for the next image like the last one."""
    _small.clear()
    _cached_plan.cache_clear()


class _Filter(NamedTuple):
    """The options of `convolve`, under its names."""

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


def _apply(
    image: npt.ArrayLike,
    kernels: Sequence[npt.ArrayLike],
    options: _Filter,
    mask: npt.ArrayLike | None,
    channel_axis: int | None,
    has_alpha: bool,
) -> tuple[Array, int]:
    """Bring the image to spatial axes + channels and the result back."""
    source = as_array(image, "image")
    if source.ndim == 0:
        raise ImgtoolError("image has no axes; give an array of at least one")
    if channel_axis is None:
        source = source[..., np.newaxis]
    elif -source.ndim <= channel_axis < source.ndim:
        source = np.moveaxis(source, channel_axis, -1)
    else:
        raise ImgtoolError(f"channel_axis {channel_axis} does not exist in an image of shape {source.shape}")
    taps = [as_array(kernel, "kernel") for kernel in kernels]
    target = _target(options, source, taps)
    keeps_alpha = has_alpha and all(_sums_to_zero(kernel) for kernel in taps)
    colour = source[..., :-1] if keeps_alpha else source
    weighted = has_alpha and not keeps_alpha
    if mask is not None or options.nan != "propagate" or BORDERS.get(options.border) == "renormalize":
        result, saturated = _normalised(colour, taps, target, options, mask, weighted)
    elif len(taps) == 1:
        result, saturated = _filter(colour, taps[0], target, options, weighted)
    else:
        result, saturated = _magnitude(colour, taps, target, options, weighted)
    if keeps_alpha:
        if options.shape != "same":
            raise ImgtoolError(f"shape {options.shape} has no alpha for a kernel of sum 0; use same, or drop alpha")
        result = np.concatenate([result, rounded_to(source[..., -1:].astype(np.float64), target)], axis=-1)
    if channel_axis is None:
        return result[..., 0], saturated
    return np.moveaxis(result, -1, channel_axis), saturated


def _target(options: _Filter, source: Array, kernels: Sequence[Array]) -> np.dtype[Any]:
    """The type of the result."""
    if options.dtype is None:
        target = source.dtype
    else:
        try:
            target = np.dtype(options.dtype).newbyteorder("=")
        except TypeError:
            raise ImgtoolError(
                f"dtype {options.dtype!r} is unknown; use for example uint8, uint16 or float32"
            ) from None
        if target.kind not in "biufc" or (target.kind == "f" and target.itemsize > 8):
            raise ImgtoolError(
                f"dtype {target} cannot hold an image; use an integer or floating point type up to 64 bits"
            )
    if source.dtype.kind == "c" or any(kernel.dtype.kind == "c" for kernel in kernels):
        return target if target.kind == "c" else np.dtype(np.complex64 if target.itemsize <= 4 else np.complex128)
    if target.kind == "c":
        raise ImgtoolError(f"dtype {target} needs a complex image or kernel; convert the image first")
    return target


def _sums_to_zero(kernel: Array) -> bool:
    """Whether a kernel only finds differences: its sum is nothing but rounding."""
    return bool(abs(kernel.sum()) <= 1e-12 * np.abs(kernel).sum())


def _filter(
    source: Array, kernel: Array, target: np.dtype[Any], options: _Filter, has_alpha: bool
) -> tuple[Array, int]:
    """Filter spatial axes + channels; complex, half and boolean types by way of those that the kernels know."""
    if target.kind == "c":
        return _complex(source, kernel, target, options, has_alpha), 0
    if source.dtype == np.float16:
        return _filter(source.astype(np.float32), kernel, target, options, has_alpha)
    if target == np.float16:
        result, saturated = _filter(source, kernel, np.dtype(np.float32), options, has_alpha)
        return rounded_to(result, target), saturated
    if target.kind == "b":
        result, saturated = _filter(source, kernel, np.dtype(np.uint8), options, has_alpha)
        return result != 0, saturated
    found, shape = _planned(kernel, source, target, options, has_alpha)
    return _correlate.correlate(source, found, shape, options.threads)


def _complex(source: Array, kernel: Array, target: np.dtype[Any], options: _Filter, has_alpha: bool) -> Array:
    """The sum of the real filters of real and imaginary parts."""
    part = np.dtype(f"f{target.itemsize // 2}")
    cval = complex(options.cval)
    total: Array | None = None
    for taps, by_kernel in ((kernel.real, 1), (kernel.imag, 1j)) if kernel.dtype.kind == "c" else ((kernel, 1),):
        for pixels, beyond, by_image in ((source.real, cval.real, 1), (source.imag, cval.imag, 1j)):
            if by_image == 1 or source.dtype.kind == "c" or beyond:
                once = options.bias if total is None else 0.0
                inner = options._replace(cval=beyond, bias=once)
                term = by_kernel * by_image * _filter(pixels, taps, part, inner, has_alpha)[0]
                total = term.astype(target) if total is None else total + term
    assert total is not None
    return total


def _planned(
    kernel: Array, source: Array, target: np.dtype[Any], options: _Filter, has_alpha: bool
) -> tuple[_correlate.Plan, tuple[int, ...]]:
    """The plan for a kernel as the caller gave it, and the spatial shape of the result."""
    return _cached_plan(
        kernel.tobytes(),
        kernel.dtype,
        kernel.shape,
        source.dtype,
        source.shape,
        target,
        options._replace(dtype=None, threads=1, anchor=None if options.anchor is None else tuple(options.anchor)),
        has_alpha,
    )


@lru_cache(maxsize=32)
def _cached_plan(
    buffer: bytes,
    dtype: np.dtype[Any],
    size: tuple[int, ...],
    pixel: np.dtype[Any],
    image: tuple[int, ...],
    target: np.dtype[Any],
    options: _Filter,
    has_alpha: bool,
) -> tuple[_correlate.Plan, tuple[int, ...]]:
    _check_options(options, target)
    taps = _scaled(np.frombuffer(buffer, dtype).reshape(size), len(image) - 1, options)
    shape, origin = _placed(taps.shape, image[:-1], options)
    whole = taps.dtype.kind in "iub" or bool((taps == np.rint(taps)).all())
    whole = whole and float(np.abs(taps.astype(np.float64)).sum()) < 2**63
    laid = np.ascontiguousarray(taps if options.correlate else np.flip(taps), np.int64 if whole else np.float64)
    request = _correlate.Request(
        kernel=laid.tobytes(),
        whole=whole,
        shape=laid.shape,
        source=pixel,
        target=target,
        image=image,
        origin=origin,
        border=BORDERS[options.border],
        cval=float(options.cval.real) if BORDERS[options.border] == "constant" else 0.0,
        bias=float(options.bias),
        has_alpha=has_alpha,
        method=options.method,
    )
    return _correlate.plan(request), shape


def _check_options(options: _Filter, target: np.dtype[Any]) -> None:
    for name, value, known in (
        ("border", options.border, BORDERS),
        ("shape", options.shape, SHAPES),
        ("nan", options.nan, ("propagate", "ignore")),
        ("method", options.method, _correlate.METHODS),
    ):
        if value not in known:
            raise ImgtoolError(f"{name} {value!r} is unknown; use one of {', '.join(known)}")
    for name, number in (("scale", options.scale), ("bias", options.bias)):
        if not math.isfinite(number):
            raise ImgtoolError(f"{name} {number} is no finite number")
    if target.kind in "iub" and not math.isfinite(options.cval.real):
        raise ImgtoolError(f"cval {options.cval} has no place in a result of type {target}; give a finite number")


def _scaled(taps: Array, axes: int, options: _Filter) -> Array:
    """The kernel, found sound, with scale and normalisation applied; whole numbers stay whole where they can."""
    if taps.ndim != axes:
        raise ImgtoolError(
            f"the kernel has {taps.ndim} axes but the image has {axes} besides channels; "
            "say which axis holds colours with channel_axis, or reshape the kernel"
        )
    if taps.size == 0:
        raise ImgtoolError(f"the kernel is empty (shape {taps.shape}); give at least one number")
    if not np.isfinite(taps).all():
        raise ImgtoolError("the kernel holds NaN or infinity; give finite numbers")
    if options.normalize:
        if _sums_to_zero(taps):
            raise ImgtoolError("the kernel's sum is 0, so it cannot be normalized; leave out normalize")
        taps = taps / taps.sum()
    if options.scale != 1:
        taps = taps * (int(options.scale) if options.scale == round(options.scale) else options.scale)
    return taps


def _placed(size: tuple[int, ...], image: tuple[int, ...], options: _Filter) -> tuple[tuple[int, ...], tuple[int, ...]]:
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
        return tuple(n + k - 1 for k, n in zip(size, image, strict=True)), tuple(k - 1 for k in size)
    return image, tuple(k // 2 for k in size)


def _magnitude(
    source: Array, kernels: Sequence[Array], target: np.dtype[Any], options: _Filter, has_alpha: bool
) -> tuple[Array, int]:
    """The root of the sum of squares of the results of several kernels."""
    precise = np.dtype(np.float32 if source.dtype == target == np.float32 else np.float64)
    inner = options._replace(bias=0.0)
    total, _ = _filter(source, kernels[0], precise, inner, has_alpha)
    for kernel in kernels[1:]:
        np.hypot(total, _filter(source, kernel, precise, inner, has_alpha)[0], out=total)
    if options.bias:
        total += options.bias
    return rounded_to(total, target), saturation(total, target)


def _normalised(
    source: Array,
    kernels: Sequence[Array],
    target: np.dtype[Any],
    options: _Filter,
    mask: npt.ArrayLike | None,
    has_alpha: bool,
) -> tuple[Array, int]:
    """Sums over valid pixels only, scaled by the kernel's sum over that of the weights on them."""
    if has_alpha or len(kernels) > 1 or target.kind == "c":
        raise ImgtoolError("masks, nan=ignore and border=renormalize work on one real kernel and images without alpha")
    kernel = kernels[0]
    if _sums_to_zero(kernel):
        raise ImgtoolError("the kernel's sum is 0, so sums cannot be scaled by it; leave out mask, nan and renormalize")
    valid = np.ones(source.shape, bool)
    if mask is not None:
        given = as_array(mask, "mask")
        if given.shape != source.shape[:-1]:
            raise ImgtoolError(f"mask has shape {given.shape} but the image has {source.shape[:-1]}")
        valid &= (given != 0)[..., np.newaxis]
    if options.nan == "ignore" and source.dtype.kind == "f":
        valid &= ~np.isnan(source)
    if not valid.any():
        raise ImgtoolError("no pixel is valid: the mask is empty, or all pixels are NaN")
    beyond = options.border if BORDERS.get(options.border) != "renormalize" else "constant"
    precise = np.dtype(np.float32 if source.dtype == target == np.float32 else np.float64)
    inner = options._replace(border=beyond, bias=0.0, nan="propagate")
    counted = 1.0 if beyond == options.border else 0.0
    sums, _ = _filter(np.where(valid, source, source.dtype.type(0)), kernel, precise, inner, False)
    weights, _ = _filter(valid.astype(np.uint8), kernel, np.dtype(np.float64), inner._replace(cval=counted), False)
    whole = float(kernel.sum()) * options.scale if not options.normalize else options.scale
    noise = 1e-12 * float(np.abs(kernel).sum()) * abs(whole / float(kernel.sum()))
    with np.errstate(divide="ignore", invalid="ignore"):
        # Where all weights count, the factor is 1 itself: rounding must not move a tie.
        factor = np.where(np.abs(weights - whole) <= noise, 1.0, whole / weights)
    factor[np.abs(weights) <= noise] = np.nan
    total = sums * factor + options.bias
    return rounded_to(total, target), saturation(total, target)
