"""Transforms by a cubic B-spline: free-form deformations."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from .. import _spline
from .._check import as_array
from .._spline import Axis, Grid
from ..errors import ImgtoolError
from ._base import BAND_PIXELS, Transform, described, field_of, known_shape, packed, unpacked
from ._grid import Points, Shape, checked_points
from .field import DisplacementField
from .matrix import MatrixTransform, Motion


@dataclass(frozen=True, eq=False)
class BSplineTransform(Transform):
    """A free-form deformation [1]_: fixed (x, y) maps to matrix * (x + u, y + v), u and v cubic B-splines of (x, y).

    Control point (row i, column k) lies at `origin` + ((k - 1) * spacing x, (i - 1) * spacing y). The grid's cells
    reach from `origin` over (columns - 3) and (rows - 3) spacings; beyond them the displacement goes on as it is at
    their border.

    Parameters
    ----------
    coefficients : array_like of real numbers, (2, rows, columns)
        Displacements x and y of the control points, in pixels of the fixed image; 4 rows and columns or more, finite.
    spacing : (float, float)
        Between control points, along x and y, in pixels.
    origin : (float, float)
        Where the cells begin (x, y). (-0.5, -0.5) is the outer corner of the first pixel.
    matrix : array_like, (3, 3)
        What follows the spline, invertible, with the last row 0 0 1; often the affine part of a registration.
    fixed_shape, moving_shape : (height, width) or None
        The grids it connects, as far as they are known.

    Raises
    ------
    ImgtoolError
        If any of these is not so.

    References
    ----------
    .. [1] D. Rueckert et al., "Nonrigid registration using free-form deformations: application to breast MR images",
       IEEE Transactions on Medical Imaging 18(8), 712-721 (1999).

    Examples
    --------
    >>> import numpy as np
    >>> from imgtool.transforms import BSplineTransform
    >>> shift = BSplineTransform(np.full((2, 7, 8), 1.5), spacing=(10, 10), fixed_shape=(40, 50), moving_shape=(40, 50))
    >>> shift([[10, 20]]).round(6)
    array([[11.5, 21.5]])
    >>> bool(np.allclose(shift.jacobian_determinant(), 1))
    True
    """

    coefficients: npt.NDArray[np.float64]
    spacing: tuple[float, float]
    origin: tuple[float, float] = (-0.5, -0.5)
    matrix: npt.NDArray[np.float64] = field(default_factory=lambda: np.eye(3))
    fixed_shape: Shape | None = None
    moving_shape: Shape | None = None

    models: ClassVar[tuple[str, ...]] = ("bspline",)

    def __post_init__(self) -> None:
        values = as_array(self.coefficients, "the coefficients")
        if values.ndim != 3 or values.shape[0] != 2 or min(values.shape[1:]) < 4 or values.dtype.kind == "c":
            raise ImgtoolError(
                "the coefficients must be a (2, rows, columns) array of real x, y with 4 rows and columns or more, "
                f"not {values.shape} of {values.dtype}"
            )
        if not np.isfinite(values).all():
            raise ImgtoolError("the coefficients have values that are not finite")
        values = np.array(values, np.float64, order="C")
        values.flags.writeable = False
        object.__setattr__(self, "coefficients", values)
        object.__setattr__(self, "spacing", _pair(self.spacing, "spacing"))
        object.__setattr__(self, "origin", _pair(self.origin, "origin"))
        if min(self.spacing) <= 0:
            raise ImgtoolError(f"the transform's spacing must be more than 0, not {self.spacing}")
        for name in ("fixed_shape", "moving_shape"):
            object.__setattr__(self, name, known_shape(getattr(self, name), name))
        # The checks of a matrix are those of the transform it is.
        object.__setattr__(self, "matrix", self.after.matrix)

    @property
    def model(self) -> str:
        """The name by which dictionaries call it."""
        return self.models[0]

    @property
    def after(self) -> MatrixTransform:
        """What follows the spline."""
        return MatrixTransform(self.matrix, "affine", self.fixed_shape, self.moving_shape)

    @property
    def control_grid(self) -> Grid:
        """Where the control points lie."""
        rows, columns = self.coefficients.shape[1:]
        y, x = (Axis(self.origin[i], self.spacing[i], count - 3) for i, count in ((1, rows), (0, columns)))
        return Grid(y, x)

    def __call__(self, points: npt.ArrayLike) -> Points:
        """The moving coordinates of `points`, an (N, 2) array of fixed x, y."""
        fixed = checked_points(points)
        return self._mapped((fixed + self.control_grid.at_points(self.coefficients, fixed).T).T).T

    def positions(self, rows: range, columns: range) -> Points:
        """The moving coordinates of a window of pixels of the fixed grid, as a (2, rows, columns) array of x and y."""
        grid = self.control_grid
        x, y = (np.arange(pixels.start, pixels.stop, dtype=np.float64) for pixels in (columns, rows))
        out = np.empty((2, y.size, x.size))
        _spline.fill_field(self.coefficients, grid.y.table(y), grid.x.table(x), out)
        out[0] += x
        out[1] += y[:, None]
        return self._mapped(out)

    def _mapped(self, points: Points) -> Points:
        """The matrix applied to (2, ...) points."""
        x, y = points
        a, b = self.matrix[:2, 0], self.matrix[:2, 1]
        return np.stack([a[i] * x + (b[i] * y + self.matrix[i, 2]) for i in (0, 1)])

    def describe(self) -> Motion:
        """Shift of the centre, angle and scales of the matrix, without the spline."""
        return self.after.describe()

    def spline_displacement(
        self, shape: Shape | None = None, *, dtype: npt.DTypeLike = np.float64, threads: int = 1
    ) -> npt.NDArray[Any]:
        """What the spline adds to each pixel of the fixed grid, u and v, as a (2, height, width) array.

        Parameters
        ----------
        shape : (height, width), optional
            The grid, from pixel (0, 0) on. Default: `fixed_shape`.
        dtype : {float64, float32}
        threads : int
        """
        grid = self.control_grid
        y, x = (np.arange(size, dtype=np.float64) for size in self.grid(shape))
        return grid.field(self.coefficients, grid.y.table(y, 0, dtype), grid.x.table(x, 0, dtype), threads)

    def jacobian(self, points: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """The derivatives of moving x, y (rows) by fixed x, y (columns) at each of the points: (N, 2, 2)."""
        fixed = checked_points(points)
        grid = self.control_grid
        slopes = np.stack([grid.at_points(self.coefficients, fixed, order).T for order in ((1, 0), (0, 1))], axis=-1)
        return np.asarray(self.matrix[:2, :2] @ (slopes + np.eye(2)))

    def jacobian_determinant(self, shape: Shape | None = None) -> npt.NDArray[np.float64]:
        """How much larger an area becomes at each pixel of the grid (default: the fixed one): (height, width), exactly.

        It is 0 or less where the plane folds.
        """
        height, width = self.grid(shape)
        grid = self.control_grid
        columns = grid.x.table(np.arange(width, dtype=np.float64))
        column_slopes = grid.x.table(np.arange(width, dtype=np.float64), 1)
        out = np.empty((height, width))
        band = max(1, BAND_PIXELS // width)
        for top in range(0, height, band):
            y = np.arange(top, min(top + band, height), dtype=np.float64)
            slopes = np.empty((2, 2, y.size, width))
            _spline.fill_field(self.coefficients, grid.y.table(y), column_slopes, slopes[0])
            _spline.fill_field(self.coefficients, grid.y.table(y, 1), columns, slopes[1])
            out[top : top + band] = _spline.determinant(*slopes)
        return np.asarray(out * np.linalg.det(self.matrix[:2, :2]))

    def least_determinant(self) -> float:
        """A bound that the Jacobian determinant does not fall below anywhere on the cells, between pixels neither.

        Where it is more than 0 the plane folds nowhere.
        """
        return self.control_grid.least_determinant(self.coefficients) * float(np.linalg.det(self.matrix[:2, :2]))

    def inverse(self) -> DisplacementField:
        """The field from moving to fixed coordinates, on the moving grid, with its `residual`.

        See `imgtool.transforms.inverse_field`, which makes it.
        """
        from .inversion import inverse_field

        return inverse_field(self)

    def to_dict(self) -> dict[str, Any]:
        """The transform as JSON types, as `from_dict` reads it."""
        return described(
            self,
            self.model,
            spacing=list(self.spacing),
            origin=list(self.origin),
            matrix=self.matrix.tolist(),
            coefficients=packed(self.coefficients),
        )

    @classmethod
    def _from_fields(cls, fields: Mapping[str, Any]) -> Self:
        coefficients = unpacked(field_of(fields, "coefficients"), "coefficients")
        names = ("spacing", "origin", "matrix", "fixed_shape", "moving_shape")
        return cls(coefficients, *(field_of(fields, name) for name in names))


def _pair(values: Any, name: str) -> tuple[float, float]:
    try:
        x, y = (float(value) for value in values if not isinstance(value, str | bool))
    except (TypeError, ValueError, OverflowError):
        raise ImgtoolError(f"the transform's {name} must be two numbers of pixels [x, y], not {values!r}") from None
    if not np.isfinite([x, y]).all():
        raise ImgtoolError(f"the transform's {name} must be finite, not {values!r}")
    return x, y
