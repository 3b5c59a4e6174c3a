"""NMI of one pair of images after another, in the same memory."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .. import _ext
from .._check import Array, as_array, empty, thread_count
from .._slabs import run_slabs
from ..errors import ImgtoolError
from ._intensity import (
    PERCENTILES,
    Mask,
    Range,
    bin_count,
    bin_limits,
    image_array,
    intensity_range,
    is_single,
    levels,
    percentile_pair,
    pixel_mask,
)

Table = npt.NDArray[np.float64]

#: How the joint histogram is made, and the derivative with it; the order is that of the kernel's codes.
METHODS = ("exact", "half", "counts")

_SUB_BINS = range(1, 257)
# "half": at least so many in all, and per bin.
_HALF = (700, 6, 8)
# "counts": so many keep the cosine of the derivative to the exact one above 0.999 on real pairs, and 8-bit levels
# apart; beyond 64 bins, where the histogram becomes sparse, that takes more per bin.
_COUNTS = (470, 8, 10)
# What the words of the kernel that counts hold.
_MOST_CELLS, _MOST_SAMPLES = 1 << 24, 1 << 28
# Tables of floating point sums are added in this order, whatever the number of threads.
_MOST_SLABS = 8
_SLAB_SAMPLES = 1 << 16


@dataclass(frozen=True)
class Similarity:
    """What the joint histogram of two images says; entropies and mutual information in nats."""

    nmi: float
    mutual_information: float
    fixed_entropy: float
    moving_entropy: float
    joint_entropy: float
    samples: int  # pixels that count: inside the mask and finite in both images
    masked: int  # pixels outside the mask
    missing: int  # pixels inside that are NaN or infinite in either image
    fixed_range: Range
    moving_range: Range

    @property
    def overlap(self) -> float:
        """The share of all pixels that count."""
        return self.samples / (self.samples + self.masked + self.missing)

    def as_dict(self) -> dict[str, Any]:
        """All figures by name, for JSON."""
        return asdict(self) | {"overlap": self.overlap}


class Workspace:
    """NMI and its gradient for one pair of images after another, without new memory for each.

    `set_fixed` and `set_moving` take images of any real dtype and strides, read-only ones too, without copying them;
    changes made to them later are seen by the next `evaluate`. Results are the same to the last bit for any number of
    threads and any strides.

    Parameters
    ----------
    bins : int, 4 to 256
        Bins per image.
    method : {"exact", "half", "counts"}
        "exact": cubic windows on both images. "half": the fixed image is rounded to sub-bins, for the forces of dense
        deformations. "counts": both are, and the derivative is looked up, for optimisers, which sum it over pixels.
        Their errors are in docs/accuracy.md.
    sub_bins : int, 1 to 256, optional
        Sub-bins of the fixed image per bin; errors fall with their square or faster, tables grow with it. By default
        "half" has about 700 in all and at least 6 per bin, "counts" about 470 and at least 8, two more beyond 64 bins.
        Of the moving image, whose mean place in its sub-bins is counted too, "counts" has two fifths as many. Where an
        image of few levels, as of 8 bits, has one of them in a sub-bin, this lies at the level.
    percentiles : two floats
        The percentiles of each image between which its bins lie; intensities beyond share the outermost bins.
    threads : int, optional
        Default: every processor.

    Examples
    --------
    >>> import numpy as np, imgtool
    >>> y, x = np.mgrid[:64, :64]
    >>> workspace = imgtool.Workspace(bins=32, method="counts")
    >>> workspace.set_fixed(np.sin(x / 9) + np.cos(y / 7))
    >>> for shift in 0, 3, 6:
    ...     workspace.set_moving(np.sin((x + shift) / 9) + np.cos(y / 7))
    ...     print(round(workspace.evaluate().nmi, 2))
    1.46
    1.26
    1.17
    """

    def __init__(
        self,
        *,
        bins: int = 64,
        method: str = "exact",
        sub_bins: int | None = None,
        percentiles: tuple[float, float] = PERCENTILES,
        threads: int | None = None,
    ) -> None:
        if method not in METHODS:
            raise ImgtoolError(f"method {method!r} is unknown; use {', '.join(METHODS)}")
        self._bins, self._threads = bin_count(bins), thread_count(threads)
        low, high = bin_limits(self._bins)
        # Whole numbers add up to the same in any order, so each thread counts for itself.
        self._counting = method == "counts"
        if sub_bins is None:
            in_all, *least = _COUNTS if self._counting else _HALF
            sub_bins = min(max(round(in_all / (high - low)), least[self._bins > 64]), _SUB_BINS[-1])
        if isinstance(sub_bins, bool) or sub_bins not in _SUB_BINS:
            raise ImgtoolError(f"sub_bins must be a whole number from 1 to {_SUB_BINS[-1]}, not {sub_bins!r}")
        of_moving = max(1, 2 * sub_bins // 5)
        cells = ((high - low) * sub_bins + 2) * ((high - low) * of_moving + 2)
        if self._counting and cells >= _MOST_CELLS:
            raise ImgtoolError(
                f"{sub_bins} sub_bins are too many to count in with {self._bins} bins; leave sub_bins out, or use "
                f'method="half"'
            )
        self._percentiles, self._method = percentile_pair(percentiles), method
        lanes = self._threads if self._counting else _MOST_SLABS
        self._core = _ext.Workspace(self._bins, low, high, METHODS.index(method), sub_bins, of_moving, lanes)
        self._fixed: Array | None = None
        self._moving: Array | None = None
        self._mask: Mask | None = None
        self._evaluated = self._has_tables = False

    def set_fixed(
        self, image: npt.ArrayLike, *, mask: npt.ArrayLike | None = None, limits: tuple[float, float] | None = None
    ) -> None:
        """Compare with this image from now on.

        Parameters
        ----------
        image : array_like of numbers, any shape
        mask : array_like, optional
            Of the same shape; pixels where it is zero do not count, in both images.
        limits : two floats, optional
            The intensities between which its bins lie, instead of percentiles.
        """
        fixed = image_array(image, "fixed")
        if self._counting and fixed.size > _MOST_SAMPLES:
            raise ImgtoolError(
                f'fixed has {fixed.size} pixels, but method="counts" takes {_MOST_SAMPLES} at most; use method="half"'
            )
        self._mask = None if mask is None else pixel_mask(mask, fixed.shape, "mask")
        self._masked = 0 if self._mask is None else fixed.size - int(np.count_nonzero(self._mask))
        self._fixed_range = self._range(fixed, "fixed", limits)
        self._tell_levels(0, fixed, self._fixed_range)
        self._fixed, self._moving, self._evaluated = fixed, None, False

    def set_moving(
        self, image: npt.ArrayLike, *, limits: tuple[float, float] | None = None, name: str = "moving"
    ) -> None:
        """Compare the fixed image with this one, of the same shape; `limits` as for `set_fixed`."""
        if self._fixed is None:
            raise ImgtoolError("set_fixed comes before set_moving")
        moving = image_array(image, name)
        if moving.shape != self._fixed.shape:
            raise ImgtoolError(
                f"fixed has shape {self._fixed.shape} but {name} has {moving.shape}; NMI compares pixel by pixel, "
                f"so warp {name} onto the grid of fixed first"
            )
        self._moving_range, self._name = self._range(moving, name, limits), name
        self._tell_levels(1, moving, self._moving_range)
        single = is_single(self._fixed, moving)
        images = _ext.Image(self._fixed, self._mask, single), _ext.Image(moving, None, single)
        self._core.take(images[0], *self._mapping(self._fixed_range), images[1], *self._mapping(self._moving_range))
        self._moving, self._dtype, self._evaluated = moving, np.dtype(np.float32 if single else np.float64), False

    def evaluate(self) -> Similarity:
        """The similarity of the two images as they are now."""
        if self._moving is None:
            raise ImgtoolError("set_fixed and set_moving come before evaluate")
        size = self._moving.size
        slabs = -(-size // _SLAB_SAMPLES)
        slabs = min(slabs, self._threads if self._counting else _MOST_SLABS)
        # Whole blocks of the kernels.
        length = -(-size // (slabs * 256)) * 256

        def work(start: int, stop: int) -> None:
            self._core.add(start // length, start, stop)

        run_slabs(work, size, length, self._threads)
        self._core.tabulate(-(-size // length))
        samples, fixed, moving, joint, nmi = np.asarray(self._core.figures).tolist()
        if not samples:
            raise ImgtoolError(f"fixed and {self._name} have no pixel in common that is finite in both")
        self._evaluated, self._has_tables = True, False
        count = round(samples)
        return Similarity(
            nmi,
            fixed + moving - joint,
            fixed,
            moving,
            joint,
            count,
            self._masked,
            size - self._masked - count,
            self._fixed_range,
            self._moving_range,
        )

    @property
    def joint(self) -> Table:
        """The joint histogram (fixed bins, moving bins) of the last `evaluate`: a read-only view, not a copy."""
        return view(self._core.joint)

    @property
    def marginals(self) -> Table:
        """The histograms of fixed and moving, (2, bins), of the last `evaluate`: a read-only view, not a copy."""
        return view(self._core.marginals)

    def derivative(self, out: Array | None = None) -> Array:
        """The derivative of NMI with respect to each value of moving, per unit of intensity, in its shape.

        Pixels that do not count, and those at or beyond the ends of the range, get 0. `out` is a C-contiguous array of
        float32 or float64 to be used for it.
        """
        return self._differentiate(None, out)

    def gradient(self, field: npt.ArrayLike, out: Array | None = None) -> Array:
        """The derivative times each component of `field`, (components, *shape): by a displacement of each pixel."""
        components = as_array(field, "warped_gradient")
        shape = () if self._moving is None else self._moving.shape
        if components.ndim == 0 or components.shape[1:] != shape or components.dtype.kind == "c":
            raise ImgtoolError(
                f"warped_gradient has shape {components.shape} and dtype {components.dtype}; it must be real and "
                f"(components, *shape of warped), that is (n, {', '.join(map(str, shape))})"
            )
        if components.dtype == np.float16:
            components = components.astype(np.float32)
        return self._differentiate(components, out)

    def _differentiate(self, field: Array | None, out: Array | None) -> Array:
        if self._moving is None or not self._evaluated:
            raise ImgtoolError("evaluate comes before the derivative and the gradient")
        shape = self._moving.shape if field is None else field.shape
        dtype = self._dtype if field is None else np.result_type(self._dtype, field)
        if out is None:
            out = empty(shape, dtype)
        elif out.shape != shape or out.dtype not in (np.float32, np.float64) or not out.flags.carray:
            raise ImgtoolError(
                f"out has shape {out.shape} and dtype {out.dtype}; it must be writable, C-contiguous, float32 or "
                f"float64 and of shape {shape}"
            )
        if not out.size:
            return out
        if not self._has_tables:
            self._core.fill_tables()
            self._has_tables = True
        flat, size = out.reshape(-1), self._moving.size

        def work(start: int, stop: int) -> None:
            self._core.differentiate(field, flat, start, stop)

        run_slabs(work, size, _SLAB_SAMPLES, self._threads)
        return out

    def _range(self, image: Array, name: str, limits: Any) -> Range:
        if limits is None:
            return intensity_range(image, name, mask=self._mask, percentiles=self._percentiles, threads=self._threads)
        low, high = (float(limit) for limit in limits)
        if not (np.isfinite([low, high]).all() and high - low > 1e-300):
            raise ImgtoolError(f"limits of {name} must be two rising numbers, not {limits!r}")
        return Range(low, high)

    def _tell_levels(self, image: int, values: Array, limits: Range) -> None:
        """Put the sub-bins of an image of few levels, 8 bits for instance, at these."""
        if self._method == "exact":
            return
        origin, scale = self._mapping(limits)
        one, step = levels(values)
        self._core.set_levels(image, bin_limits(self._bins)[0] + (one - origin) * scale, step * scale)

    def _mapping(self, limits: Range) -> tuple[float, float]:
        low, high = bin_limits(self._bins)
        return limits.low, (high - low) / (limits.high - limits.low)


def view(table: Any) -> Table:
    array = np.asarray(table)
    array.flags.writeable = False
    return array
