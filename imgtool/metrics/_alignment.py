"""NMI of two planes as a function of the matrix between them: the objective of registration by matrices."""

from typing import Any

import numpy as np
import numpy.typing as npt

from .. import _ext
from .._slabs import run_slabs
from ._intensity import bin_limits
from ._workspace import Table, view

Plane = npt.NDArray[np.float32]
Matrix = npt.NDArray[np.float64]

_SLAB_PIXELS = 1 << 15


class Alignment:
    """NMI of `fixed` and of `moving` seen through a matrix, and its derivative with respect to the matrix.

    Both planes are float32 bin coordinates (see `to_bins` and `bin_limits`), NaN where a pixel is missing for whatever
    reason, 2 x 2 pixels or larger. Matrices are 3 x 3, take (x, y, 1) of fixed to moving, and may be projective.
    Nothing is allocated per evaluation, and results are the same to the last bit for any number of threads.

    Parameters
    ----------
    bins : int
    sub_bins : int
        Sub-bins per bin. 4 are enough for sums over pixels; the work apart from pixels grows with its square.
    offsets : (2, rows, columns) float array, optional
        Samples of both planes are taken at (x, y) + offsets[:, y, x], which repeats like tiles at most 64 columns wide.
    fineness : int
        The planes' pixels are this many times finer than the grid of samples, the first pixel on the first sample.
        Offsets and matrices are in steps of the grid, for either plane.
    threads : int
    """

    def __init__(
        self,
        fixed: Plane,
        moving: Plane,
        *,
        bins: int,
        threads: int,
        sub_bins: int = 4,
        offsets: npt.NDArray[np.floating[Any]] | None = None,
        fineness: int = 1,
    ) -> None:
        tile = np.zeros((2, 1, 64), np.float32) if offsets is None else np.ascontiguousarray(offsets, np.float32)
        self._core = _ext.Alignment(fixed, moving, tile, bins, *bin_limits(bins), sub_bins, threads, fineness)
        self._rows, self._threads, self._fineness = self._core.height, threads, fineness
        # Sums are added slab by slab, whatever the number of threads; counts are whole numbers, one range per thread.
        self._slab_rows = max(1, _SLAB_PIXELS // self._core.width)
        self._sums = np.zeros((-(-self._rows // self._slab_rows), 3, 3))
        lanes = threads if self._rows * self._core.width > _SLAB_PIXELS else 1
        self._lane_rows = -(-self._rows // lanes)
        self._matrix = np.eye(3)

    def evaluate(self, matrix: Matrix) -> tuple[float, int]:
        """NMI at `matrix`, and how many pixels overlap; (0, 0) if none does."""
        self._matrix[...] = matrix
        self._matrix[:2] *= self._fineness

        def work(start: int, stop: int) -> None:
            self._core.add(self._matrix, start // self._lane_rows, start, stop)

        lanes = len(run_slabs(work, self._rows, self._lane_rows, self._threads))
        self._core.tabulate(lanes)
        samples, *_, nmi = np.asarray(self._core.figures).tolist()
        return nmi, round(samples)

    def gradient(self, *, projective: bool = False) -> Matrix:
        """The derivative of NMI with respect to the elements of the last matrix; of its last row only if `projective`.

        The size of the overlap is taken as constant, as in NiftyReg: where the images' borders cross it changes by
        jumps.
        """

        def work(start: int, stop: int) -> None:
            self._core.differentiate(self._matrix, projective, self._sums[start // self._slab_rows], start, stop)

        run_slabs(work, self._rows, self._slab_rows, self._threads)
        total: Matrix = self._sums.sum(axis=0)
        total[:2] *= self._fineness
        return total

    @property
    def joint(self) -> Table:
        """The joint histogram (fixed bins, moving bins) of the last `evaluate`: a read-only view, not a copy."""
        return view(self._core.joint)
