"""Kernels of fractions as fixed point numbers in two halves of 16 bits, for images of 16 bits."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ._check import Array

_VALUE = 2**15  # is subtracted from all values, which makes them int16
# And this from all results: whatever rounds to 0..65535 then lies within 2**15, and so do the errors.
_RESULT = 2**15 - 0.25


class FixedPoint(NamedTuple):
    """What `_ext.Pairs` takes of a kernel."""

    halves: npt.NDArray[np.int16]
    point: int
    shift: int
    carry: int
    start: int


def fixed_point(kernel: Array, bias: float, error: float) -> FixedPoint | None:
    """Rows x columns of a kernel, if its sums over 16-bit values err by less than `error` in fixed point, else None.

    A tap k becomes a whole number K of units 2**-(point + shift). The sums of K (x - 2**15), and what makes up for
    2**15, are exact, so the error is that of the taps: at most 2**15 sum |k - K 2**-(point + shift)|.
    """
    positive, negative = float(kernel[kernel > 0].sum()), float(kernel[kernel < 0].sum())
    lowest, highest = 65535 * negative + bias - _RESULT - 0.2, 65535 * positive + bias - _RESULT + 0.25 + 0.2
    largest = max(float(np.abs(kernel).max()), 2.0**-31)
    point = next((p for p in range(24, 1, -1) if _fits(lowest, highest, largest, p)), None)
    if point is None:
        return None
    for shift in range(1, 16):
        whole = np.rint(kernel * 2.0 ** (point + shift))
        if _VALUE * float(np.abs(kernel - whole * 2.0 ** -(point + shift)).sum()) < error:
            break
    else:
        return None
    taps = whole.astype(np.int64)
    high = (taps + (1 << (shift - 1))) >> shift
    low = taps - (high << shift)
    rows = np.abs(low).sum(axis=1)
    carry = next((n for n in range(len(rows), 0, -1) if _largest_sum(rows, n) < 2**16 - 1), 0)
    if not carry:
        return None
    halves = np.zeros((2, kernel.shape[0], kernel.shape[1] + kernel.shape[1] % 2), np.int16)
    halves[0, :, : kernel.shape[1]], halves[1, :, : kernel.shape[1]] = high, low
    start = round((_VALUE * float(kernel.sum()) + bias - _RESULT) * 2.0 ** (point + shift))
    return FixedPoint(halves, point, shift, carry, start)


def _fits(lowest: float, highest: float, largest: float, point: int) -> bool:
    """Whether results fit into 32 bits, and taps into 16, with so many bits behind the point."""
    return lowest * 2.0**point >= -(2.0**31) and highest * 2.0**point < 2.0**31 and largest * 2.0**point < 2**15 - 1


def _largest_sum(values: npt.NDArray[np.int64], count: int) -> int:
    """Of so many neighbours."""
    sums = np.concatenate([[0], np.add.accumulate(values)])
    return int((sums[count:] - sums[:-count]).max())
