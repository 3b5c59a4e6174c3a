"""Linear filters."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from . import _colour, _composed, _correlate, _plan
from ._check import Array, as_array, rounded_to, thread_count
from ._options import BORDERS, SHAPES, Options, check_options, check_types, placed, scaled, sums_to_zero, target_of
from .errors import ImgtoolError

__all__ = ["BORDERS", "SHAPES", "apply_kernel", "convolve"]


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
        Leave the kernel unflipped: the same as convolving with ``numpy.flip(kernel)``, conjugated if it is complex.
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
        ``auto`` chooses the fastest of ``direct``, ``separable`` (for kernels of rank 1), ``box`` (for kernels of one
        number, by sums) and ``fft`` (overlap-save).
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
    plain = channel_axis is mask is anchor is None
    if plain and type(image) is np.ndarray and type(kernel) is np.ndarray and kernel.nbytes <= 4096:
        options = (border, cval, correlate, dtype, shape, scale, bias, normalize, nan, method)
        key = (kernel.tobytes(), kernel.dtype, kernel.shape, image.dtype, image.shape, options)
        try:
            known = _small.get(key)
        except TypeError:  # an option that cannot be hashed is a wrong one, refused below
            known = key = None
        if known is not None and (threads is None or (type(threads) is int and threads > 0) or thread_count(threads)):
            correlation, size, target = known
            result = np.empty(size, target)
            correlation.slab(image, result, None, 0, size[0])
            return result
    request = Options(
        border, cval, correlate, dtype, shape, anchor, scale, bias, normalize, nan, method, thread_count(threads)
    )
    result, _ = _apply(image, (kernel,), request, mask, channel_axis, False, False, "magnitude")
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
    combine: str = "magnitude",
) -> tuple[Array, int]:
    """Convolve, and say how many values were saturated.

    Besides the result, several kernels and `linear` need two copies of the whole image in float32 or float64, and
    `mask`, ``nan="ignore"`` and ``border="renormalize"`` up to six in float64.

    Parameters
    ----------
    image, border, cval, correlate, dtype, shape, anchor, scale, bias, normalize, mask, nan
        As for `convolve`.
    channel_axis, method, threads
        As for `convolve`.
    kernels : sequence of array_like
        One kernel, or several whose results are combined.
    has_alpha : bool
        The last channel is alpha (opaque: 1, or an integer type's largest value). Colours are weighted by it, and it is
        filtered with the kernel brought to sum 1; beyond a constant border it is opaque. An opaque alpha changes
        nothing, and a kernel of sum 0 (edges) and several combined kernels leave alpha as it is.
    linear : bool
        Filter in linear light: the colours are sRGB (0..1, or the range of uint8 or uint16) before and after, and so
        are `cval` and `bias`, which is added at the end.
    combine : str
        How the results of several kernels become one: ``magnitude``, the root of the sum of squares, or ``maximum``.

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
    request = Options(
        border, cval, correlate, dtype, shape, anchor, scale, bias, normalize, nan, method, thread_count(threads)
    )
    return _apply(image, kernels, request, mask, channel_axis, has_alpha, linear, combine)


# What to do with a small image, by everything that decides about it: the kernel, the shape and type of its result.
_small: dict[Any, "tuple[_plan.ByRows, tuple[int, ...], np.dtype[Any]]"] = {}


def _remember(key: Any, image: Array, kernel: Array, options: Options, result: Array) -> None:
    """Keep the plan for a real image of two axes that is filtered in one piece."""
    types = {image.dtype.kind, result.dtype.kind} | {kernel.dtype.kind}
    plain = types <= set("iuf") and np.float16 not in (image.dtype, result.dtype) and image.dtype.isnative
    if not plain or image.ndim != 2 or not result.size or options.nan != "propagate":
        return
    if BORDERS[options.border] == "renormalize":
        return
    found, _ = planned(kernel, image[..., np.newaxis], result.dtype, options, False)
    if found.method != "fft" and _correlate.slab_rows(found, result.shape[1]) >= result.shape[0]:
        if len(_small) >= 64:
            _small.clear()
        _small[key] = (found.ready, result.shape, result.dtype)


def forget() -> None:
    """Drop all plans that are kept for the next image like the last one."""
    _small.clear()
    _cached_plan.cache_clear()


def _apply(
    image: npt.ArrayLike,
    kernels: Sequence[npt.ArrayLike],
    options: Options,
    mask: npt.ArrayLike | None,
    channel_axis: int | None,
    has_alpha: bool,
    linear: bool,
    combine: str,
) -> tuple[Array, int]:
    """Bring the image to spatial axes + channels and the result back."""
    source = with_channels(image, channel_axis)
    taps = [as_array(kernel, "kernel") for kernel in kernels]
    if not taps:
        raise ImgtoolError("there is nothing to convolve with; give at least one kernel")
    target = target_of(options, source, taps)
    if has_alpha and (channel_axis is None or target.kind == "c"):
        raise ImgtoolError("alpha is the last of several channels of a real image; leave out has_alpha")
    try:
        if linear:
            result, saturated = _in_linear_light(source, taps, target, options, mask, has_alpha, combine)
        else:
            result, saturated = _dispatch(source, taps, target, options, mask, has_alpha, combine)
    except TypeError:
        check_types(options)  # what cannot be hashed is no number and no word: too rare to look for it every time
        raise
    if channel_axis is None:
        return result[..., 0], saturated
    return np.moveaxis(result, -1, channel_axis), saturated


def with_channels(image: npt.ArrayLike, channel_axis: int | None) -> Array:
    """The image as spatial axes + channels, a view."""
    source = as_array(image, "image")
    if source.ndim == 0:
        raise ImgtoolError("image has no axes; give an array of at least one")
    if channel_axis is None:
        return source[..., np.newaxis]
    if -source.ndim <= channel_axis < source.ndim and source.ndim > 1:
        return np.moveaxis(source, channel_axis, -1)
    raise ImgtoolError(f"channel_axis {channel_axis} does not exist beside others in an image of shape {source.shape}")


def _in_linear_light(
    source: Array,
    kernels: Sequence[Array],
    target: np.dtype[Any],
    options: Options,
    mask: npt.ArrayLike | None,
    has_alpha: bool,
    combine: str,
) -> tuple[Array, int]:
    check_options(options, target)
    if target.kind == "c":
        raise ImgtoolError("linear light is real; give a real kernel")
    light = _colour.to_linear(source, has_alpha)
    inner = options._replace(cval=_colour.value_to_linear(options.cval, source.dtype), bias=0.0)
    result, _ = _dispatch(light, kernels, light.dtype, inner, mask, has_alpha, combine)
    return _colour.from_linear(result, source.dtype, target, options.bias, has_alpha, options.threads)


def _dispatch(
    source: Array,
    kernels: Sequence[Array],
    target: np.dtype[Any],
    options: Options,
    mask: npt.ArrayLike | None,
    has_alpha: bool,
    combine: str,
) -> tuple[Array, int]:
    """A plain filter, or one made of several."""
    if mask is not None or options.nan != "propagate" or BORDERS.get(options.border) == "renormalize":
        return _composed.normalised(_filter, source, kernels, target, options, mask, has_alpha)
    if has_alpha and sets_alpha_aside(source, kernels, target, options, lambda: _composed.is_opaque(source)):
        colour, saturated = _dispatch(source[..., :-1], kernels, target, options, None, False, combine)
        return _composed.beside_alpha(_filter, colour, source[..., -1:], kernels[0], target, options), saturated
    if len(kernels) > 1:
        return _composed.combined(_filter, source, kernels, target, options, combine)
    return _filter(source, kernels[0], target, options, has_alpha)


def _is_point(kernel: Array, options: Options) -> bool:
    """Whether each result is one pixel, that of its place: then colours under no opacity stay, too."""
    middle = tuple((n - 1) // 2 for n in kernel.shape)
    in_place = all(n % 2 for n in kernel.shape) and (options.anchor is None or tuple(options.anchor) == middle)
    return in_place and bool(kernel[middle]) and np.count_nonzero(kernel) == 1


def sets_alpha_aside(
    source: Array, kernels: Sequence[Array], target: np.dtype[Any], options: Options, is_opaque: Callable[[], bool]
) -> bool:
    """Whether colours are filtered as if there were no alpha: those of an opaque image only where that matters.

    Weighted by an opaque alpha they come out the same to the last bit, and faster, unless the way without alpha is one
    that alpha cannot go, or a bias is added: before the sum there, behind it here.
    """
    if len(kernels) > 1 or sums_to_zero(kernels[0]) or _is_point(kernels[0], options):
        return True
    if options.bias == 0 and source.dtype != np.float16 and target.kind in "iuf" and target != np.float16:
        found, _ = planned(kernels[0], source[..., :-1], target, options, False)
        if found.method != "fft" and found.accumulator in ("f4", "f8"):
            return False
    return is_opaque()


def _filter(
    source: Array, kernel: Array, target: np.dtype[Any], options: Options, has_alpha: bool
) -> tuple[Array, int]:
    """Filter spatial axes + channels; complex, half and boolean types by way of those that the kernels know."""
    if target.kind == "c":
        return _composed.of_complex(_filter, source, kernel, target, options), 0
    if source.dtype == np.float16:
        return _filter(source.astype(np.float32), kernel, target, options, has_alpha)
    if target == np.float16:
        result, _ = _filter(source, kernel, np.dtype(np.float32), options, has_alpha)
        return rounded_to(result, target), 0
    if target.kind == "b":
        result, _ = _filter(source, kernel, np.dtype(np.uint8), options, has_alpha)
        return result != 0, 0
    found, shape = planned(kernel, source, target, options, has_alpha)
    return _correlate.correlate(source, found, shape, options.threads)


def planned(
    kernel: Array, source: Array, target: np.dtype[Any], options: Options, has_alpha: bool
) -> tuple[_plan.Plan, tuple[int, ...]]:
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
    options: Options,
    has_alpha: bool,
) -> tuple[_plan.Plan, tuple[int, ...]]:
    check_options(options, target)
    taps = scaled(np.frombuffer(buffer, dtype).reshape(size), len(image) - 1, options)
    shape, origin = placed(taps.shape, image[:-1], options)
    whole = taps.dtype.kind in "iub" or bool((taps == np.rint(taps)).all())
    whole = whole and float(np.abs(taps.astype(np.float64)).sum()) < 2**63
    laid = np.ascontiguousarray(taps if options.correlate else np.flip(taps), np.int64 if whole else np.float64)
    request = _plan.Request(
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
    return _plan.plan(request), shape
