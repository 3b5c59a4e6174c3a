"""What all kernels have in common: their type, their limits, their sum."""

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import ImgtoolError

Array = npt.NDArray[np.float64]

MAX_TAPS = 2**20


def check_taps(taps: float, where: str) -> None:
    """Refuse a kernel of too many numbers."""
    if taps > MAX_TAPS:
        raise ImgtoolError(f"{where}: {taps:.0f} numbers are more than the limit of {MAX_TAPS}")


def divided_by_sum(array: npt.NDArray[Any], name: str) -> npt.NDArray[Any]:
    """A kernel of real or complex numbers divided by its sum.

    Raises
    ------
    ImgtoolError
        The sum is 0.
    """
    if array.dtype.kind == "c":
        total = complex(math.fsum(array.real.flat), math.fsum(array.imag.flat))
        scaled = array
    else:
        # A power of two costs no digit and keeps the sum of huge numbers finite.
        plain = array.astype(np.float64)
        scaled = np.ldexp(plain, -np.frexp(np.abs(plain).max())[1])
        total = math.fsum(scaled.flat)
    # 0.1 + 0.2 - 0.3 is 0 to whoever wrote it.
    if abs(total) <= 4 * np.finfo(np.float64).eps * math.fsum(np.abs(scaled).flat):
        raise ImgtoolError(f"{name} sums to 0 and cannot be normalized")
    return np.asarray(scaled / total)


def rank(array: npt.NDArray[Any]) -> int:
    """The number of separable kernels that a kernel is the sum of: planes and rows against columns."""
    return int(np.linalg.matrix_rank(array.reshape(-1, array.shape[-1]).astype(np.float64)))


def shortened(words: str, limit: int = 60) -> str:
    """`words` as they can stand in a message."""
    return words if len(words) <= limit else words[: limit - 3] + "..."
