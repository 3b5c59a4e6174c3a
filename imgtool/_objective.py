"""What registration maximises: NMI of two images as a function of a matrix, and matrices as functions of parameters."""


from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from . import _ext, metrics
from ._slabs import run_slabs


Matrix = npt.NDArray[np.float64]
Vector = npt.NDArray[np.float64]
Plane = npt.NDArray[np.floating[Any]]

_SLAB_PIXELS = 1 << 15


def _jitter(size: int) -> npt.NDArray[np.float64]:
    """Offsets (x, y) within half a pixel for a tile of pixels: the R2 sequence of M. Roberts, evenly spread."""
    number = np.arange(1, size * size + 1)
    ratio = 1.32471795724474602596  # the root of x^3 = x + 1
    return np.stack([(number / ratio**power) % 1 - 0.5 for power in (1, 2)]).reshape(2, size, size)


JITTER = _jitter(32)


@dataclass
class Objective:
    """NMI of `fixed` and the warped `moving`, both planes of bin coordinates with NaN where pixels are missing.

    With `jitter`, samples are taken beside the pixels' centres, of both images by the same interpolation. At the
    centres moving would be smoothed by the interpolation wherever it is not shifted by whole pixels, and fixed would
    not: noise then makes NMI prefer, or shun, such shifts (J. Tsao, IEEE Transactions on Medical Imaging 22, 2003).

    Planes of one size and dtype take what an evaluation produces per pixel; they are allocated once.
    """

    fixed: Plane
    moving: Plane
    bins: int
    jitter: bool
    threads: int
    warped: Plane = field(init=False)
    along_x: Plane = field(init=False)
    along_y: Plane = field(init=False)
    derivative: Plane = field(init=False)

    def __post_init__(self) -> None:
        self.warped, self.along_x, self.along_y, self.derivative = (np.empty_like(self.fixed) for _ in range(4))
        self._slab_rows = max(1, _SLAB_PIXELS // self.fixed.shape[1])
        self._offsets = JITTER if self.jitter else np.zeros((2, 1, JITTER.shape[2]))
        if self.jitter:
            sampled = np.empty_like(self.fixed)
            everywhere = 0, len(self.fixed)
            _ext.sample_affine(self.fixed, np.eye(3), JITTER, sampled, self.along_x, self.along_y, *everywhere)
            self.fixed = sampled

    def histogram(self, matrix: Matrix) -> metrics.Table:
        """The joint histogram at `matrix`; its sum is the number of pixels in the overlap."""
        width = self.fixed.shape[1]
        fixed, warped = self.fixed.reshape(-1), self.warped.reshape(-1)

        def work(start: int, stop: int) -> metrics.Table:
            table = np.zeros((self.bins, self.bins))
            _ext.sample_affine(self.moving, matrix, self._offsets, self.warped, self.along_x, self.along_y, start, stop)
            _ext.joint_histogram(fixed, warped, table, start * width, stop * width)
            return table

        return metrics.total(run_slabs(work, len(self.fixed), self._slab_rows, self.threads))

    def matrix_gradient(self, slopes: metrics.Table) -> Matrix:
        """The derivative of NMI with respect to the matrix of the last `histogram`.

        The size of the overlap is taken as constant, as in NiftyReg: where the images' borders cross it changes by
        jumps.
        """
        width = self.fixed.shape[1]
        fixed, warped, derivative = (plane.reshape(-1) for plane in (self.fixed, self.warped, self.derivative))
        table = slopes.astype(self.fixed.dtype)

        def work(start: int, stop: int) -> Matrix:
            sums = np.zeros((2, 3))
            _ext.sample_slopes(fixed, warped, table, -np.inf, np.inf, derivative, start * width, stop * width)
            _ext.affine_sums(self.derivative, self.along_x, self.along_y, self._offsets, sums, start, stop)
            return sums

        out = np.zeros((3, 3))
        out[:2] = metrics.total(run_slabs(work, len(self.fixed), self._slab_rows, self.threads))
        return out
