"""A matrix transform refined by a free-form deformation."""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from .._judge import Judge
from ..errors import ImgtoolError
from ..transforms import BSplineTransform, MatrixTransform
from .levels import deform

Plane = npt.NDArray[np.float32]

# In pixels. Bending decides how stiff the plane is; a finer grid follows no finer detail, it only takes longer.
GRID_SPACING = 16.0


class Fit(NamedTuple):
    """A B-spline transform, and what it achieves."""

    transform: BSplineTransform
    nmi: float  # at full size
    iterations: int


def checked_spacing(spacing: Any) -> float:
    """The spacing of control points, `GRID_SPACING` for None."""
    if spacing is None:
        return GRID_SPACING
    try:
        pixels = float(spacing)
    except (TypeError, ValueError):
        pixels = np.nan
    if isinstance(spacing, bool | str) or not 1 <= pixels < np.inf:
        raise ImgtoolError(f"grid_spacing must be a number of pixels from 1 on, not {spacing!r}")
    return pixels


def fit_spline(fixed: Plane, moving: Plane, start: MatrixTransform, spacing: float, bins: int, threads: int) -> Fit:
    """`start` followed, before its matrix, by the displacement that makes NMI larger.

    The planes hold values from 0 to 1, NaN where pixels are missing. If NMI at full size does not become larger, the
    displacement is 0.
    """
    grid, control, iterations = deform(fixed, moving, start.matrix, spacing, bins, threads)
    fits = [
        BSplineTransform(
            coefficients,
            spacing=(grid.x.spacing, grid.y.spacing),
            matrix=start.matrix,
            fixed_shape=fixed.shape,
            moving_shape=moving.shape,
        )
        for coefficients in (np.zeros_like(control), control)
    ]
    judge = Judge(fixed, moving, bins, threads)
    values = [judge.evaluate(fit)[0] for fit in fits]
    best = int(values[1] > values[0])
    return Fit(fits[best], values[best], iterations)
