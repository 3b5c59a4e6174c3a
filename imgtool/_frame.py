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
        """Where a matrix takes the corners, (4, 2) x, y; far away where their denominator is not positive.

        Of several matrices, (..., 3, 3), each: (..., 4, 2).
        """
        homogeneous = matrix @ self._corner_columns
        depth = homogeneous[..., 2:, :]
        places = homogeneous[..., :2, :] / depth if depth.min() > 0 else _far_where_behind(homogeneous)
        return np.asarray(np.swapaxes(places, -1, -2))

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
        (a, b, x), (c, d, y), (g, h, _) = self.about_centres(matrix).tolist()
        return np.array([[a - x * g, b - x * h], [c - y * g, d - y * h]])

    def size(self, matrix: Matrix) -> float:
        """Pixels of moving for a pixel of fixed, at the centre."""
        large, small = self.scales(matrix)
        return math.sqrt(abs(large * small))

    def sizes(self, matrices: Matrix) -> Vector:
        """`size` of each of several matrices, (N, 3, 3)."""
        inner = self._to_moving_centre @ matrices @ self._from_fixed_centre
        inner /= inner[:, 2:, 2:]
        (a, b), (c, d) = (inner[:, :2, :2] - inner[:, :2, 2:] * inner[:, 2:, :2]).transpose(1, 2, 0)
        return np.asarray(np.sqrt(np.abs(a * d - b * c)))

    def scales(self, matrix: Matrix) -> tuple[float, float]:
        """The singular values of the derivative at the centre, the smaller one negative where it mirrors."""
        (a, b), (c, d) = self.linear(matrix).tolist()
        mean, half = math.hypot(a + d, c - b) / 2, math.hypot(a - d, c + b) / 2
        return mean + half, mean - half

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
        (a, b, x), (c, d, y), (g, h, one) = self._inner(model, parameters)
        (x0, y0), (x1, y1) = self._centres
        a, b, x = a + x1 * g, b + x1 * h, x + x1
        c, d, y = c + y1 * g, d + y1 * h, y + y1
        matrix = np.array([[a, b, x - a * x0 - b * y0], [c, d, y - c * x0 - d * y0], [g, h, one - g * x0 - h * y0]])
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
        (a, b, _), (c, d, _), (g, h, _) = self._inner(model, parameters)
        (x0, y0), (x1, y1) = self._centres
        # By the entries of the matrix about the centres: what is before and after it are shifts.
        rows = by_matrix.tolist()
        rows[2] = [third + x1 * first + y1 * second for first, second, third in zip(*rows, strict=True)]
        (by_a, by_b, by_x), (by_c, by_d, by_y), (by_g, by_h, _) = (
            [first - x0 * third, second - y0 * third, third] for first, second, third in rows
        )
        shape: tuple[float, ...] = ()
        if model in ("rigid", "similarity"):
            shape = (a * by_c + b * by_d - c * by_a - d * by_b,)
            if model == "similarity":
                shape += (a * by_a + b * by_b + c * by_c + d * by_d,)
        elif model != "translation":
            shape = by_a, by_b, by_c, by_d
        if model == "projective":
            shape += by_g / self.radius, by_h / self.radius
        gradient = np.array([by_x * self.radius, by_y * self.radius, *shape]) / self.radius
        # `matrix` divides the entries by the last one.
        return np.asarray(gradient / (1 - g * x0 - h * y0)) if model == "projective" else gradient

    @cached_property
    def _centres(self) -> tuple[list[float], list[float]]:
        return self.fixed_centre.tolist(), self.moving_centre.tolist()

    @cached_property
    def _to_moving_centre(self) -> Matrix:
        return _shift(-self.moving_centre)

    @cached_property
    def _from_fixed_centre(self) -> Matrix:
        return _shift(self.fixed_centre)

    def _inner(self, model: str, parameters: Vector) -> tuple[tuple[float, float, float], ...]:
        """The rows of the matrix about the centres."""
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
        return (a, b, x), (c, d, y), (g, h, 1.0)


def _far_where_behind(homogeneous: Matrix) -> Matrix:
    depth = homogeneous[..., 2:, :]
    behind = depth <= 0
    return np.where(behind, _FAR, homogeneous[..., :2, :] / np.where(behind, 1, depth))


def _shift(by: Vector) -> Matrix:
    matrix = np.eye(3)
    matrix[:2, 2] = by
    return matrix
