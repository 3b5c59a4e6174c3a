"""Normalised mutual information and its gradient, on arrays.

The joint histogram has cubic B-spline Parzen windows on both images; value and gradient come from the same table. A
histogram is made of bin coordinates: an image's intensities, mapped once and affinely to [2, bins - 3].
"""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from . import _ext
from ._check import Array, as_array, thread_count
from ._slabs import run_slabs
from .errors import ImgtoolError

BINS = range(4, 257)
# Intensities beyond these percentiles share the outermost bins, so that a few hot pixels do not spoil all others' bins.
PERCENTILES = (0.1, 99.9)
# Percentiles are taken of about this many evenly spread pixels: their own spread is then far below the width of a bin.
_PERCENTILE_SAMPLES = 1 << 16
_SLAB_SAMPLES = 1 << 16

Table = npt.NDArray[np.float64]


class Range(NamedTuple):
    """The intensities that are mapped to the lowest and the highest bin coordinate."""

    low: float
    high: float


class Score(NamedTuple):
    """NMI, and the table whose windowed sum is its derivative with respect to a warped value in bin coordinates."""

    nmi: float
    slopes: Table


def bin_limits(bins: int) -> tuple[float, float]:
    """The interval of bin coordinates: a cubic window inside it touches no bin but 0 ... bins - 1."""
    # Below 6 bins there is no room for the margin of a whole bin that keeps the outermost windows complete.
    margin = 2.0 if bins >= 6 else 1.0
    return margin, bins - 1 - margin


def intensity_range(values: Array, name: str) -> Range:
    """The robust range of the finite ones among `values` (floating point); `name` is for the error message.

    The range is that of `PERCENTILES`, or from the least to the greatest value where these coincide.
    """
    flat = values.reshape(-1)
    stride = flat.size // _PERCENTILE_SAMPLES
    # A stride with a divisor in common with the row length would see some columns only.
    while stride > 1 and np.gcd(stride, values.shape[-1]) > 1:
        stride += 1
    sample = flat[:: max(stride, 1)]
    sample = sample[np.isfinite(sample)]
    # Numbers near the largest of their type overflow in the percentiles; their range is refused below.
    with np.errstate(over="ignore", invalid="ignore"):
        low, high = (float(p) for p in np.percentile(sample, PERCENTILES)) if sample.size else (0.0, 0.0)
    if low == high:
        finite = flat[np.isfinite(flat)]
        if not finite.size:
            raise ImgtoolError(f"{name} has no finite pixel to compare; check its values and its mask")
        low, high = float(finite.min()), float(finite.max())
    # A range so narrow that bins per intensity overflow is a constant image, too.
    if high - low <= 1e-300:
        raise ImgtoolError(
            f"{name} is constant (every pixel is {low:g}); mutual information needs two intensities or more"
        )
    if not np.isfinite(high - low):
        raise ImgtoolError(f"{name} has pixels as large as the largest float64 number; scale it down first")
    return Range(low, high)


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


def joint_histogram(fixed: Array, warped: Array, bins: int, threads: int) -> Table:
    """The joint histogram (fixed bins, warped bins) of flat bin coordinates; its sum is the number of samples."""

    def work(start: int, stop: int) -> Table:
        table = np.zeros((bins, bins))
        _ext.joint_histogram(fixed, warped, table, start, stop)
        return table

    return total(run_slabs(work, fixed.size, _SLAB_SAMPLES, threads))


def total(partial_sums: list[Table]) -> Table:
    """The sum over slabs, added in slab order: it does not depend on the number of threads."""
    out = partial_sums[0]
    for table in partial_sums[1:]:
        out += table
    return out


def score(table: Table) -> Score:
    """NMI = (H(F) + H(W)) / H(F,W) of a joint histogram, and the slope table of Modat et al. (2010) with it.

    With p = table / N and log 0 := 0, the derivative of NMI with respect to one warped value w at fixed value f is

        1 / (H(F,W) N) * sum_rs B3(f - r) B3'(w - s) (NMI log p_rs - log p_r - log p_s).

    The sum over s of B3'(w - s) is 0, so log p_r drops out; what remains beside the windows is the slope table.
    """
    count = table.sum()
    joint = table / count
    fixed, warped = joint.sum(axis=1), joint.sum(axis=0)
    log_joint, log_fixed, log_warped = _log(joint), _log(fixed), _log(warped)
    joint_entropy = -np.vdot(joint, log_joint)
    value = -(np.dot(fixed, log_fixed) + np.dot(warped, log_warped)) / joint_entropy
    return Score(float(value), (value * log_joint - log_warped) / (joint_entropy * count))


def _log(p: Table) -> Table:
    return np.log(np.where(p > 0, p, 1.0))


def slopes(fixed: Array, warped: Array, table: Table, held: tuple[float, float], threads: int) -> Array:
    """The derivative of NMI with respect to each of the flat `warped` bin coordinates, from a slope table.

    Values at or beyond the limits `held` get 0: they were clamped, and moving them changes nothing.
    """
    out = np.empty_like(warped)
    table = table.astype(warped.dtype, copy=False)

    def work(start: int, stop: int) -> None:
        _ext.sample_slopes(fixed, warped, table, *held, out, start, stop)

    run_slabs(work, fixed.size, _SLAB_SAMPLES, threads)
    return out


def nmi(
    fixed: npt.ArrayLike,
    moving: npt.ArrayLike,
    *,
    bins: int = 64,
    mask: npt.ArrayLike | None = None,
    threads: int | None = None,
) -> float:
    """Normalised mutual information of two images on one grid.

    NMI = (H(F) + H(M)) / H(F,M) lies in [1, 2] and is symmetric [1]_. Intensities are mapped affinely to `bins` bins,
    from the 0.1st to the 99.9th percentile of each image; what lies beyond shares the outermost bins. Pixels that are
    NaN or infinite in either image do not count.

    Parameters
    ----------
    fixed, moving : array_like of numbers, any shape, the same for both
    bins : int, 4 to 256
        Bins per image.
    mask : array_like, optional
        Of the same shape; pixels where it is zero do not count.
    threads : int, optional
        Default: every processor. The result does not depend on it.

    Returns
    -------
    float

    Raises
    ------
    ImgtoolError
        If the shapes differ, an image is constant, or no pixel counts.

    References
    ----------
    .. [1] C. Studholme, D. L. G. Hill, D. J. Hawkes, "An overlap invariant entropy measure of 3D medical image
       alignment", Pattern Recognition 32, 71-86 (1999).

    Examples
    --------
    >>> import numpy as np, imgtool
    >>> ramp = np.arange(4096.0).reshape(64, 64)
    >>> bool(np.isclose(imgtool.nmi(ramp, 5 - 3 * ramp), imgtool.nmi(ramp, ramp)))
    True
    >>> shuffled = np.random.default_rng(0).permutation(ramp.ravel()).reshape(64, 64)
    >>> imgtool.nmi(ramp, shuffled) < 1.05 < 1.4 < imgtool.nmi(ramp, ramp)
    True
    """
    pair = _Pair(fixed, moving, "moving", bins, mask, threads)
    return score(pair.table).nmi


def nmi_gradient(
    fixed: npt.ArrayLike,
    warped: npt.ArrayLike,
    warped_gradient: npt.ArrayLike,
    *,
    bins: int = 64,
    mask: npt.ArrayLike | None = None,
    threads: int | None = None,
) -> tuple[float, Array]:
    """Normalised mutual information and its derivative with respect to a displacement of each pixel.

    The gradient of pixel i is dNMI/dw_i * warped_gradient[:, i]: moving the position at which pixel i is sampled along
    it makes NMI **rise**. The kernel of NiftyReg [1]_, from which this one descends, returns the negative. The
    derivative holds the intensity mapping fixed and is in NMI per unit of intensity; pixels that are masked, NaN,
    infinite, or at or beyond the ends of the intensity range get 0.

    Parameters
    ----------
    fixed, warped : array_like of numbers, any shape, the same for both
    warped_gradient : array_like, (components, *shape)
        The spatial gradient of `warped`, one component per axis, in any order.
    bins, mask, threads
        As for `imgtool.nmi`.

    Returns
    -------
    value : float
        The same as `imgtool.nmi(fixed, warped)`.
    gradient : ndarray, shaped like `warped_gradient`
        float32 if no input needs more, else float64.

    Raises
    ------
    ImgtoolError
        As for `imgtool.nmi`, or if the shape of `warped_gradient` does not fit.

    References
    ----------
    .. [1] M. Modat et al., "Fast free-form deformation using graphics processing units", Computer Methods and Programs
       in Biomedicine 98, 278-284 (2010).

    Examples
    --------
    >>> import numpy as np, imgtool
    >>> y, x = np.mgrid[:64, :64]
    >>> fixed, warped = np.sin(x / 9) + np.cos(y / 7), np.sin((x + 2) / 9) + np.cos(y / 7)
    >>> value, gradient = imgtool.nmi_gradient(fixed, warped, np.gradient(warped))
    >>> gradient.shape
    (2, 64, 64)
    >>> bool(gradient[1].sum() < 0)  # sampling further to the left makes warped more like fixed
    True
    """
    pair = _Pair(fixed, warped, "warped", bins, mask, threads)
    field = as_array(warped_gradient, "warped_gradient")
    if field.shape[1:] != pair.shape or field.ndim == 0:
        raise ImgtoolError(
            f"warped_gradient has shape {field.shape}; it must be (components, *shape of warped), "
            f"that is (n, {', '.join(map(str, pair.shape))})"
        )
    value, table = score(pair.table)
    derivative = slopes(pair.fixed, pair.moving, table * pair.bins_per_intensity, bin_limits(bins), pair.threads)
    derivative = derivative.reshape(pair.shape)
    gradient = np.empty(field.shape, np.result_type(derivative, field))
    for component, out in zip(field, gradient, strict=True):
        with np.errstate(invalid="ignore"):
            np.multiply(component, derivative, out=out)
        # A masked or missing pixel often has no gradient either, and NaN * 0 is not 0.
        if not np.isfinite(component).all():
            out[derivative == 0] = 0
    return value, gradient


class _Pair:
    """Two images on one grid as flat bin coordinates, and their joint histogram."""

    def __init__(
        self,
        fixed: npt.ArrayLike,
        moving: npt.ArrayLike,
        moving_name: str,
        bins: int,
        mask: npt.ArrayLike | None,
        threads: int | None,
    ) -> None:
        self.threads = thread_count(threads)
        bins = bin_count(bins)
        first, second = real_image(fixed, "fixed"), real_image(moving, moving_name)
        if first.shape != second.shape:
            raise ImgtoolError(
                f"fixed has shape {first.shape} but {moving_name} has {second.shape}; NMI compares pixel by pixel, "
                f"so warp {moving_name} onto the grid of fixed first"
            )
        self.shape = first.shape
        dtype = np.result_type(first, second)
        keep = None if mask is None else pixel_mask(mask, self.shape, "mask")
        flat = []
        for values, name in ((first, "fixed"), (second, moving_name)):
            values = values.astype(dtype, copy=False)
            if keep is not None:
                values = np.where(keep, values, dtype.type(np.nan))
            limits = intensity_range(values, name)
            flat.append(to_bins(values, limits, bin_limits(bins), self.threads))
        low, high = bin_limits(bins)
        self.bins_per_intensity = (high - low) / (limits.high - limits.low)
        self.fixed, self.moving = flat
        self.table = joint_histogram(self.fixed, self.moving, bins, self.threads)
        if not self.table.any():
            raise ImgtoolError(f"fixed and {moving_name} have no pixel in common that is finite in both")


def bin_count(bins: Any) -> int:
    """`bins`, checked."""
    if isinstance(bins, bool) or not isinstance(bins, int | np.integer) or bins not in BINS:
        raise ImgtoolError(f"bins must be a whole number from {BINS[0]} to {BINS[-1]}, not {bins!r}")
    return int(bins)


def real_image(values: npt.ArrayLike, name: str) -> Array:
    """`values` as float32 where that holds them exactly (8 and 16 bits, booleans), else float64."""
    array = as_array(values, name)
    if array.dtype.kind == "c":
        raise ImgtoolError(f"{name} is complex; take its real part or its magnitude first")
    if not array.size:
        raise ImgtoolError(f"{name} has shape {array.shape} and so no pixels")
    return array.astype(np.result_type(array.dtype, np.float32), copy=False)


def pixel_mask(mask: npt.ArrayLike, shape: tuple[int, ...], name: str) -> npt.NDArray[np.bool_]:
    """`mask` as booleans, checked to be of this shape and not empty."""
    keep = as_array(mask, name).astype(bool, copy=False)
    if keep.shape != shape:
        raise ImgtoolError(f"{name} has shape {keep.shape} but the image it belongs to has {shape}")
    if not keep.any():
        raise ImgtoolError(f"{name} is zero everywhere; it must be nonzero at the pixels that count")
    return keep
