"""From intensities to bin coordinates: what an image must be, and the robust range that its bins cover."""

from math import ceil, floor, gcd, inf, sqrt
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from .. import _ext
from .._check import Array, as_array
from .._slabs import run_slabs
from ..errors import ImgtoolError

BINS = range(4, 257)
# Intensities beyond these percentiles share the outermost bins, so that a few hot pixels do not spoil all others' bins.
PERCENTILES = (0.1, 99.9)
_SAMPLES = 1 << 11
_SLAB_SAMPLES = 1 << 16

Mask = npt.NDArray[np.bool_]


class Range(NamedTuple):
    """The intensities that are mapped to the lowest and the highest bin coordinate."""

    low: float
    high: float


def bin_count(bins: Any) -> int:
    """`bins`, checked."""
    if isinstance(bins, bool) or not isinstance(bins, int | np.integer) or bins not in BINS:
        raise ImgtoolError(f"bins must be a whole number from {BINS[0]} to {BINS[-1]}, not {bins!r}")
    return int(bins)


def percentile_pair(percentiles: Any) -> tuple[float, float]:
    """`percentiles`, checked."""
    try:
        low, high = (float(p) for p in percentiles)
    except (TypeError, ValueError):
        low = high = 0.0
    if not 0 <= low < high <= 100:
        raise ImgtoolError(f"percentiles must be two rising numbers from 0 to 100, not {percentiles!r}")
    return low, high


def real_image(values: npt.ArrayLike, name: str) -> Array:
    """`values` as float32 where that holds them exactly (8 and 16 bits, booleans), else float64."""
    array = image_array(values, name)
    return array.astype(np.result_type(array.dtype, np.float32), copy=False)


def image_array(values: npt.ArrayLike, name: str) -> Array:
    """`values` as an array that the kernels can read, of any real dtype and strides."""
    array = as_array(values, name)
    if array.dtype.kind == "c":
        raise ImgtoolError(f"{name} is complex; take its real part or its magnitude first")
    if not array.size:
        raise ImgtoolError(f"{name} has shape {array.shape} and so no pixels")
    return array.astype(np.float32) if array.dtype == np.float16 else array


def is_single(*arrays: Array) -> bool:
    """Whether float32 holds the values of all these arrays exactly."""
    return np.result_type(np.float32, *arrays) == np.float32


def pixel_mask(mask: npt.ArrayLike, shape: tuple[int, ...], name: str) -> Mask:
    """`mask` as booleans, checked to be of this shape and not empty."""
    keep = as_array(mask, name).astype(bool, copy=False)
    if keep.shape != shape:
        raise ImgtoolError(f"{name} has shape {keep.shape} but the image it belongs to has {shape}")
    if not keep.any():
        raise ImgtoolError(f"{name} is zero everywhere; it must be nonzero at the pixels that count")
    return keep


def bin_limits(bins: int) -> tuple[float, float]:
    """The interval of bin coordinates: a cubic window inside it touches no bin but 0 ... bins - 1."""
    # Below 6 bins there is no room for the margin of a whole bin that keeps the outermost windows complete.
    margin = 2.0 if bins >= 6 else 1.0
    return margin, bins - 1 - margin


class _Bracket(NamedTuple):
    """Two intensities, and the share of samples that lies beyond each, as far as a few samples can tell."""

    low: float
    high: float
    share: float


_EVERYTHING = _Bracket(inf, inf, 1.0)


class _Tails:
    """The finite samples below one value and above another, so that order statistics near both ends are known.

    Counting and collecting is one pass; a sort of the whole image would take ten times as long.
    """

    def __init__(self, image: _ext.Image, bracket: _Bracket, threads: int) -> None:
        dtype = np.dtype(np.float32 if image.single else np.float64)
        length = -(-image.size // threads)
        # Twice what is expected; the kernel asks for a strip of 64 to spare.
        room = min(int(2 * bracket.share * image.size) + 1024, length) + 64
        below, above = (np.empty((threads, room), dtype) for _ in range(2))

        def work(start: int, stop: int) -> tuple[int, ...] | None:
            lane = start // length
            return _ext.find_tails(image, bracket.low, bracket.high, below[lane], above[lane], start, stop)

        found = [counts for counts in run_slabs(work, image.size, length, threads) if counts is not None]
        self.complete = len(found) == -(-image.size // length)
        totals: list[int] = np.sum([(0,) * 5, *found], axis=0).tolist()
        self.finite, _, _, self._low_ties, self._high_ties = totals
        self._below = np.concatenate([below[:0, 0], *(below[lane, : n[1]] for lane, n in enumerate(found))])
        self._above = np.concatenate([above[:0, 0], *(above[lane, : n[2]] for lane, n in enumerate(found))])
        self._low, self._high = bracket.low, bracket.high

    def value(self, rank: int) -> float | None:
        """The finite value with so many smaller ones or equals before it, if it is known."""
        above = self.finite - len(self._above)
        for tail, first in ((self._below, 0), (self._above, above)):
            if 0 <= rank - first < len(tail):
                # In place: what is sorted out for one rank need not be for the next.
                tail.partition(rank - first)
                return float(tail[rank - first])
        if len(self._below) <= rank < len(self._below) + self._low_ties:
            return self._low
        return self._high if above - self._high_ties <= rank < above else None

    def percentile(self, percentile: float) -> float | None:
        """The percentile, linear between neighbours, if both are known."""
        position = percentile / 100 * (self.finite - 1)
        rank = floor(position)
        one, other = self.value(rank), self.value(min(rank + 1, self.finite - 1))
        if one is None or other is None:
            return None
        return one + (other - one) * (position - rank)


def intensity_range(
    values: Array,
    name: str,
    *,
    mask: Mask | None = None,
    percentiles: tuple[float, float] = PERCENTILES,
    threads: int = 1,
) -> Range:
    """The range between two percentiles of the finite ones among `values`; `name` is for the error message.

    Where both percentiles coincide (sparse images) it is that from the least to the greatest value.
    """
    image = _ext.Image(values, mask, is_single(values))
    tails = _Tails(image, _bracket(values, mask, percentiles), threads)
    ends = [tails.percentile(percentile) for percentile in percentiles] if tails.finite else [None]
    if not tails.complete or None in ends or ends[0] == ends[1]:
        tails = _Tails(image, _EVERYTHING, threads)
        if not tails.finite:
            raise ImgtoolError(f"{name} has no finite pixel to compare; check its values and its mask")
        ends = [tails.percentile(percentile) for percentile in percentiles]
    low, high = (0.0 if end is None else end for end in ends)
    if low == high:
        low, high = (tails.percentile(percentile) or 0.0 for percentile in (0, 100))
    # A range so narrow that bins per intensity overflow is a constant image, too.
    if high - low <= 1e-300:
        raise ImgtoolError(
            f"{name} is constant (every pixel is {low:g}); mutual information needs two intensities or more"
        )
    if not np.isfinite(high - low):
        raise ImgtoolError(f"{name} has pixels as large as the largest float64 number; scale it down first")
    return Range(low, high)


def _bracket(values: Array, mask: Mask | None, percentiles: tuple[float, float]) -> _Bracket:
    """Intensities that the percentiles lie below and above, as far as a few samples can tell."""
    if values.size <= 2 * _SAMPLES:
        return _EVERYTHING
    step = _coprime(values.size // _SAMPLES, values.shape)
    sample = _every(values, step) if mask is None else _every(values, step)[_every(mask, step)]
    sample = np.sort(sample[np.isfinite(sample)])
    if sample.size < _SAMPLES // 8:
        return _EVERYTHING
    ranks = []
    for percentile, direction in zip(percentiles, (1, -1), strict=True):
        share = percentile / 100
        # Four standard deviations of what the sample may be wrong by.
        doubt = 4 * sqrt(sample.size * share * (1 - share)) + 4
        ranks.append(share * (sample.size - 1) + direction * doubt)
    low, high = ceil(ranks[0]), floor(ranks[1])
    if not 0 <= low < high < sample.size:
        return _EVERYTHING
    beyond = max(low + 1, sample.size - high) / sample.size
    return _Bracket(float(sample[low]), float(sample[high]), beyond)


def levels(values: Array) -> tuple[float, float]:
    """One of the intensities of an image, and the distance of each to the next if there are such steps, else 0."""
    if values.dtype.kind in "biu":
        return 0.0, 1.0
    sample = np.unique(_every(values, _coprime(values.size // 512, values.shape)).astype(np.float64))
    sample = sample[np.isfinite(sample)]
    if sample.size < 2:
        return 0.0, 0.0
    with np.errstate(all="ignore"):
        above = sample - sample[0]
        # From the widest distance, so that rounding does not add up.
        step = above[-1] / np.rint(above[-1] / np.diff(sample).min())
        whole = np.abs(above / step - np.rint(above / step)).max() < 0.01
    return float(sample[0]), float(step) if whole else 0.0


def _coprime(step: int, shape: tuple[int, ...]) -> int:
    """`step` or a little more; with a divisor in common with the row length it would see some columns only."""
    step = max(step, 1)
    while shape and gcd(step, shape[-1]) > 1:
        step += 1
    return step


def _every(values: Array, step: int) -> Array:
    """Every so many-th value, counted in C order."""
    every: Array = (values.reshape(-1) if values.flags.c_contiguous else values.flat)[::step]
    return every


def to_bins(values: Array, limits: Range, onto: tuple[float, float], threads: int) -> Array:
    """`values` (floating point) with `limits` mapped onto the interval `onto` and held in it, flat, of their dtype.

    NaN and infinite values become NaN.
    """
    flat = np.ascontiguousarray(values).reshape(-1)
    out = np.empty_like(flat)
    scale = (onto[1] - onto[0]) / (limits.high - limits.low)

    def work(start: int, stop: int) -> None:
        _ext.bin_coordinates(flat, limits.low, scale, *onto, out, start, stop)

    run_slabs(work, flat.size, _SLAB_SAMPLES, threads)
    return out
