"""What a transform is judged by in the end: NMI of the images as they are, at the pixel centres, by exact windows."""

import numpy as np
import numpy.typing as npt

from . import metrics
from .transforms import Transform, warp

Plane = npt.NDArray[np.float32]


class Judge:
    """How well transforms make `moving` fit `fixed`, planes of values from 0 to 1, NaN where a pixel is missing."""

    def __init__(self, fixed: Plane, moving: Plane, bins: int, threads: int) -> None:
        self._moving, self._threads = moving, threads
        self._exists = ~np.isnan(fixed)
        self._workspace = metrics.Workspace(bins=bins, threads=threads)
        self._workspace.set_fixed(fixed, limits=(0.0, 1.0))

    def evaluate(self, transform: Transform) -> tuple[float, int]:
        """NMI, and how many pixels of fixed meet one of moving; (0, 0) if none does."""
        warped = warp(self._moving, transform, fill=np.nan, threads=self._threads)
        if not (self._exists & ~np.isnan(warped)).any():
            return 0.0, 0
        self._workspace.set_moving(warped, limits=(0.0, 1.0))
        similarity = self._workspace.evaluate()
        return similarity.nmi, similarity.samples
