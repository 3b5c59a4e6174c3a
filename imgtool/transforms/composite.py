"""Several transforms, one after the other."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from ..errors import ImgtoolError
from ._base import Transform, described, field_of
from ._grid import Points, Shape, checked_points
from .bspline import BSplineTransform
from .matrix import MatrixTransform, product


@dataclass(frozen=True, eq=False)
class Composite(Transform):
    """The transforms of a tuple, the first of which starts from the fixed image and the last leads to the moving one.

    Raises
    ------
    ImgtoolError
        If there is none.

    Examples
    --------
    >>> import numpy as np
    >>> from imgtool.transforms import Composite, DisplacementField, MatrixTransform
    >>> turn = MatrixTransform([[0, -1, 4], [1, 0, 0], [0, 0, 1]], "rigid", (5, 5), (5, 5))
    >>> right = DisplacementField(np.full((5, 5, 2), (10.0, 0.0)))
    >>> Composite((turn, right))([[1, 2]])
    array([[12.,  1.]])
    >>> Composite((turn, right)).inverse()([[12, 1]])
    array([[1., 2.]])
    """

    transforms: tuple[Transform, ...]

    models: ClassVar[tuple[str, ...]] = ("composite",)

    def __post_init__(self) -> None:
        object.__setattr__(self, "transforms", tuple(self.transforms))
        if not self.transforms:
            raise ImgtoolError("a composite needs at least one transform")

    @classmethod
    def of(cls, transforms: Iterable[Transform]) -> Transform:
        """The transforms as simple as they can be: composites taken apart, matrices multiplied, a single one as it is.

        Raises
        ------
        ImgtoolError
            If there is none.
        """
        parts: list[Transform] = []
        for transform in transforms:
            for part in transform.transforms if isinstance(transform, Composite) else (transform,):
                merged = _merged(parts[-1], part) if parts else None
                if merged is None:
                    parts.append(part)
                else:
                    parts[-1] = merged
        return parts[0] if len(parts) == 1 else cls(tuple(parts))

    @property
    def fixed_shape(self) -> Shape | None:  # type: ignore[override]  # a plain attribute of the others
        """The grid that the first transform starts from."""
        return self.transforms[0].fixed_shape

    @property
    def moving_shape(self) -> Shape | None:  # type: ignore[override]
        """The grid that the last transform leads to."""
        return self.transforms[-1].moving_shape

    def __call__(self, points: npt.ArrayLike) -> Points:
        """The moving coordinates of `points`, an (N, 2) array of fixed x, y."""
        return reduce(lambda moved, transform: transform(moved), self.transforms, checked_points(points))

    def positions(self, rows: range, columns: range) -> Points:
        """The moving coordinates of a window of pixels of the fixed grid, as a (2, rows, columns) array of x and y."""
        # Only the first one starts from pixels, which is quicker than from arbitrary points.
        first = self.transforms[0].positions(rows, columns)
        points: Points = first.reshape(2, -1).T
        for transform in self.transforms[1:]:
            points = transform(points)
        return np.ascontiguousarray(points.T).reshape(first.shape)

    def inverse(self) -> Transform:
        """The inverses in reverse order; a field's is found on its grid, see `DisplacementField.inverse`."""
        return Composite.of(transform.inverse() for transform in reversed(self.transforms))

    def solve(self, points: npt.ArrayLike) -> Points:
        """The fixed coordinates that the transforms take to `points`, an (N, 2) array of moving x, y, one by one."""
        return reduce(
            lambda moved, transform: transform.solve(moved), reversed(self.transforms), checked_points(points)
        )

    def to_dict(self) -> dict[str, Any]:
        """The transform as JSON types, as `from_dict` reads it."""
        return described(self, self.models[0], transforms=[part.to_dict() for part in self.transforms])

    @classmethod
    def _from_fields(cls, fields: Mapping[str, Any]) -> "Composite":
        parts = field_of(fields, "transforms")
        if not isinstance(parts, list):
            raise ImgtoolError("the transform's transforms must be a list")
        return cls(tuple(Transform.from_dict(part) for part in parts))


def _merged(first: Transform, after: Transform) -> Transform | None:
    """The two as one, where a matrix follows a matrix or a spline, which has one itself."""
    if not isinstance(after, MatrixTransform):
        return None
    if isinstance(first, MatrixTransform):
        return product(first, after)
    if isinstance(first, BSplineTransform) and after.model != "projective":
        return replace(first, matrix=after.matrix @ first.matrix, moving_shape=after.moving_shape)
    return None
