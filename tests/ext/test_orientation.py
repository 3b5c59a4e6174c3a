"""Orientation kernels: all shifts at once agree with one shift after another, on every build."""

import numpy as np
import pytest

from imgtool import _ext
from imgtool._fields import Field


def field(rng, shape):
    return Field.of(rng.random(shape).astype(np.float32), shape)


def seen(moving, angle, shift, shape):
    """The orientations and weights of the moving field, turned and shifted onto the grid of fixed."""
    y, x = np.mgrid[: shape[0], : shape[1]].astype(float)
    cos, sin = np.cos(angle), np.sin(angle)
    x, y = x - (shape[1] - 1) / 2 + shift[0], y - (shape[0] - 1) / 2 + shift[1]
    height, width = moving.weight.shape
    u, v = cos * x - sin * y + (width - 1) / 2, sin * x + cos * y + (height - 1) / 2
    inside = (u >= 0) & (v >= 0) & (u <= width - 1) & (v <= height - 1)
    x0, y0 = (np.clip(np.floor(w).astype(int), 0, size - 2) for w, size in ((u, width), (v, height)))
    s, t = (u - x0)[..., None], (v - y0)[..., None]
    p = moving.pixels.astype(float)
    top = p[y0, x0] * (1 - s) + p[y0, x0 + 1] * s
    bottom = p[y0 + 1, x0] * (1 - s) + p[y0 + 1, x0 + 1] * s
    gx, gy, weight, _ = np.moveaxis(top * (1 - t) + bottom * t, -1, 0)
    g = (cos * gx + sin * gy) + 1j * (cos * gy - sin * gx)
    return np.where(inside, g**2 / (abs(g) ** 2 + moving.noise), 0), np.where(inside, weight, 0)


@pytest.mark.parametrize("angles", [[0.0], [0.3, 2.0, -1.0]])
def test_the_best_shifts_are_those_of_a_plain_sum(isa, angles):
    rng = np.random.default_rng(1)
    fixed, moving = field(rng, (21, 27)), field(rng, (25, 19))
    shifts = _ext.Shifts(*fixed.orientation, np.ascontiguousarray(fixed.weight), 64)
    peaks = np.zeros((len(angles), 2, 3))
    shifts.scan(moving.pixels, moving.noise, np.array(angles), 200.0, peaks, 0, len(angles))
    real, imaginary = fixed.orientation
    for angle, rows in zip(angles, peaks, strict=True):
        assert rows[0, 0] >= rows[1, 0] > 0
        # Whole shifts of the tile are half shifts of the centres where their sizes differ in parity.
        for score, x, y in rows:
            z, weight = seen(moving, angle, (x, y), fixed.weight.shape)
            overlap = (weight * fixed.weight).sum()
            assert overlap >= 200
            assert score == pytest.approx(((real - 1j * imaginary) * z).real.sum() / np.sqrt(overlap), rel=1e-3)
        for dx, dy in ((0, 1), (1, 0), (-2, 1), (2, 2)):
            z, weight = seen(moving, angle, (rows[0, 1] + dx, rows[0, 2] + dy), fixed.weight.shape)
            overlap = (weight * fixed.weight).sum()
            assert ((real - 1j * imaginary) * z).real.sum() / np.sqrt(overlap) <= rows[0, 0] * (1 + 1e-3)


def test_slabs_of_angles_give_the_same_bits(isa):
    rng = np.random.default_rng(2)
    fixed, moving = field(rng, (32, 32)), field(rng, (32, 32))
    shifts = _ext.Shifts(*fixed.orientation, np.ascontiguousarray(fixed.weight), 64)
    angles = np.linspace(0, 6, 7)
    whole, parts = np.zeros((2, 7, 3, 3))
    shifts.scan(moving.pixels, moving.noise, angles, 100.0, whole, 0, 7)
    for start in (0, 2, 4, 6):
        shifts.scan(moving.pixels, moving.noise, angles, 100.0, parts, start, min(start + 2, 7))
    assert whole.tobytes() == parts.tobytes()


def test_a_field_that_does_not_fit_the_tile_is_refused():
    plane = np.zeros((40, 40), np.float32)
    for n in (32, 48, 2048):
        with pytest.raises(ValueError, match="power of two"):
            _ext.Shifts(plane, plane, plane, n)


def test_agreement_at_a_matrix_is_the_plain_sum(isa):
    rng = np.random.default_rng(3)
    fixed, moving = field(rng, (20, 24)), field(rng, (22, 20))
    angle, shift = 0.4, (1.3, -2.2)
    cos, sin = np.cos(angle), np.sin(angle)
    matrix = np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]])
    centres = [(np.array(f.weight.shape[::-1]) - 1) / 2 for f in (fixed, moving)]
    matrix[:2, 2] = matrix[:2, :2] @ (shift - centres[0]) + centres[1]
    sums = np.empty(19)
    _ext.orientation_sums(fixed.samples, moving.pixels, moving.noise, matrix, sums)
    z, weight = seen(moving, angle, shift, fixed.weight.shape)
    f = fixed.orientation[0] + 1j * fixed.orientation[1]
    f = np.where(abs(f) > 0.05, f, 0)
    assert sums[0] == pytest.approx((f.conj() * z).real.sum(), rel=1e-4, abs=1e-3)
    assert sums[1] == pytest.approx((abs(f) ** 2 * abs(z) ** 2).sum(), rel=1e-4)
    assert sums[2] == pytest.approx((abs(f) ** 2 * weight).sum(), rel=1e-4)


@pytest.mark.parametrize("shape", [(7, 5), (4, 4), (9, 11), (1, 3)])
def test_area_means_are_means_over_what_exists(isa, shape):
    rng = np.random.default_rng(4)
    image = rng.random((9, 11)).astype(np.float32)
    image[2, 3], image[:2, 6:] = np.nan, np.nan
    means, weights = np.empty((2, *shape), np.float32)
    _ext.area_means(image, means, weights)
    for i, j in np.ndindex(shape):
        shares = [
            np.clip(np.minimum(np.arange(1, n + 1), (k + 1) * n / m) - np.maximum(np.arange(n), k * n / m), 0, None)
            for n, m, k in ((9, shape[0], i), (11, shape[1], j))
        ]
        area = np.outer(*shares)
        there = np.where(np.isnan(image), 0, area)
        assert weights[i, j] == pytest.approx(there.sum() / area.sum(), abs=1e-5)
        if there.sum() > 1e-6:
            assert means[i, j] == pytest.approx(np.nansum(image * area) / there.sum(), rel=1e-4)
