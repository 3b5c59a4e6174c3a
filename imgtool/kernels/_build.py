"""How each named kernel is built.

All are written for true convolution: a derivative is positive where the image grows brighter along its axis.
"""

import math
from collections.abc import Callable
from functools import reduce
from itertools import product
from typing import Any

import numpy as np

from ..errors import ImgtoolError
from ._arrays import Array, check_taps

Arrays = tuple[Array, ...]


def _spread(name: str, what: str, values: tuple[Any, ...], axes: int) -> tuple[Any, ...]:
    """Values in the order of an array's axes (x last), one repeated for all."""
    if len(values) not in (1, axes):
        raise ImgtoolError(f"kernel {name}: {what} has {len(values)} values for {axes} axes; give one, or one for each")
    return values * axes if len(values) == 1 else values[::-1]


# Smoothing and its derivatives


def _outer(factors: list[Array]) -> Array:
    return np.asarray(reduce(np.multiply.outer, factors))


def identity(axes: int) -> Arrays:
    return (np.ones((1,) * axes),)


def box(axes: int, size: tuple[int, ...]) -> Arrays:
    shape = _spread("box", "size", size, axes)
    check_taps(math.prod(shape), "kernel box")
    return (np.full(shape, 1 / math.prod(shape)),)


def binomial(axes: int, size: int) -> Arrays:
    row = np.array([math.comb(size - 1, i) / 2 ** (size - 1) for i in range(size)])
    check_taps(size**axes, "kernel binomial")
    return (_outer([row] * axes),)


def disk(axes: int, radius: float) -> Arrays:
    """The share of each pixel's area that lies inside the circle."""
    reach = min(math.ceil(radius - 0.5), 2**20)
    check_taps((2 * reach + 1) ** axes, "kernel disk")
    edges: Array = np.arange(-reach, reach + 2, dtype=np.float64) - 0.5
    corner = _quarter_disk(edges[:, np.newaxis], edges, radius)
    areas = np.diff(np.diff(corner, axis=0), axis=1)
    return (areas / areas.sum(),)


def _quarter_disk(y: Array, x: Array, radius: float) -> Array:
    """The area of a disk round the origin above [0, x] x [0, y], odd in both."""

    def below_arc(t: Array) -> Array:
        """The integral of sqrt(r^2 - t^2)."""
        return np.asarray((t * np.sqrt(radius**2 - t**2) + radius**2 * np.arcsin(t / radius)) / 2)

    height, width = np.abs(y), np.minimum(np.abs(x), radius)
    flat = np.minimum(width, np.sqrt(np.maximum(radius**2 - height**2, 0)))  # where the arc is above height
    area = height * flat + below_arc(width) - below_arc(flat)
    return np.asarray(np.sign(y) * np.sign(x) * area)


def _gaussian_rows(sigma: float, truncate: float, order: int, name: str, axes: int) -> Array:
    """A sampled Gaussian that sums to 1, or its derivative (its product with a Hermite polynomial) that sums to 0."""
    # The radius is scipy.ndimage.gaussian_filter's, so that results can be compared.
    radius = int(min(truncate * sigma + 0.5, 2**20))
    check_taps((2 * radius + 1) ** axes, f"kernel {name}")
    x = np.arange(-radius, radius + 1)
    with np.errstate(over="ignore"):  # a tiny sigma: all weight falls on the centre
        weights = np.exp(-0.5 * (x / sigma) ** 2)
    weights /= weights.sum()
    if order == 0:
        return weights
    # d^n/dx^n exp(-x^2 / 2s^2) = (-1/s)^n He_n(x / s) exp(-x^2 / 2s^2) (Abramowitz & Stegun 1964, 22.11.8)
    scale = max(sigma, 1e-30)  # a smaller one is refused below
    hermite = np.polynomial.hermite_e.hermeval(x / scale, [0] * order + [1])
    derivative = (-1 / scale) ** order * hermite * weights
    if radius == 0 or weights[radius - 1] == 0:
        raise ImgtoolError(f"kernel {name}: sigma {sigma:g} is too small for a derivative: no neighbour has any weight")
    # Cut off, a derivative of even order would answer to a constant image.
    return np.asarray(derivative - derivative.sum() * weights)


def _gaussian_array(name: str, axes: int, sigma: tuple[float, ...], truncate: float, order: tuple[int, ...]) -> Array:
    sigmas, orders = _spread(name, "sigma", sigma, axes), _spread(name, "order", order, axes)
    return _outer([_gaussian_rows(s, truncate, n, name, axes) for s, n in zip(sigmas, orders, strict=True)])


def gaussian(axes: int, sigma: tuple[float, ...], truncate: float, order: tuple[int, ...]) -> Arrays:
    return (_gaussian_array("gaussian", axes, sigma, truncate, order),)


def dog(axes: int, sigma: tuple[float, ...], ratio: float, truncate: float) -> Arrays:
    wide = _gaussian_array("dog", axes, tuple(s * ratio for s in sigma), truncate, (0,))
    narrow = _gaussian_array("dog", axes, sigma, truncate, (0,))
    return (_centred(narrow, wide.shape) - _centred(wide, narrow.shape),)


def _centred(array: Array, least: tuple[int, ...]) -> Array:
    """`array`, odd on each side, with zeros around it up to the size `least`."""
    return np.pad(array, [(max(0, (n - k) // 2),) * 2 for k, n in zip(array.shape, least, strict=True)])


def log(axes: int, sigma: tuple[float, ...], truncate: float) -> Arrays:
    twice = [tuple(2 * (axis == other) for other in range(axes)) for axis in range(axes)]
    return (np.asarray(sum(_gaussian_array("log", axes, sigma, truncate, order) for order in twice)),)


def unsharp(axes: int, sigma: tuple[float, ...], amount: float, truncate: float) -> Arrays:
    kernel = -amount * _gaussian_array("unsharp", axes, sigma, truncate, (0,))
    kernel[tuple(n // 2 for n in kernel.shape)] += 1 + amount
    return (kernel,)


# Edges


def directional(smoothing: tuple[int, int, int]) -> Callable[..., Arrays]:
    x = np.outer(smoothing, (1.0, 0.0, -1.0))

    def build(axes: int, direction: str) -> Arrays:
        return {"x": (x,), "y": (x.T.copy(),), "magnitude": (x, x.T.copy())}[direction]

    return build


def roberts(axes: int, direction: str) -> Arrays:
    falling, rising = np.array([[1.0, 0], [0, -1]]), np.array([[0, 1.0], [-1, 0]])
    return {"x": (falling,), "y": (rising,), "magnitude": (falling, rising)}[direction]


COMPASS = ("e", "se", "s", "sw", "w", "nw", "n", "ne")


def kirsch(axes: int, direction: str) -> Arrays:
    # The ring round the centre, clockwise from the top left; as a convolution kernel the bright side comes first.
    ring = [(0, 0), (0, 1), (0, 2), (1, 2), (2, 2), (2, 1), (2, 0), (1, 0)]
    kernels = {}
    for turn, name in enumerate(COMPASS):
        kernels[name] = np.full((3, 3), -3.0)
        kernels[name][1, 1] = 0
        for step in (6, 7, 8):
            kernels[name][ring[(step + turn) % 8]] = 5
    if direction == "magnitude":
        return tuple(kernels.values())
    return (kernels[{"x": "e", "y": "s"}.get(direction, direction)],)


def laplacian(axes: int, neighbours: str) -> Arrays:
    kernel = np.zeros((3,) * axes)
    for place in product(range(3), repeat=axes):
        distance = sum(abs(i - 1) for i in place)
        kernel[place] = distance == 1 or (neighbours == "8" and distance > 0)
    kernel[(1,) * axes] = -kernel.sum()
    return (kernel,)


def fixed(rows: list[list[float]]) -> Callable[..., Arrays]:
    return lambda axes: (np.array(rows, np.float64),)


# Motion and waves


def motion(axes: int, length: float, angle: float) -> Arrays:
    half = (length - 1) / 2
    turn = math.radians(angle)
    along = np.array([-math.sin(turn), math.cos(turn)])  # y grows downwards
    reach = [math.ceil(min(half * abs(part), 2**20) - 1e-9) for part in along]
    check_taps(math.prod(2 * n + 1 for n in reach), "kernel motion")
    y, x = np.mgrid[-reach[0] : reach[0] + 1, -reach[1] : reach[1] + 1]
    place = np.clip(y * along[0] + x * along[1], -half, half)
    weights = np.maximum(0, 1 - np.hypot(y - place * along[0], x - place * along[1]))
    return (weights / weights.sum(),)


def gabor(axes: int, sigma: float, wavelength: float, angle: float, gamma: float, phase: float) -> Arrays:
    turn = math.radians(angle)
    cos, sin = math.cos(turn), math.sin(turn)
    across = sigma / gamma
    reach = [int(min(4 * max(sigma * abs(a), across * abs(b)) + 0.5, 2**20)) for a, b in ((sin, cos), (cos, sin))]
    check_taps(math.prod(2 * n + 1 for n in reach), "kernel gabor")
    y, x = np.mgrid[-reach[0] : reach[0] + 1, -reach[1] : reach[1] + 1]
    u, v = x * cos - y * sin, x * sin + y * cos
    envelope = np.exp(-0.5 * ((u / sigma) ** 2 + (v / across) ** 2))
    return (envelope / envelope.sum() * np.cos(2 * math.pi * u / wavelength + math.radians(phase)),)
