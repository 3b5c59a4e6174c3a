"""Filters made of several plain ones: complex numbers, magnitudes, masks, and alpha that is left alone.

They all work on whole images in floating point and get the plain filter as their first argument.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ._check import Array, alpha_one, as_array, rounded_to, saturation
from ._options import BORDERS, Options, check_options, scaled, sums_to_zero
from .errors import ImgtoolError

#: filter(source, kernel, target, options, has_alpha) -> result and the number of saturated values
Filter = Callable[[Array, Array, "np.dtype[Any]", Options, bool], tuple[Array, int]]
COMBINE = ("magnitude", "maximum")


def precise(source: np.dtype[Any], target: np.dtype[Any]) -> np.dtype[Any]:
    """The type in which results are put together before they are rounded to the target's."""
    if target.kind == "c":
        return np.dtype(np.complex128)
    return np.dtype(np.float32 if source == target == np.float32 else np.float64)


def of_complex(run: Filter, source: Array, kernel: Array, target: np.dtype[Any], options: Options) -> Array:
    """The real filters of real and imaginary parts, put together part by part: infinity times 1j would hold NaN."""
    check_options(options, target)
    taps = scaled(kernel, source.ndim - 1, options)
    if options.correlate:
        taps = taps.conj()
    part = np.dtype(f"f{target.itemsize // 2}")
    plain = options._replace(scale=1.0, normalize=False, bias=0.0)
    cval = complex(options.cval)
    total: Array | None = None
    kernels = [(taps.real, 0), (taps.imag, 1)] if taps.dtype.kind == "c" else [(taps, 0)]
    images = [(source.real, cval.real, 0), (source.imag, cval.imag, 1)]
    for weights, turn in kernels:
        for pixels, beyond, quarter in images if source.dtype.kind == "c" or cval.imag else images[:1]:
            once = options.bias if total is None else 0.0
            term, _ = run(pixels, weights, part, plain._replace(cval=beyond, bias=once), False)
            if total is None:
                total = np.zeros(term.shape, target)
            if turn + quarter == 1:
                total.imag += term
            else:
                total.real += term if turn == 0 else -term
    assert total is not None
    return total


def combined(
    run: Filter, source: Array, kernels: Sequence[Array], target: np.dtype[Any], options: Options, combine: str
) -> tuple[Array, int]:
    """The magnitude (the root of the sum of squares) or the maximum of the results of several kernels."""
    if target.kind == "c":
        raise ImgtoolError("a magnitude of several kernels needs a real image; take one direction at a time, such as x")
    if combine not in COMBINE:
        raise ImgtoolError(f"combine {combine!r} is unknown; use one of {', '.join(COMBINE)}")
    function = np.hypot if combine == "magnitude" else np.maximum
    kind, inner = precise(source.dtype, target), options._replace(bias=0.0)
    total, _ = run(source, kernels[0], kind, inner, False)
    for kernel in kernels[1:]:
        function(total, run(source, kernel, kind, inner, False)[0], out=total)
    if options.bias:
        total += options.bias
    return rounded_to(total, target), saturation(total, target)


def is_opaque(source: Array) -> bool:
    """Whether the last channel, alpha, is opaque everywhere."""
    alpha, one = source[..., -1], alpha_one(source.dtype)
    return not alpha.size or bool(alpha.flat[0] == one and alpha.min() == one == alpha.max())


def beside_alpha(
    run: Filter, colour: Array, alpha: Array, kernel: Array, target: np.dtype[Any], options: Options
) -> Array:
    """Alpha that a filter leaves as it is, where the result `colour` of that filter lies, which it joins."""
    if options.shape == "same":
        moved = rounded_to(alpha.astype(np.float64), target)
    else:
        # A kernel of a single 1, of the same size, moves it to its place; beyond a constant border it is opaque.
        point = np.zeros(kernel.shape)
        point[tuple((n - 1) // 2 for n in kernel.shape)] = 1
        plain = options._replace(
            cval=alpha_one(alpha.dtype), correlate=False, scale=1.0, bias=0.0, normalize=False, method="direct"
        )
        moved, _ = run(alpha, point, target, plain, False)
    return np.concatenate([colour, moved], axis=-1)


def normalised(
    run: Filter,
    source: Array,
    kernels: Sequence[Array],
    target: np.dtype[Any],
    options: Options,
    mask: npt.ArrayLike | None,
    has_alpha: bool,
) -> tuple[Array, int]:
    """Sums over valid pixels only, scaled by the kernel's sum over that of the weights on them.

    Normalised convolution (Knutsson & Westin 1993): the certainty of a pixel is 0 or 1, times alpha for colours.
    """
    check_options(options, target)
    if len(kernels) > 1:
        raise ImgtoolError("mask, nan=ignore and border=renormalize take one kernel; choose a direction, such as x")
    taps = scaled(kernels[0], source.ndim - 1, options)
    if sums_to_zero(taps):
        raise ImgtoolError("the kernel's sum is 0, so sums cannot be scaled by it; leave out mask, nan and renormalize")
    whole = taps.sum().conj() if options.correlate else taps.sum()
    kind = precise(source.dtype, target)
    colour, alpha = (source[..., :-1], source[..., -1:]) if has_alpha else (source, None)
    inner, counted = without_missing(options)

    def share_of(certainty: Array) -> Array:
        """1 over the share of the kernel's weight that lies on certain pixels; NaN where that is none."""
        # A complex kernel has complex weights.
        weights, _ = run(
            certainty,
            taps,
            np.dtype(taps.dtype if taps.dtype.kind == "c" else np.float64),
            inner._replace(cval=counted),
            False,
        )
        return _inverse_share(weights, taps, whole)

    valid = _valid(colour, options, mask)
    opacity = None if alpha is None or is_opaque(source) else alpha / alpha_one(source.dtype)
    values = np.where(valid, colour, colour.dtype.type(0)).astype(kind)
    certainty = valid.view(np.uint8) if opacity is None else np.where(valid, opacity, 0.0)
    if opacity is not None:
        values *= certainty.astype(kind)
    total, _ = run(values, taps, kind, inner, False)
    total = total * share_of(certainty) + options.bias
    result, saturated = rounded_to(total, target), saturation(total, target)
    if alpha is None:
        return result, saturated
    known = _valid(alpha, options, mask)
    covered, _ = run(
        np.where(known, alpha / alpha_one(source.dtype), 0.0),
        taps,
        np.dtype(np.float64),
        inner._replace(cval=counted),
        False,
    )
    cover = np.clip(covered * share_of(known.view(np.uint8)) / whole, 0, 1)
    cover[np.isnan(cover)] = 0  # nothing is known there: transparent
    cover[cover > 1 - 1e-12] = 1
    cover *= alpha_one(source.dtype)
    return np.concatenate([result, rounded_to(cover, target)], axis=-1), saturated + saturation(cover, target)


def without_missing(options: Options) -> tuple[Options, float]:
    """Options for a plain filter of pixels of which the missing ones are 0, and what those beyond the edge count."""
    plain = options._replace(bias=0.0, nan="propagate", scale=1.0, normalize=False)
    if BORDERS[options.border] == "renormalize" or (
        BORDERS[options.border] == "constant" and options.nan == "ignore" and np.isnan(options.cval)
    ):
        return plain._replace(border="constant", cval=0.0), 0.0
    return plain, 1.0


def _valid(source: Array, options: Options, mask: npt.ArrayLike | None) -> Array:
    """Which pixels count, as bool; for all channels at once unless one may be NaN alone."""
    valid = np.ones((*source.shape[:-1], 1), bool)
    if mask is not None:
        given = as_array(mask, "mask")
        if given.shape != source.shape[:-1]:
            raise ImgtoolError(f"mask has shape {given.shape} but the image has {source.shape[:-1]}")
        valid[..., 0] = given != 0
        if valid.size and not valid.any():
            raise ImgtoolError("the mask is 0 everywhere, so no pixel is valid; give one with pixels above 0")
    if options.nan == "ignore" and source.dtype.kind in "fc":
        valid = valid & ~np.isnan(source)
    return valid


def _inverse_share(weights: Array, taps: Array, whole: complex) -> Array:
    noise = 1e-12 * np.abs(taps.astype(complex)).sum()
    few = np.abs(weights) <= noise
    # Where all weights count, the factor is 1 itself: rounding must not move a tie.
    all_there = np.abs(weights - whole) <= noise
    with np.errstate(divide="ignore", invalid="ignore"):
        factor = whole / weights
    factor[all_there] = 1
    factor[few] = np.nan
    return np.asarray(factor)
