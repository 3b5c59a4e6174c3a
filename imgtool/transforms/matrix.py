"""Transforms by a 3x3 matrix."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt

from ..errors import ImgtoolError
from ._base import Transform, described, field_of, known_shape
from ._grid import Points, Shape, checked_points, size_text

#: Matrices whose last row is 0 0 1, each contained in the next.
MODELS = ("translation", "rigid", "similarity", "affine")
#: All of them.
MATRIX_MODELS = (*MODELS, "projective")

Matrix = npt.NDArray[np.float64]


class Motion(NamedTuple):
    """What a transform does, in words a person can check."""

    shift: tuple[float, float]  # of the centre of the fixed grid (x, y), in pixels
    # Degrees from the x axis towards the y axis, which on a screen is clockwise; of the polar factor, after a mirror
    # top to bottom if there is one.
    rotation: float
    scales: tuple[float, float]  # singular values, the larger first; above 1 the fixed grid spans more of moving


@dataclass(frozen=True, eq=False)
class MatrixTransform(Transform):
    """A 3x3 matrix that maps fixed (x, y, 1) to moving (x, y, 1) pixel coordinates.

    Parameters
    ----------
    matrix : array_like, (3, 3)
        Finite, invertible, with the last row 0 0 1. That of a projective transform (a, b, c) is arbitrary, as long as
        the denominator a x + b y + c keeps its sign on the fixed image; it is divided by c.
    model : {"translation", "rigid", "similarity", "affine", "projective"}
        What kind of matrix it is meant to be.
    fixed_shape, moving_shape : (height, width) or None
        The grids it connects, as far as they are known.

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
    fixed_shape: Shape | None
    moving_shape: Shape | None

    models: ClassVar[tuple[str, ...]] = MATRIX_MODELS

    def __post_init__(self) -> None:
        if self.model not in MATRIX_MODELS:
            raise ImgtoolError(f"the transform's model {self.model!r} is unknown; it can be {', '.join(MATRIX_MODELS)}")
        for name in ("fixed_shape", "moving_shape"):
            object.__setattr__(self, name, known_shape(getattr(self, name), name))
        matrix = _matrix(self.matrix, self.model, self.fixed_shape)
        matrix.flags.writeable = False
        object.__setattr__(self, "matrix", matrix)

    def __call__(self, points: npt.ArrayLike) -> Points:
        """The moving coordinates of `points`, an (N, 2) array of fixed x, y.

        A projective transform sends points on or beyond the line where its denominator is 0, which lies outside the
        fixed image, nowhere: they become NaN.
        """
        fixed = checked_points(points)
        moving = fixed @ self.matrix[:2, :2].T + self.matrix[:2, 2]
        if self.model == "projective":
            denominator = fixed @ self.matrix[2, :2] + self.matrix[2, 2]
            moving /= np.where(denominator > 0, denominator, np.nan)[:, None]
        return moving

    def inverse(self) -> "MatrixTransform":
        """The transform from moving to fixed coordinates, exact up to rounding.

        Raises
        ------
        ImgtoolError
            If a projective transform has none on the whole moving image.
        """
        inverse = np.linalg.inv(self.matrix)
        if self.model != "projective":
            inverse[2] = 0, 0, 1
        return MatrixTransform(np.asarray(inverse, np.float64), self.model, self.moving_shape, self.fixed_shape)

    def solve(self, points: npt.ArrayLike) -> Points:
        """The fixed coordinates that the transform takes to `points`, an (N, 2) array of moving x, y; exactly."""
        return self.inverse()(points)

    def jacobian(self, points: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """The derivatives of moving x, y (rows) by fixed x, y (columns) at each of the points: (N, 2, 2)."""
        fixed = checked_points(points)
        if self.model != "projective":
            return np.broadcast_to(self.matrix[:2, :2], (len(fixed), 2, 2)).copy()
        denominator = (fixed @ self.matrix[2, :2] + self.matrix[2, 2])[:, None, None]
        return np.asarray((self.matrix[:2, :2] - self(fixed)[:, :, None] * self.matrix[2, :2]) / denominator)

    def jacobian_determinant(self, shape: Shape | None = None) -> npt.NDArray[np.float64]:
        """How much larger an area becomes at each pixel of the grid (default: the fixed one): (height, width)."""
        height, width = self.grid(shape)
        if self.model != "projective":
            return np.full((height, width), np.linalg.det(self.matrix[:2, :2]))
        a, b, c = self.matrix[2]
        denominator = a * np.arange(width) + (b * np.arange(height)[:, None] + c)
        return np.asarray(np.linalg.det(self.matrix) / denominator**3)

    def describe(self) -> Motion:
        """Shift of the centre, angle and scales there, from the singular value decomposition of the linear part.

        Where the fixed size is not known, the first pixel is taken for the centre.
        """
        centre = (np.array(self.fixed_shape or (1, 1))[None, ::-1] - 1) / 2
        shift = (self(centre) - centre)[0]
        left, scales, right = np.linalg.svd(self.jacobian(centre)[0])
        turn = left @ right
        angle = np.degrees(np.arctan2(turn[1, 0], turn[0, 0]))
        return Motion((float(shift[0]), float(shift[1])), float(angle), (float(scales[0]), float(scales[1])))

    def to_dict(self) -> dict[str, Any]:
        """The transform as JSON types, as `from_dict` reads it."""
        return described(self, self.model, matrix=self.matrix.tolist())

    @classmethod
    def _from_fields(cls, fields: Mapping[str, Any]) -> "MatrixTransform":
        return cls(*(field_of(fields, name) for name in ("matrix", "model", "fixed_shape", "moving_shape")))


def product(first: MatrixTransform, after: MatrixTransform) -> MatrixTransform:
    """`first` and then `after`, as one matrix of the more general model of the two."""
    model = max(first.model, after.model, key=MATRIX_MODELS.index)
    return MatrixTransform(after.matrix @ first.matrix, model, first.fixed_shape, after.moving_shape)


def _matrix(values: Any, model: str, shape: Shape | None) -> Matrix:
    try:
        matrix = np.array(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise ImgtoolError("the transform's matrix must be 3 rows of 3 numbers") from None
    if matrix.shape != (3, 3):
        raise ImgtoolError(f"the transform's matrix must be 3 rows of 3 numbers, not of shape {matrix.shape}")
    if not np.isfinite(matrix).all():
        raise ImgtoolError("the transform's matrix has a number that is not finite")
    if model == "projective":
        matrix = _with_unit_denominator(matrix, shape)
    elif tuple(matrix[2]) != (0, 0, 1):
        raise ImgtoolError(f"the last row of the transform's matrix must be 0 0 1, not {matrix[2].tolist()}")
    # The determinant, for a projective transform that of the derivative at the first pixel, is compared with the size
    # of the entries: a matrix of small numbers is not singular.
    if abs(np.linalg.det(matrix)) <= 1e-12 * np.abs(matrix[:2, :2]).max() ** 2:
        raise ImgtoolError("the transform's matrix is singular: it maps the whole image to a line or a point")
    return matrix


def _with_unit_denominator(matrix: Matrix, shape: Shape | None) -> Matrix:
    """`matrix` with a denominator of 1 at the first pixel, and more than 0 on the area of every pixel of the shape."""
    height, width = shape or (1, 1)
    corners = np.array([[x, y, 1] for x in (-0.5, width - 0.5) for y in (-0.5, height - 0.5)])
    # In units of the first pixel's: that it might be 0 is caught by the comparison, too.
    denominators = corners @ matrix[2] * np.sign(matrix[2, 2])
    if not denominators.min() > 1e-9 * np.abs(matrix[2]).max():
        where = "near the first pixel" if shape is None else f"inside the image of {size_text(shape)} pixels"
        raise ImgtoolError(f"the projective transform sends points {where} to infinity")
    return np.asarray(matrix / matrix[2, 2] if matrix[2, 2] != 1 else matrix)
