"""What a deformation could be known to at best, and what the images of the pair `flow` themselves say.

    python tests/bench/deformable_limits.py DATA

The first table is for the cases of deformable.py. If each intensity of fixed told which of moving belongs to it, noise
apart, the pull of a pixel on the displacement would be that of least squares: the gradient of moving over the
variance of the noise of both images. From this, noise drawn from it, and displacements drawn as the cases draw theirs,
follow the errors of the best linear estimate (with the covariance of the displacements known) and of the best weight of
the bending energy. Nothing that sees two contrasts whose relation it must learn can do better.

The pair `flow` is a thermal image warped by a known field, and a visible one, which its makers took for aligned with
the thermal image as it was. The thermal image before the warp tells whether it is.
"""

import argparse
from pathlib import Path

import numpy as np
from deformable import SLICES, Case, brain, photo
from scipy import ndimage

import imgtool
from imgtool import io

NOISE, SIGMA = 0.03, 18.0
DRAWS = 40


def differences(count):
    """Matrices of first and second differences between neighbouring nodes."""
    first = np.diff(np.eye(count), axis=0)
    return first, np.diff(first, axis=0)


def bending(rows, columns, step):
    """The matrix of the bending energy on a lattice of nodes, `step` pixels apart."""
    (first_y, second_y), (first_x, second_x) = differences(rows), differences(columns)
    parts = [np.kron(second_y.T @ second_y, np.eye(columns)), np.kron(np.eye(rows), second_x.T @ second_x)]
    return (sum(parts) + 2 * np.kron(first_y.T @ first_y, first_x.T @ first_x)) / step**2


def both(matrix):
    """The matrix for x and for y."""
    return np.kron(np.eye(2), matrix)


def limits(first, second, judged, step):
    """Median and 95th percentile of the errors of the best estimate, and of the best one by bending energy."""
    y, x = (np.arange(0, size, step) for size in second.shape)
    nodes = np.stack(np.meshgrid(y, x, indexing="ij"), axis=-1).reshape(-1, 2)
    rng = np.random.default_rng(0)
    field = [ndimage.gaussian_filter(rng.standard_normal(second.shape), SIGMA, mode="reflect") for _ in range(2)]
    deviation = np.std(field) * 4.5 / np.hypot(*field).max()
    apart = ((nodes[:, None] - nodes[None]) ** 2).sum(axis=-1)
    covariance = deviation**2 * np.exp(-apart / (4 * SIGMA**2)) + 1e-6 * np.eye(len(nodes))
    down, across = np.gradient(second)
    slope = np.hypot(down, across) / np.maximum(np.hypot(*np.gradient(first)), 1e-9)
    variance = (NOISE * np.ptp(second)) ** 2 + (slope * NOISE * np.ptp(first)) ** 2

    def known(product):
        return np.diag(ndimage.uniform_filter(product / variance, step)[::step, ::step].ravel() * step**2)

    information = np.block([[known(down**2), known(down * across)], [known(down * across), known(across**2)]])
    truth = both(np.linalg.cholesky(covariance)) @ rng.standard_normal((2 * len(nodes), DRAWS))
    values, vectors = np.linalg.eigh(information)
    noise = vectors @ (np.sqrt(np.maximum(values, 0))[:, None] * rng.standard_normal(truth.shape))

    def errors(prior):
        penalty = both(prior) + 1e-9 * np.eye(len(information))
        off = np.linalg.solve(information + penalty, information @ truth + noise) - truth
        lengths = np.hypot(*off.reshape(2, len(nodes), DRAWS))[judged[::step, ::step].ravel()]
        return np.median(lengths), np.percentile(lengths, 95)

    stiffness = bending(y.size, x.size, step)
    return errors(np.linalg.inv(covariance)), min(errors(weight * stiffness) for weight in (30, 100, 300, 1000))


def flow(data):
    """How the known field, and registration on both ways, fit together."""
    folder = data / "registration" / "2d" / "flow_MSRS_00081D"
    fixed, visible, thermal = (luminance(folder / name) for name in ("fixed.png", "moving.png", "ir_unwarped.png"))
    arrays = np.load(folder / "flow.npz")
    truth = np.stack([arrays["map_x"], arrays["map_y"]]).reshape(2, -1).T
    height, width = fixed.shape
    points = np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=-1).reshape(-1, 2).astype(float)
    inside = ((truth >= 0) & (truth <= (width - 1, height - 1))).all(axis=1)
    points, truth = points[inside], truth[inside]

    def apart(one, other):
        return np.linalg.norm(one - other, axis=1).mean()

    back = imgtool.register(fixed, thermal, model="bspline").transform(points)
    onto_visible = imgtool.register(thermal, visible, model="bspline").transform
    direct = imgtool.register(fixed, visible, model="bspline").transform(points)
    print("\nflow, mean distances in px")
    print(f"warped thermal to thermal, from the known field: {apart(back, truth):.2f}")
    print(f"thermal to visible, from the identity: {apart(onto_visible(truth), truth):.2f}")
    print(f"warped thermal to visible, from the known field: {apart(direct, truth):.2f}")
    print(f"warped thermal to visible, from the way through thermal: {apart(direct, onto_visible(back)):.2f}")


def luminance(path):
    """The pixels of a gray or colour file, as gray."""
    values = io.read(path).data.astype(np.float32)
    return values if values.ndim == 2 else values[..., :3].mean(axis=2)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    data = parser.parse_args().data
    print("| pair | best estimate, median / p95 px | by bending energy |")
    print("|---|---|---|")
    cases = [(f"brain {number}", brain(data, number), 7) for number in SLICES] + [("photo", photo(data), 14)]
    for name, (first, second), step in cases:
        judged = Case(first, second, 0).judged
        best, bent = limits(first, second, judged, step)
        print(f"| {name} | {best[0]:.3f} / {best[1]:.2f} | {bent[0]:.3f} / {bent[1]:.2f} |", flush=True)
    flow(data)


if __name__ == "__main__":
    main()
