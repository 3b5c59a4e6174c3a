"""What registration maximises: NMI of two images as a function of a matrix, and matrices as functions of parameters."""

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from . import _ext, metrics
from ._slabs import run_slabs
from .transforms import MODELS

Matrix = npt.NDArray[np.float64]
Vector = npt.NDArray[np.float64]
Plane = npt.NDArray[np.floating[Any]]

_SLAB_PIXELS = 1 << 15


def _jitter(size: int) -> npt.NDArray[np.float64]:
    """Offsets (x, y) within half a pixel for a tile of pixels: the R2 sequence of M. Roberts, evenly spread."""
    number = np.arange(1, size * size + 1)
    ratio = 1.32471795724474602596  # the root of x^3 = x + 1
    return np.stack([(number / ratio**power) % 1 - 0.5 for power in (1, 2)]).reshape(2, size, size)


JITTER = _jitter(32)


@dataclass
class Objective:
    """NMI of `fixed` and the warped `moving`, both planes of bin coordinates with NaN where pixels are missing.

    With `jitter`, samples are taken beside the pixels' centres, of both images by the same interpolation. At the
    centres moving would be smoothed by the interpolation wherever it is not shifted by whole pixels, and fixed would
    not: noise then makes NMI prefer, or shun, such shifts (J. Tsao, IEEE Transactions on Medical Imaging 22, 2003).

    Planes of one size and dtype take what an evaluation produces per pixel; they are allocated once.
    """

    fixed: Plane
    moving: Plane
    bins: int
    jitter: bool
    threads: int
    warped: Plane = field(init=False)
    along_x: Plane = field(init=False)
    along_y: Plane = field(init=False)
    derivative: Plane = field(init=False)

    def __post_init__(self) -> None:
        self.warped, self.along_x, self.along_y, self.derivative = (np.empty_like(self.fixed) for _ in range(4))
        self._slab_rows = max(1, _SLAB_PIXELS // self.fixed.shape[1])
        self._offsets = JITTER if self.jitter else np.zeros((2, 1, JITTER.shape[2]))
        if self.jitter:
            sampled = np.empty_like(self.fixed)
            everywhere = 0, len(self.fixed)
            _ext.sample_affine(self.fixed, np.eye(3), JITTER, sampled, self.along_x, self.along_y, *everywhere)
            self.fixed = sampled

    def histogram(self, matrix: Matrix) -> metrics.Table:
        """The joint histogram at `matrix`; its sum is the number of pixels in the overlap."""
        width = self.fixed.shape[1]
        fixed, warped = self.fixed.reshape(-1), self.warped.reshape(-1)

        def work(start: int, stop: int) -> metrics.Table:
            table = np.zeros((self.bins, self.bins))
            _ext.sample_affine(self.moving, matrix, self._offsets, self.warped, self.along_x, self.along_y, start, stop)
            _ext.joint_histogram(fixed, warped, table, start * width, stop * width)
            return table

        return metrics.total(run_slabs(work, len(self.fixed), self._slab_rows, self.threads))

    def matrix_gradient(self, slopes: metrics.Table) -> Matrix:
        """The derivative of NMI with respect to the first two rows of the matrix of the last `histogram`.

        The size of the overlap is taken as constant, as in NiftyReg: where the images' borders cross it changes by
        jumps.
        """
        width = self.fixed.shape[1]
        fixed, warped, derivative = (plane.reshape(-1) for plane in (self.fixed, self.warped, self.derivative))
        table = slopes.astype(self.fixed.dtype)

        def work(start: int, stop: int) -> Matrix:
            sums = np.zeros((2, 3))
            _ext.sample_slopes(fixed, warped, table, -np.inf, np.inf, derivative, start * width, stop * width)
            _ext.affine_sums(self.derivative, self.along_x, self.along_y, self._offsets, sums, start, stop)
            return sums

        return metrics.total(run_slabs(work, len(self.fixed), self._slab_rows, self.threads))


@dataclass(frozen=True)
class Frame:
    """The centres of both images and the distance from centre to corner of the fixed one, in full-size pixels.

    Parameters of every model are lengths: the displacement they cause at the corners of the fixed image.
    """

    fixed_centre: Vector
    moving_centre: Vector
    radius: float

    @classmethod
    def of(cls, fixed_shape: tuple[int, ...], moving_shape: tuple[int, ...]) -> "Frame":
        """The frame of two images with these shapes."""
        centres = [(np.array(shape[::-1], float) - 1) / 2 for shape in (fixed_shape, moving_shape)]
        return cls(centres[0], centres[1], math.hypot(*fixed_shape) / 2)

    def distance(self, one: Matrix, other: Matrix) -> float:
        """How far apart two matrices take the corners of the fixed image, at most, in pixels."""
        width, height = self.fixed_centre
        corners = self.fixed_centre[:, None] + [[-width, width, -width, width], [-height, -height, height, height]]
        return float(np.linalg.norm((one - other)[:2] @ np.vstack([corners, np.ones(4)]), axis=0).max())

    def matrix(self, model: str, parameters: Vector) -> Matrix:
        """The 3x3 matrix: fixed centre to moving centre plus shift, linear part about the centres."""
        linear, _ = _linear(model, parameters[2:] / self.radius)
        matrix = np.eye(3)
        matrix[:2, :2] = linear
        matrix[:2, 2] = self.moving_centre + parameters[:2] - linear @ self.fixed_centre
        return matrix

    def parameters(self, model: str, matrix: Matrix) -> Vector:
        """The parameters of `matrix`, or of the matrix of this model that is like it."""
        linear = matrix[:2, :2]
        shift = matrix[:2, 2] + linear @ self.fixed_centre - self.moving_centre
        if model == "affine":
            shape = (linear - np.eye(2)).ravel()
        else:
            angle = math.atan2(linear[1, 0] - linear[0, 1], linear[0, 0] + linear[1, 1])
            log_scale = math.log(abs(float(np.linalg.det(linear)))) / 2
            shape = np.array([angle, log_scale])[: MODELS.index(model)]
        return np.concatenate([shift, shape * self.radius])

    def gradient(self, model: str, parameters: Vector, by_matrix: Matrix) -> Vector:
        """The derivative with respect to the parameters, from that with respect to the first two matrix rows."""
        _, derivatives = _linear(model, parameters[2:] / self.radius)
        about_centre = by_matrix[:, :2] - np.outer(by_matrix[:, 2], self.fixed_centre)
        shape = [float(np.vdot(derivative, about_centre)) / self.radius for derivative in derivatives]
        return np.concatenate([by_matrix[:, 2], shape])


def _linear(model: str, shape: Vector) -> tuple[Matrix, list[Matrix]]:
    """The linear part of a model and its derivatives with respect to the parameters of its shape."""
    if model == "translation":
        return np.eye(2), []
    if model == "affine":
        return np.eye(2) + shape.reshape(2, 2), list(np.eye(4).reshape(4, 2, 2))
    cos, sin = np.cos(shape[0]), np.sin(shape[0])
    turn, turned = np.array([[cos, -sin], [sin, cos]]), np.array([[-sin, -cos], [cos, -sin]])
    if model == "rigid":
        return turn, [turned]
    scale = np.exp(shape[1])
    return scale * turn, [scale * turned, scale * turn]
