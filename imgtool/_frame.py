"""Matrices of the plane as functions of parameters that are lengths."""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Matrix = npt.NDArray[np.float64]
Vector = npt.NDArray[np.float64]

# From the fewest parameters to the most; each can do what those before it can.
LADDER = ("translation", "rigid", "similarity", "affine", "projective")


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

    @property
    def corners(self) -> Matrix:
        """The centres of the fixed image's corner pixels, (4, 2) x, y."""
        width, height = self.fixed_centre
        signs = np.array([[-1.0, -1], [1, -1], [-1, 1], [1, 1]])
        return np.asarray(self.fixed_centre + signs * (width, height))

    def distance(self, one: Matrix, other: Matrix) -> float:
        """How far apart two matrices take the corners of the fixed image, at most, in pixels."""
        apart = np.linalg.norm(mapped(one, self.corners) - mapped(other, self.corners), axis=1).max()
        return float(apart) if np.isfinite(apart) else math.inf

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

    def same(self, one: Matrix, other: Matrix, share: float) -> bool:
        """Whether two matrices take the corners to places that differ by less than this share of the fixed image."""
        return self.distance(one, other) < share * (2 * float(self.fixed_centre.max()) + 1) * self.size(other)

    def about_centres(self, matrix: Matrix) -> Matrix:
        """`matrix` between coordinates that begin at the images' centres, its last entry 1."""
        inner = _shift(-self.moving_centre) @ matrix @ _shift(self.fixed_centre)
        return np.asarray(inner / inner[2, 2])

    def matrix(self, model: str, parameters: Vector) -> Matrix:
        """The 3x3 matrix, its last entry 1."""
        inner, _ = self._inner(model, parameters)
        matrix = _shift(self.moving_centre) @ inner @ _shift(-self.fixed_centre)
        return np.asarray(matrix / matrix[2, 2])

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
        inner, derivatives = self._inner(model, parameters)
        unscaled = _shift(self.moving_centre) @ inner @ _shift(-self.fixed_centre)
        by_inner = _shift(self.moving_centre).T @ (by_matrix / unscaled[2, 2]) @ _shift(-self.fixed_centre).T
        return np.array([float(np.vdot(derivative, by_inner)) for derivative in derivatives])

    def _inner(self, model: str, parameters: Vector) -> tuple[Matrix, list[Matrix]]:
        """The matrix about the centres, and its derivatives with respect to the parameters."""
        inner = np.eye(3)
        inner[:2, 2] = parameters[:2]
        derivatives = [_entry(0, 2), _entry(1, 2)]
        shape = parameters[2:] / self.radius
        if model in ("affine", "projective"):
            inner[:2, :2] += shape[:4].reshape(2, 2)
            derivatives += [_entry(i, j) / self.radius for i in (0, 1) for j in (0, 1)]
            if model == "projective":
                inner[2, :2] = shape[4:] / self.radius
                derivatives += [_entry(2, j) / self.radius**2 for j in (0, 1)]
        elif model != "translation":
            cos, sin = np.cos(shape[0]), np.sin(shape[0])
            scale = np.exp(shape[1]) if model == "similarity" else 1.0
            inner[:2, :2] = scale * np.array([[cos, -sin], [sin, cos]])
            turned = np.zeros((3, 3))
            turned[:2, :2] = scale / self.radius * np.array([[-sin, -cos], [cos, -sin]])
            derivatives.append(turned)
            if model == "similarity":
                grown = np.zeros((3, 3))
                grown[:2, :2] = inner[:2, :2] / self.radius
                derivatives.append(grown)
        return inner, derivatives


def mapped(matrix: Matrix, points: Matrix) -> Matrix:
    """`points` (N, 2) under a 3x3 matrix; infinite where its denominator is not positive."""
    places = points @ matrix[:, :2].T + matrix[:, 2]
    denominators = places[:, 2:]
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(denominators > 0, places[:, :2] / denominators, np.inf)


def _shift(by: Vector) -> Matrix:
    matrix = np.eye(3)
    matrix[:2, 2] = by
    return matrix


def _entry(row: int, column: int) -> Matrix:
    matrix = np.zeros((3, 3))
    matrix[row, column] = 1
    return matrix
