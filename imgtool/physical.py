"""Registration of images whose pixels have a size: on a common grid of square pixels, told in pixels again."""

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ._check import Array, thread_count
from ._ffd import checked_spacing
from .errors import ImgtoolError
from .filters import convolve
from .metrics import pixel_mask, real_image
from .registration import Registration
from .registration import register as register_pixels
from .transforms import BSplineTransform, MatrixTransform, warp

Matrix = npt.NDArray[np.float64]
Spacing = tuple[float, float]

_LEAST_SIDE = 4
_MOST_PIXELS = 1 << 28


def register(
    fixed: npt.ArrayLike,
    moving: npt.ArrayLike,
    fixed_spacing: Spacing,
    moving_spacing: Spacing,
    *,
    fixed_mask: npt.ArrayLike | None = None,
    moving_mask: npt.ArrayLike | None = None,
    initial: MatrixTransform | None = None,
    grid_spacing: float | None = None,
    threads: int | None = None,
    **options: Any,
) -> Registration:
    """`imgtool.register` where pixels have sizes, so that "rigid" is rigid in millimetres and not in pixels.

    Both images are brought to square pixels of one size: that of the coarser image, whose detail is all that the two
    have in common. The transform found there is told in the pixels of the two images as they are.

    Parameters
    ----------
    fixed, moving : (height, width) arrays of real numbers
        NaN pixels do not count.
    fixed_spacing, moving_spacing : (x, y)
        Size of a pixel of each, in one unit.
    fixed_mask, moving_mask : array_like, (height, width), optional
        Pixels where it is zero do not count.
    initial : MatrixTransform, optional
        Where to begin, in pixels.
    grid_spacing : float, optional
        Distance of the control points of the model "bspline", in widths or heights of a pixel of `fixed`, whichever is
        less. Default: 16 pixels of the common size.
    threads : int, optional
        Default: every processor.
    **options
        As for `imgtool.register`, but for channels.

    Returns
    -------
    Registration
        Its transform maps pixels to pixels; as a rigid motion of pixels that are not square is no rigid matrix, its
        model is "affine" where the sizes differ.

    Raises
    ------
    ImgtoolError
        If a spacing is not positive, an image would be too small or large on the common grid, or control points would
        be closer than its pixels.

    Examples
    --------
    >>> import numpy as np
    >>> y, x = np.mgrid[:64, :64]
    >>> fixed = np.sin(x / 5) + np.cos(y / 7) + x / 64
    >>> found = register(fixed, fixed[:, ::2], (1, 1), (2, 1), model="rigid", search="none")
    >>> found.transform([[20, 30]]).round(0)
    array([[10., 30.]])
    """
    threads = thread_count(threads)
    images = [_masked(fixed, fixed_mask, "fixed"), _masked(moving, moving_mask, "moving")]
    spacings = [_checked(fixed_spacing), _checked(moving_spacing)]
    side = max(map(min, spacings))
    grids = [_Grid(image.shape, spacing, side) for image, spacing in zip(images, spacings, strict=True)]
    planes = [grid.resampled(image, threads) for grid, image in zip(grids, images, strict=True)]
    if initial is not None:
        matrix = np.linalg.inv(grids[1].to_pixels) @ initial.matrix @ grids[0].to_pixels
        initial = MatrixTransform(matrix, initial.model, *(grid.shape for grid in grids))
    if grid_spacing is not None:
        grid_spacing = _on_common_grid(grid_spacing, min(spacings[0]) / side)
    found = register_pixels(*planes, initial=initial, grid_spacing=grid_spacing, threads=threads, **options)
    square = len({*spacings[0], *spacings[1]}) == 1
    transform = _in_pixels(found.transform, grids, (images[0].shape, images[1].shape), square)
    return replace(found, transform=transform, warped=warp(images[1], transform, threads=threads))


def _on_common_grid(grid_spacing: Any, pixel: float) -> float:
    """A distance of control points in pixels of the common grid, of which a pixel of fixed is so many."""
    spacing = checked_spacing(grid_spacing)
    if spacing * pixel < 1:
        raise ImgtoolError(
            f"grid_spacing {spacing:g} is less than the common pixel size of both images; use {1 / pixel:g} or more"
        )
    return spacing * pixel


def _in_pixels(
    found: MatrixTransform | BSplineTransform,
    grids: list["_Grid"],
    shapes: tuple[tuple[int, ...], tuple[int, ...]],
    square: bool,
) -> MatrixTransform | BSplineTransform:
    """What was found on the common grids, between pixels of images of these shapes."""
    to_fixed, to_moving = (grid.to_pixels for grid in grids)
    matrix = to_moving @ found.matrix @ np.linalg.inv(to_fixed)
    fixed_shape, moving_shape = ((height, width) for height, width in shapes)
    if isinstance(found, BSplineTransform):
        steps = grids[0].steps
        x, y = to_fixed[:2, :2] @ found.origin + to_fixed[:2, 2]
        return BSplineTransform(
            found.coefficients * steps[:, None, None],
            spacing=(found.spacing[0] * steps[0], found.spacing[1] * steps[1]),
            origin=(x, y),
            matrix=matrix,
            fixed_shape=fixed_shape,
            moving_shape=moving_shape,
        )
    model = found.model if square or found.model == "projective" else "affine"
    return MatrixTransform(matrix / matrix[2, 2], model, fixed_shape, moving_shape)


def _masked(image: npt.ArrayLike, mask: npt.ArrayLike | None, name: str) -> Array:
    plane = real_image(image, name)
    if plane.ndim != 2:
        raise ImgtoolError(f"{name} must be a plane, (height, width), not of shape {plane.shape}")
    if mask is None:
        return plane
    return np.where(pixel_mask(mask, plane.shape, f"{name}_mask"), plane, plane.dtype.type(np.nan))


def _checked(spacing: Spacing) -> Spacing:
    x, y = map(float, spacing)
    if not (0 < x < np.inf and 0 < y < np.inf):
        raise ImgtoolError(f"spacing must be two numbers above 0, the width and height of a pixel, not {x:g}, {y:g}")
    return x, y


class _Grid:
    """The grid of square pixels of a side over an image, centre upon centre."""

    def __init__(self, shape: tuple[int, ...], spacing: Spacing, side: float) -> None:
        steps = side / np.array(spacing)  # in pixels of the image, x and y
        sizes = np.rint(np.array(shape[1::-1]) / steps)
        if sizes.min() < _LEAST_SIDE or sizes.prod() > _MOST_PIXELS:
            what = f"an image of {shape[1]}x{shape[0]} would have {sizes[0]:.0f}x{sizes[1]:.0f}"
            raise ImgtoolError(f"at the common pixel size of {side:g} {what} pixels; check the spacing of both images")
        self.shape = int(sizes[1]), int(sizes[0])
        self.steps = steps
        self.to_pixels: Matrix = np.diag([*steps, 1.0])
        self.to_pixels[:2, 2] = ((np.array(shape[1::-1]) - 1) - (sizes - 1) * steps) / 2

    def resampled(self, image: Array, threads: int) -> Array:
        """`image` on this grid, smoothed where its pixels are finer."""
        if (self.steps == 1).all():
            return image
        image, missing = image.copy(), np.isnan(image)
        # A Gaussian that together with the image's own pixel is as wide as the new one.
        for axis, step in ((1, self.steps[0]), (0, self.steps[1])):
            if step > 1:
                image = _smoothed(image, np.sqrt(step**2 - 1) / 2, axis, threads)
        image[missing] = np.nan
        transform = MatrixTransform(self.to_pixels, "affine", self.shape, (image.shape[0], image.shape[1]))
        return warp(image, transform, interpolation="cubic", threads=threads)


def _smoothed(image: Array, sigma: float, axis: int, threads: int) -> Array:
    reach = int(np.ceil(4 * sigma))
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    kernel = weights[None] if axis else weights[:, None]
    return convolve(image, kernel / weights.sum(), border="renormalize", nan="ignore", threads=threads)
