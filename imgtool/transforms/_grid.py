"""Sizes of pixel grids."""

from typing import Any

from ..errors import ImgtoolError

Shape = tuple[int, int]


def checked_shape(values: Any, name: str) -> Shape:
    """`values` as (height, width); `name` is for the error message."""
    try:
        sizes = [int(size) for size in values if not isinstance(size, bool) and int(size) == size > 0]
        if len(sizes) == len(values) == 2:
            return sizes[0], sizes[1]
    except (TypeError, ValueError):
        pass
    raise ImgtoolError(f"the transform's {name} must be [height, width] in pixels, not {values!r}")
