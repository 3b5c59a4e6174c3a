"""Matrices of the plane as functions of parameters that are lengths."""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

Matrix = npt.NDArray[np.float64]
Vector = npt.NDArray[np.float64]

# From the fewest parameters to the most; each can do what those before it can.
LADDER = ("translation", "rigid", "similarity", "affine", "projective")
_FAR = 1e9


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

    @cached_property
    def corners(self) -> Matrix:
        """The centres of the fixed image's corner pixels, (4, 2) x, y."""
        width, height = self.fixed_centre
        signs = np.array([[-1.0, -1], [1, -1], [-1, 1], [1, 1]])
        return np.asarray(self.fixed_centre + signs * (width, height))

    def places(self, matrix: Matrix) -> Matrix:
        """Where a matrix takes the corners, (4, 2) x, y; far away where their denominator is not positive."""
        x, y, depth = matrix @ self._corner_columns
        behind = depth <= 0
        if behind.any():
            return np.where(behind, _FAR, np.stack([x, y]) / np.where(behind, 1, depth)).T
        return np.asarray((np.stack([x, y]) / depth).T)

    def distance(self, one: Matrix, other: Matrix) -> float:
        """How far apart two matrices take the corners of the fixed image, at most, in pixels."""
        return float(np.linalg.norm(self.places(one) - self.places(other), axis=1).max())

    def same(self, one: Matrix, other: Matrix, share: float) -> bool:
        """Whether two matrices take the corners to places that differ by less than this share of the fixed image."""
        return self.distance(one, other) < share * self.side * self.size(other)

    @property
    def side(self) -> float:
        """The longer side of the fixed image, in pixels."""
        return 2 * float(self.fixed_centre.max()) + 1

    @cached_property
    def _corner_columns(self) -> Matrix:
        return np.vstack([self.corners.T, np.ones(4)])

    def linear(self, matrix: Matrix) -> Matrix:
        """The 2x2 derivative at the centre."""
        inner = self.about_centres(matrix)
        return np.asarray(inner[:2, :2] - np.outer(inner[:2, 2], inner[2, :2]))

    def size(self, matrix: Matrix) -> float:
        """Pixels of moving for a pixel of fixed, at the centre."""
        return math.sqrt(abs(float(np.linalg.det(self.linear(matrix)))))

    def angle(self, matrix: Matrix) -> float:
        """The rotation at the centre, in radians."""
        linear = self.linear(matrix)
        return math.atan2(linear[1, 0] - linear[0, 1], linear[0, 0] + linear[1, 1])

    def denominators(self, matrix: Matrix) -> Vector:
        """How far away the four corners are, where the centre is at 1."""
        return np.asarray(1 + (self.corners - self.fixed_centre) @ self.about_centres(matrix)[2, :2])

    def about_centres(self, matrix: Matrix) -> Matrix:
        """`matrix` between coordinates that begin at the images' centres, its last entry 1."""
        inner = self._to_moving_centre @ matrix @ self._from_fixed_centre
        return np.asarray(inner / inner[2, 2])

    def matrix(self, model: str, parameters: Vector) -> Matrix:
        """The 3x3 matrix, its last entry 1."""
        matrix = self._from_moving_centre @ self._inner(model, parameters) @ self._to_fixed_centre
        return np.asarray(matrix / matrix[2, 2]) if model == "projective" else matrix

    def parameters(self, model: str, matrix: Matrix) -> Vector:
        """The parameters of `matrix`, or of the matrix of this model that is like it at the centre."""
        inner = self.about_centres(matrix)
        shift = inner[:2, 2]
        if model == "projective":
            shape = np.concatenate([(inner[:2, :2] - np.eye(2)).ravel(), inner[2, :2] * self.radius])
        else:
            if model == "affine":
                shape = (self.linear(matrix) - np.eye(2)).ravel()
            else:
                shape = np.array([self.angle(matrix), math.log(max(self.size(matrix), 1e-6))])[: LADDER.index(model)]
        return np.concatenate([shift, shape * self.radius])

    def nearest(self, model: str, matrix: Matrix) -> Matrix:
        """The matrix of this model that is like `matrix` at the centre."""
        return self.matrix(model, self.parameters(model, matrix))

    def gradient(self, model: str, parameters: Vector, by_matrix: Matrix) -> Vector:
        """The derivative with respect to the parameters, from that with respect to the 3x3 entries of `matrix`.

        The value must not depend on the size of the matrix as a whole: 2 A is the same transform as A.
        """
        inner = self._inner(model, parameters)
        by_inner = self._from_moving_centre.T @ by_matrix @ self._to_fixed_centre.T
        if model == "projective":
            by_inner /= self._from_moving_centre[2] @ inner @ self._to_fixed_centre[:, 2]
        derivatives = self._derivatives[model]
        if model in ("rigid", "similarity"):
            derivatives = derivatives.copy()
            (a, b), (c, d) = inner[:2, :2]
            derivatives[2, :6] = -c, -d, 0, a, b, 0
            derivatives[2] /= self.radius
            if model == "similarity":
                derivatives[3, :6] = a, b, 0, c, d, 0
                derivatives[3] /= self.radius
        return np.asarray(derivatives @ by_inner.ravel())

    @cached_property
    def _to_moving_centre(self) -> Matrix:
        return _shift(-self.moving_centre)

    @cached_property
    def _from_fixed_centre(self) -> Matrix:
        return _shift(self.fixed_centre)

    @cached_property
    def _from_moving_centre(self) -> Matrix:
        return _shift(self.moving_centre)

    @cached_property
    def _to_fixed_centre(self) -> Matrix:
        return _shift(-self.fixed_centre)

    @cached_property
    def _derivatives(self) -> dict[str, Matrix]:
        """The nine entries of the matrix about the centres by the parameters; those of rotation and scale vary."""
        entries = np.eye(9)[[2, 5, 0, 1, 3, 4, 6, 7]]
        entries[2:6] /= self.radius
        entries[6:] /= self.radius**2
        out = {"translation": entries[:2], "affine": entries[:6], "projective": entries}
        for i, model in enumerate(("rigid", "similarity")):
            out[model] = np.zeros((3 + i, 9))
            out[model][:2] = entries[:2]
        return out

    def _inner(self, model: str, parameters: Vector) -> Matrix:
        """The matrix about the centres."""
        x, y, *rest = parameters.tolist()
        shape = [value / self.radius for value in rest]
        a, b, c, d = 1.0, 0.0, 0.0, 1.0
        g = h = 0.0
        if model in ("affine", "projective"):
            a, b, c, d = 1 + shape[0], shape[1], shape[2], 1 + shape[3]
            if model == "projective":
                g, h = shape[4] / self.radius, shape[5] / self.radius
        elif model != "translation":
            scale = math.exp(shape[1]) if model == "similarity" else 1.0
            a, c = scale * math.cos(shape[0]), scale * math.sin(shape[0])
            b, d = -c, a
        return np.array([[a, b, x], [c, d, y], [g, h, 1.0]])


def _shift(by: Vector) -> Matrix:
    matrix = np.eye(3)
    matrix[:2, 2] = by
    return matrix
