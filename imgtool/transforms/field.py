"""Transforms by a displacement for each pixel."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from .. import _ext
from .._check import as_array
from ..errors import ImgtoolError
from ._base import Transform, described, field_of, known_shape, packed, unpacked
from ._grid import Points, Shape, checked_points, pixel_points


@dataclass(frozen=True, eq=False)
class DisplacementField(Transform):
    """A displacement x, y for each pixel of the fixed image: a fixed point p maps to the moving point p + field(p).

    Between pixels the field is interpolated linearly; beyond the outermost centres its border values go on.

    Parameters
    ----------
    field : array_like of real numbers, (height, width, 2)
        Displacements (x, y) in pixels, all finite. float32 is kept, everything else becomes float64.
    moving_shape : (height, width) or None
        The size of the moving image, if it is known; that of the fixed one is the field's.
    residual : float or None
        If the field was found as an inverse: how far, in pixels, transform and inverse miss each other at most.

    Raises
    ------
    ImgtoolError
        If any of these is not so.

    Examples
    --------
    >>> import numpy as np
    >>> from imgtool.transforms import DisplacementField
    >>> stretch = DisplacementField(np.dstack([np.tile(np.arange(5.0), (4, 1)), np.zeros((4, 5))]), (4, 10))
    >>> stretch([[1, 2], [1.5, 2]])
    array([[2., 2.],
           [3., 2.]])
    """

    field: npt.NDArray[np.float32] | npt.NDArray[np.float64]
    moving_shape: Shape | None = None
    residual: float | None = None

    models: ClassVar[tuple[str, ...]] = ("displacement",)

    def __post_init__(self) -> None:
        field = as_array(self.field, "the displacement field")
        if field.ndim != 3 or field.shape[2] != 2 or field.dtype.kind == "c" or 0 in field.shape:
            raise ImgtoolError(
                "a displacement field must be a (height, width, 2) array of real x, y, "
                f"not {field.shape} of {field.dtype}"
            )
        if not np.isfinite(field).all():
            raise ImgtoolError("the displacement field has values that are not finite")
        # A view that cannot be written through: no copy of what may be as large as several images.
        field = np.ascontiguousarray(field, np.float32 if field.dtype == np.float32 else np.float64).view()
        field.flags.writeable = False
        object.__setattr__(self, "field", field)
        object.__setattr__(self, "moving_shape", known_shape(self.moving_shape, "moving_shape"))

    @property
    def fixed_shape(self) -> Shape:  # type: ignore[override]  # a plain attribute of the others
        """The (height, width) of the field."""
        return self.field.shape[0], self.field.shape[1]

    def __call__(self, points: npt.ArrayLike) -> Points:
        """The moving coordinates of `points`, an (N, 2) array of fixed x, y."""
        fixed = np.ascontiguousarray(checked_points(points).T)
        return self._moved(fixed[:, None])[:, 0].T

    def positions(self, rows: range, columns: range) -> Points:
        """The moving coordinates of a window of pixels of the fixed grid, as a (2, rows, columns) array of x and y."""
        height, width = self.fixed_shape
        if rows.stop > height or columns.stop > width:
            return self._moved(pixel_points(rows, columns))
        points = np.empty((2, len(rows), len(columns)))
        _ext.displace_pixels(self.field, rows.start, columns.start, points)
        return points

    def _moved(self, points: Points) -> Points:
        out = np.empty_like(points)
        _ext.displace(self.field, points, out)
        return out

    def inverse(self) -> "DisplacementField":
        """The field from moving to fixed coordinates, on the moving grid, with its `residual`.

        See `imgtool.transforms.inverse_field`, which makes it.
        """
        from .inversion import inverse_field

        return inverse_field(self)

    def to_dict(self) -> dict[str, Any]:
        """The transform as JSON types, as `from_dict` reads it."""
        residual = {} if self.residual is None else {"residual": self.residual}
        return described(self, self.models[0], field=packed(self.field), **residual)

    @classmethod
    def _from_fields(cls, fields: Mapping[str, Any]) -> "DisplacementField":
        field, residual = unpacked(field_of(fields, "field"), "field"), fields.get("residual")
        if residual is not None and (isinstance(residual, bool) or not isinstance(residual, int | float)):
            raise ImgtoolError(f"the transform's residual must be a number of pixels, not {residual!r}")
        transform = cls(field, field_of(fields, "moving_shape"), residual)
        if known_shape(field_of(fields, "fixed_shape"), "fixed_shape") not in (None, transform.fixed_shape):
            raise ImgtoolError(
                f"the transform's field is {transform.fixed_shape} pixels, but its fixed_shape {fields['fixed_shape']}"
            )
        return transform
