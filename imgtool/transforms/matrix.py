"""Transforms by a 3x3 matrix."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from .._check import as_array
from ..errors import ImgtoolError
from ._grid import Shape, checked_shape

FORMAT, VERSION = "imgtool-transform", 1
MODELS = ("translation", "rigid", "similarity", "affine")

Matrix = npt.NDArray[np.float64]


class Motion(NamedTuple):
    """What a transform does, in words a person can check."""

    shift: tuple[float, float]  # of the centre of the fixed grid (x, y), in pixels
    rotation: float  # degrees from the x axis towards the y axis, which on a screen is clockwise; of the polar factor
    scales: tuple[float, float]  # singular values, the larger first; above 1 the fixed grid spans more of moving


@dataclass(frozen=True, eq=False)
class MatrixTransform:
    """A 3x3 matrix that maps fixed (x, y, 1) to moving (x, y, 1) pixel coordinates.

    Parameters
    ----------
    matrix : array_like, (3, 3)
        Finite, invertible, with the last row 0 0 1.
    model : {"translation", "rigid", "similarity", "affine"}
        What kind of matrix it is meant to be.
    fixed_shape, moving_shape : (height, width)
        The grids it connects.

    Raises
    ------
    ImgtoolError
        If any of these is not so.

    Examples
    --------
    >>> from imgtool.transforms import MatrixTransform
    >>> shift = MatrixTransform([[1, 0, 5], [0, 1, -2], [0, 0, 1]], "translation", (100, 80), (100, 80))
    >>> shift([[10, 20]])
    array([[15., 18.]])
    >>> shift.inverse()(shift([[10, 20]]))
    array([[10., 20.]])
    """

    matrix: Matrix
    model: str
    fixed_shape: Shape
    moving_shape: Shape

    def __post_init__(self) -> None:
        if self.model not in MODELS:
            raise ImgtoolError(f"the transform's model {self.model!r} is unknown; it can be {', '.join(MODELS)}")
        object.__setattr__(self, "matrix", _matrix(self.matrix))
        for name in ("fixed_shape", "moving_shape"):
            object.__setattr__(self, name, checked_shape(getattr(self, name), name))

    def __call__(self, points: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """The moving coordinates of `points`, an (N, 2) array of fixed x, y."""
        fixed = as_array(points, "points")
        if fixed.ndim != 2 or fixed.shape[1] != 2 or fixed.dtype.kind == "c":
            raise ImgtoolError(f"points must be an (N, 2) array of real x, y, not {fixed.shape} of {fixed.dtype}")
        return np.asarray(fixed @ self.matrix[:2, :2].T + self.matrix[:2, 2], dtype=np.float64)

    def inverse(self) -> "MatrixTransform":
        """The transform from moving to fixed coordinates."""
        inverse = np.linalg.inv(self.matrix)
        inverse[2] = 0, 0, 1
        return MatrixTransform(np.asarray(inverse, np.float64), self.model, self.moving_shape, self.fixed_shape)

    def describe(self) -> Motion:
        """Shift of the centre, angle and scales, from the singular value decomposition of the linear part."""
        centre = (np.array(self.fixed_shape[::-1]) - 1) / 2
        shift = self(centre[None])[0] - centre
        left, scales, right = np.linalg.svd(self.matrix[:2, :2])
        turn = left @ right
        angle = np.degrees(np.arctan2(turn[1, 0], turn[0, 0]))
        return Motion((float(shift[0]), float(shift[1])), float(angle), (float(scales[0]), float(scales[1])))

    def to_dict(self) -> dict[str, Any]:
        """The transform as JSON types, as `from_dict` reads it."""
        return {
            "format": FORMAT,
            "version": VERSION,
            "model": self.model,
            "matrix": self.matrix.tolist(),
            "fixed_shape": list(self.fixed_shape),
            "moving_shape": list(self.moving_shape),
        }

    @classmethod
    def from_dict(cls, fields: Any) -> "MatrixTransform":
        """The transform that `to_dict` described; fields that are not its own are left alone.

        Raises
        ------
        ImgtoolError
            If it is damaged, or not a transform.
        """
        if not isinstance(fields, Mapping) or fields.get("format") != FORMAT:
            raise ImgtoolError(f'this is not an imgtool transform: it lacks "format": "{FORMAT}"')
        version = fields.get("version")
        if version != VERSION or isinstance(version, bool):
            raise ImgtoolError(f"transform version {version!r} is unknown; this imgtool reads version {VERSION}")
        missing = [name for name in ("model", "matrix", "fixed_shape", "moving_shape") if name not in fields]
        if missing:
            raise ImgtoolError(f"the transform lacks {', '.join(missing)}; write it again with imgtool register -t")
        return cls(fields["matrix"], fields["model"], fields["fixed_shape"], fields["moving_shape"])


def _matrix(values: Any) -> Matrix:
    try:
        matrix = np.array(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise ImgtoolError("the transform's matrix must be 3 rows of 3 numbers") from None
    if matrix.shape != (3, 3):
        raise ImgtoolError(f"the transform's matrix must be 3 rows of 3 numbers, not of shape {matrix.shape}")
    if not np.isfinite(matrix).all():
        raise ImgtoolError("the transform's matrix has a number that is not finite")
    if tuple(matrix[2]) != (0, 0, 1):
        raise ImgtoolError(f"the last row of the transform's matrix must be 0 0 1, not {matrix[2].tolist()}")
    # Compared with the size of the entries: a matrix of small numbers is not singular.
    if abs(np.linalg.det(matrix[:2, :2])) <= 1e-12 * np.abs(matrix[:2, :2]).max() ** 2:
        raise ImgtoolError("the transform's matrix is singular: it maps the whole image to a line or a point")
    matrix.flags.writeable = False
    return matrix
