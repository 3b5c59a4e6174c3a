"""Which algorithm correlates an image with a kernel: one result, several ways."""

from functools import cached_property
from math import gcd, prod
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np

from . import _ext
from ._check import Array, alpha_one
from ._fixed import fixed_point
from .errors import ImgtoolError

if TYPE_CHECKING:
    ByRows: TypeAlias = _ext.Correlation | _ext.Box | _ext.Pairs  # a kernel made ready to work row after row

METHODS = ("auto", "direct", "separable", "box", "fft")
BORDER_CODES = {"reflect": 0, "mirror": 1, "nearest": 2, "wrap": 3, "constant": 4}  # as in ext/border.pxd

# Nanoseconds per output value of one channel, as tests/bench/cutover.py measures them; only their ratios matter.
_TAP = {"f4": 0.0145, "f8": 0.030, "i8": 2.0, "i4": 0.0205}  # a multiply-add of the direct method
_PASS_TAP = {"f4": 0.023, "f8": 0.042, "i8": 2.0}  # one of a separable kernel
_BOX = {"f4": 0.5, "f8": 1.0, "w2": 0.05, "w4": 0.3}  # a value of a box filter
_BOX_DOUBLING = {"f4": 0.05, "f8": 0.1, "w2": 0.065, "w4": 0.06}  # and for each doubling of its width
_VALUE = {"f4": 0.3, "f8": 0.45, "i8": 4.0, "i4": 0.26}  # reading, converting and storing
_TRANSFORM = {"f4": 0.20, "f8": 0.37}  # a point of a tile, per doubling of the tile's side, all included
_BEYOND_CACHE = 1.6  # times as much for tiles of more than 256 x 256
_TILES = (32, 64, 128, 256, 512, 1024, 2048, 4096)

# Before it is rounded an integer result of fractions differs from the exact sum by less.
_EXACT = 1e-3
# For a transform's errors that is four times a bound of their standard deviation: of 3e8 values one is expected at most
# that errs by more and has a tie in between.
_DEVIATION = _EXACT / 4


class Request(NamedTuple):
    """What is asked of a correlation: everything that decides about the algorithm but the pixels."""

    kernel: bytes  # float64, or int64 for whole numbers, as laid on the image without flipping
    whole: bool
    shape: tuple[int, ...]
    source: np.dtype[Any]
    target: np.dtype[Any]
    image: tuple[int, ...]  # of the source: axes, then channels
    origin: tuple[int, ...]  # how far the kernel reaches before an output pixel's place, per axis
    border: str
    cval: float
    bias: float
    has_alpha: bool
    method: str


class _Found(NamedTuple):
    """The fields of a `Plan`; tuples themselves cannot keep what is made of them later."""

    request: Request
    method: str
    # "f4", "f8", "i8": exact in 128 bits, "i4": fixed point in twice 32 bits, "w2", "w4": a box's sums in 16 or 32 bits
    accumulator: str
    reason: str
    nanoseconds: float  # expected per output value
    factors: tuple[Array, Array] | None = None  # down and across
    parts: "tuple[Plan, Plan] | None" = None  # the planes' filter, and the one along the first axis after it
    tile: int = 0
    single: bool = False  # a box: whether sums are weighed in float32
    fits: bool = False  # and whether the result holds every mean
    tolerance: float = 0.0  # for the transform of 16-bit integers in float32: the largest deviation of its errors


class Plan(_Found):
    """An algorithm for a request, with its kernel made ready."""

    @cached_property
    def taps(self) -> Array:
        values = np.frombuffer(self.request.kernel, np.int64 if self.request.whole else np.float64)
        return values.reshape(self.request.shape)

    def correlation(self, top: int, left: int) -> "ByRows":
        """The kernel of a method that works by rows, laid at this place."""
        request = self.request
        if self.accumulator == "i4":
            found = fixed_point(self.taps, request.bias, _EXACT)
            assert found is not None
            return _ext.Pairs(*found, BORDER_CODES[request.border], int(request.cval), top, left)
        opaque = alpha_one(request.source) if request.has_alpha else 0.0
        border = BORDER_CODES[request.border]
        if self.method == "box":
            height, width = self.taps.shape
            weight, single = float(self.taps.flat[0]), self.single
            word = {"w2": 2, "w4": 4}.get(self.accumulator, 0)
            return _ext.Box(
                height,
                width,
                weight,
                single,
                border,
                request.cval,
                request.bias,
                opaque,
                top,
                left,
                word,
                self.fits,
            )
        kernel = self.taps.reshape((-1, *((1, *self.taps.shape)[-2:])))
        across = 0
        shape = kernel.shape
        taps = kernel.ravel()
        if self.factors is not None:
            down, along = self.factors
            taps, across, shape = np.concatenate([down, along]), along.size, (1, down.size, 1)
        exact = self.accumulator == "i8"
        number = int if exact else float
        return _ext.Correlation(
            taps if exact else taps.astype(np.float64),
            shape,
            across,
            self.accumulator,
            border,
            number(request.cval),
            number(request.bias),
            opaque,
            top,
            left,
        )

    def flops(self, values: int) -> float:
        """Additions and multiplications for an output of so many values."""
        if self.method == "fft":
            # Four transforms of n points each way at 8.5 n log4(n) and a product, for two tiles of real values.
            step = (self.tile - self.taps.shape[0] + 1) * (self.tile - self.taps.shape[1] + 1)
            doublings = self.tile.bit_length() - 1
            return float(values / step * self.tile**2 * (8.5 * doublings + 3))
        if self.parts is not None:
            return self.parts[0].flops(values) + self.parts[1].flops(values)
        if self.method == "box":
            return float(values * (2 * self.taps.shape[1].bit_length() + 4))
        taps = self.taps.size if self.factors is None else self.factors[0].size + self.factors[1].size
        return 2.0 * taps * values

    def memory(self, shape: tuple[int, ...], channels: int) -> int:
        """Bytes of working memory for each thread, beside input and output."""
        itemsize = {"w2": 2, "f4": 4, "w4": 4, "i4": 4, "f8": 8, "i8": 16}[self.accumulator]
        if self.parts is not None:
            return prod(shape) * channels * itemsize + self.parts[0].memory(shape[1:], channels)
        if self.method == "fft":
            return 4 * self.tile**2 * itemsize
        height, width = (1, *self.taps.shape)[-2:]
        if self.method == "box":
            rows = 5 if self.accumulator in ("w2", "w4") else 2 * height + 5
            return int(rows * (shape[-1] + width + 32) * channels * itemsize)
        return int((height + 5) * (shape[-1] + width + 128) * channels * itemsize)

    @cached_property
    def ready(self) -> "ByRows":
        return self.correlation(*(0, *self.request.origin)[-2:])

    @property
    def spectrum(self) -> "_ext.Spectrum":
        return self._spectrum(single=self.accumulator == "f4")

    @property
    def precise(self) -> "_ext.Spectrum":
        """For tiles that are beyond float32."""
        return self._spectrum(single=False)

    def _spectrum(self, single: bool) -> "_ext.Spectrum":
        """The kernel's spectrum, kept with the plan unless it is large: it takes up to 256 MB."""
        if single not in self._spectra:
            found = _ext.Spectrum(self.taps.astype(np.float64), self.tile, single)
            if self.tile > 256:
                return found
            self._spectra[single] = found
        return self._spectra[single]

    @cached_property
    def _spectra(self) -> "dict[bool, _ext.Spectrum]":
        return {}


def plan(request: Request) -> Plan:
    """The fastest algorithm whose result is as exact as promised; see docs/design.md for the promises."""
    kernel = np.frombuffer(request.kernel, np.int64 if request.whole else np.float64).reshape(request.shape)
    plans = [direct_plan(request, kernel)]
    plans += filter(None, [_in_pairs(request, kernel)])
    if request.method != "direct":
        plans += filter(None, [_separable(request, kernel), _box(request, kernel), _fft(request, kernel)])
    if request.method != "auto":
        plans = [found for found in plans if found.method == request.method]
        if not plans:
            raise ImgtoolError(_WHY_NOT[request.method])
    return min(plans, key=lambda found: found.nanoseconds)


_WHY_NOT = {
    "separable": "method separable needs a kernel of rank 1, such as a Gaussian or a box; use auto, direct or fft",
    "box": "method box needs a kernel of two axes whose numbers are all alike, and sums that float64 holds; use auto",
    "fft": "method fft takes kernels of two axes up to 2048 on a side, no alpha and sums that float64 holds; use auto",
}


def _peak(request: Request) -> float:
    """The largest magnitude that a value of an integer image or beyond its border can have."""
    info = np.iinfo(np.uint8 if request.source.kind == "b" else request.source)
    return float(max(info.max, -info.min, abs(request.cval)))


def _whole(request: Request) -> bool:
    """Whether every product and sum is a whole number."""
    return (
        request.whole
        and request.source.kind in "iub"
        and request.cval == round(request.cval)
        and request.bias == round(request.bias)
    )


def _accumulator(request: Request, weight: float, roundings: float) -> str:
    """The fastest type in which a sum is exact, or for fractions near enough.

    weight: the kernel's sum of magnitudes. roundings: the sum over all roundings of the share of the weight that had
    been summed by then. Before an integer result of a fractional kernel is rounded it differs from the exact sum by
    less than 1e-3: each rounding of a float32 sum errs by at most 2**-24 of the partial sum (Higham 2002, sec. 3.1),
    and so do the kernel's weights and, without fused multiply-add, the products.
    """
    if request.source.kind == "f":
        return "f4" if request.source == request.target == np.float32 else "f8"
    largest = _peak(request) * weight + abs(request.bias)
    if _whole(request):
        if largest < 2**24:
            return "f4"
        exact_fits = largest < 2**126 and abs(request.cval) < 2**63 and abs(request.bias) < 2**63
        return "i8" if largest >= 2**53 and exact_fits and not request.has_alpha else "f8"
    if request.target.kind in "iu":
        return "f4" if request.target.itemsize <= 2 and 2.0**-24 * largest * (roundings + 2) < _EXACT else "f8"
    return "f4" if request.target == np.float32 and request.source.itemsize <= 2 else "f8"


def _growth(taps: Array) -> float:
    """The sum over all partial sums of taps of their share of the whole, in magnitudes."""
    sums = np.add.accumulate(np.abs(taps.astype(np.float64)).ravel())
    return float(sums.sum() / sums[-1]) if sums[-1] else 0.0


def _weight(kernel: Array) -> float:
    return float(np.abs(kernel.astype(np.float64)).sum())


def direct_plan(request: Request, kernel: Array) -> Plan:
    kind = _accumulator(request, _weight(kernel), _growth(kernel))
    cost = kernel.size * _TAP[kind] + _VALUE[kind]
    return Plan(request, "direct", kind, f"{kernel.size} multiply-adds per value", cost)


def _in_pairs(request: Request, kernel: Array) -> Plan | None:
    """The direct sums of 16 bits with fractions, where float32 is not exact enough."""
    if request.source != np.uint16 or request.target != np.uint16 or request.has_alpha or kernel.ndim != 2:
        return None
    inside = 0 <= request.cval <= 65535 and request.cval == round(request.cval)
    if kernel.size > 256 or not inside or not _ext.pairs_supported() or _whole(request):
        return None
    if fixed_point(kernel, request.bias, _EXACT) is None:
        return None
    cost = kernel.size * _TAP["i4"] + _VALUE["i4"]
    return Plan(request, "direct", "i4", f"{kernel.size} multiply-adds per value in fixed point", cost)


def _separable(request: Request, kernel: Array) -> Plan | None:
    if kernel.ndim > 2:
        return _along_axes(request, kernel)
    if kernel.ndim == 1 or min(kernel.shape) == 1:
        return None
    factors = _factors(kernel, whole=_whole(request))
    if factors is None:
        return None
    down, across = factors
    kind = _accumulator(request, _weight(down) * _weight(across), _growth(down) + _growth(across))
    if kind == "i8":
        return None
    taps = down.size + across.size
    cost = taps * _PASS_TAP[kind] + _VALUE[kind]
    return Plan(request, "separable", kind, f"rank 1: {taps} multiply-adds per value", cost, factors=factors)


def _along_axes(request: Request, kernel: Array) -> Plan | None:
    """A kernel that is one along the first axis times one of the others: filtered one after the other."""
    if request.has_alpha:
        return None
    factors = _factors(kernel.reshape(kernel.shape[0], -1), whole=_whole(request))
    if factors is None:
        return None
    first, rest = factors
    kind = _accumulator(request, _weight(first) * _weight(rest), _growth(first) + _growth(rest))
    if kind == "i8":
        return None
    between = np.dtype(np.float32 if kind == "f4" else np.float64)
    planes = plan(
        request._replace(
            kernel=rest.tobytes(),
            whole=rest.dtype == np.int64,
            shape=kernel.shape[1:],
            target=between,
            image=request.image[1:],
            origin=request.origin[1:],
            bias=0.0,
            method="auto",
        )
    )
    line = request._replace(
        kernel=first.tobytes(),
        whole=first.dtype == np.int64,
        shape=(first.size, 1),
        source=between,
        origin=(request.origin[0], 0),
        cval=request.cval * float(rest.sum()),
        method="direct",
    )
    along = direct_plan(line, first.reshape(-1, 1))
    reason = f"{first.size} planes, {planes.method} in each ({planes.reason}), then along the first axis"
    return Plan(request, "separable", kind, reason, planes.nanoseconds + along.nanoseconds, parts=(planes, along))


def _factors(kernel: Array, whole: bool) -> tuple[Array, Array] | None:
    """A column and a row whose product the kernel is: exactly for whole numbers, else but for the last bit or two."""
    y, x = np.unravel_index(np.argmax(np.abs(kernel)), kernel.shape)
    if kernel[y, x] == 0:
        return None
    if whole:
        across = kernel[y] // gcd(*map(int, kernel[y]))
        down = kernel[:, x] // across[x]
        return (down, across) if np.array_equal(np.outer(down, across), kernel) else None
    down, across = kernel[:, x].astype(np.float64), kernel[y] / kernel[y, x]
    rest = np.abs(kernel - np.outer(down, across)).sum()
    return (down, across) if rest <= 1e-15 * np.abs(kernel).sum() else None


def _box(request: Request, kernel: Array) -> Plan | None:
    if kernel.ndim != 2 or kernel.size == 1 or kernel.flat[0] == 0 or not (kernel == kernel.flat[0]).all():
        return None
    height, width = kernel.shape
    weight = float(kernel.flat[0])
    single, kind, sums = request.source == request.target == np.float32, "", 0.0
    if request.source.kind != "f":
        # Sums of pixels are exact; the weight is one rounding of its own, its product another, the bias a third.
        sums = _peak(request) * kernel.size
        largest = sums * abs(weight) + abs(request.bias)
        if max(sums, largest if _whole(request) else 0) >= 2**53:
            return None
        near_enough = request.target.kind == "f" or 3 * 2.0**-24 * largest < _EXACT
        narrow = request.target.itemsize <= (4 if request.target.kind == "f" else 2)
        single = sums < 2**24 and narrow and (largest < 2**24 if _whole(request) else near_enough)
        kind = _whole_sums(request, kernel.size)
    fits = kind != "" and _fits(request, kernel.size * weight)
    if fits:  # the conditions of ext/means.h
        single = sums < 2**24 and sums * abs(weight) <= 256 and kernel.size <= 4096
        kind = kind if single else "w4"
    kind = kind or ("f4" if single else "f8")
    cost = _BOX[kind] + _BOX_DOUBLING[kind] * width.bit_length()
    reason = f"sums of {width} across and {height} down, as fast for any size"
    return Plan(request, "box", kind, reason, cost, single=single, fits=fits)


def _whole_sums(request: Request, count: int) -> str:
    """The words in which sums of so many pixels are whole numbers, or "" for none."""
    if request.source.itemsize > 2 or request.has_alpha:
        return ""
    info = np.iinfo(np.uint8 if request.source.kind == "b" else request.source)
    if not info.min <= request.cval <= info.max or request.cval != round(request.cval):
        return ""
    for kind, bits in (("w2", 16), ("w4", 32)):
        largest = 2 ** (bits - 1) if info.min < 0 else 2**bits - 1
        if request.source.itemsize * 8 < bits and count * _peak(request) <= largest:
            return kind
    return ""


def _fits(request: Request, factor: float) -> bool:
    """Whether a factor brings every value into the range of an integer result of 8 or 16 bits."""
    if request.target.kind not in "iu" or request.target.itemsize > 2 or request.bias != 0:
        return False
    source = np.iinfo(np.uint8 if request.source.kind == "b" else request.source)
    target = np.iinfo(request.target)
    ends = (source.min * factor, source.max * factor)
    return bool(target.min - 0.49 < min(ends) and max(ends) < target.max + 0.49)


def _fft(request: Request, kernel: Array) -> Plan | None:
    if kernel.ndim != 2 or request.has_alpha or max(kernel.shape) > _TILES[-1] // 2:
        return None
    weight = _weight(kernel)
    kind = _accumulator(request, weight, 0)
    tolerance = 0.0
    if request.source.kind != "f" and request.target.kind in "iu":
        # The error of a transform is one of the tile's energy, spread over it: measured below 5e-7 of the largest sum
        # in float32 and 2e-15 in float64 (docs/accuracy.md).
        largest = _peak(request) * weight + abs(request.bias)
        allowed = 0.2 if _whole(request) else _EXACT
        if largest * 4e-15 > allowed:
            return None
        kind = "f4" if largest * 1e-6 < allowed else "f8"
        # Most tiles of 16 bits are near enough in float32 too: their errors are those of what varies within a tile.
        if kind == "f8" and max(request.source.itemsize, request.target.itemsize) == 2 and not _whole(request):
            kind, tolerance = "f4", _DEVIATION
    if kind == "i8":  # whole numbers beyond float64 that become floating point
        return None
    height, width = request.image[:2]
    best = None
    for tile in _TILES:
        step_y, step_x = tile - kernel.shape[0] + 1, tile - kernel.shape[1] + 1
        if min(step_y, step_x) < 1:
            continue
        count = -(-height // step_y) * -(-width // step_x)
        # How many tiles float32 will do for is not known before: those that it does are a gift.
        cost = _TRANSFORM["f8" if tolerance else kind] * tile * tile * (tile.bit_length() - 1)
        cost *= 1 if tile <= 256 else _BEYOND_CACHE
        cost *= (count + 1) / max(1, height * width)
        if best is None or cost < best.nanoseconds:
            reason = f"{tile} x {tile} tiles, {count} of them for each channel"
            best = Plan(request, "fft", kind, reason, cost, tile=tile, tolerance=tolerance)
    return best
