"""How often imgtool.register finds pairs made anew from a folder of cases, and how often it is sure of strangers.

    python tests/bench/capture.py SET [--kind turned stretched window frame strangers] [--seed N]

turned: moving turned by up to 45 degrees, scaled by 0.8 to 1.25 and shifted by up to 15 %. stretched: turned by up to
15 degrees, each axis scaled by 0.92 to 1.08, sheared by up to 4 % and shifted by up to 8 %. window: the middle 62 % of
fixed, and of moving moved by 12 to 33 % of the window's width. frame: the same behind a circle, a cut circle or a
sector that does not move, black around. strangers: fixed of one case and moving of another. Noise of 1 %. A pair is
found if the mean error over a 17x17 grid is below 3 % of the longer side.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
from registration import gray, mapped
from scipy import ndimage

import imgtool

KINDS = ("turned", "stretched", "window", "frame", "strangers")


def similarity(shape, degrees, scale, shift):
    """Rotation and scale about the centre of an image, then a shift."""
    angle, centre = np.radians(degrees), (np.array(shape[::-1]) - 1) / 2
    matrix = np.eye(3)
    matrix[:2, :2] = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    matrix[:2, 2] = centre + shift - matrix[:2, :2] @ centre
    return matrix


def seen(image, matrix, shape):
    """out(p) = image(matrix p); the darkest value outside."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    places = mapped(matrix, np.stack([x.ravel(), y.ravel()], 1))
    return ndimage.map_coordinates(image, places[:, ::-1].T, order=1, cval=image.min()).reshape(shape)


def aperture(shape, rng):
    """Where a camera or a probe sees something."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    height, width = shape
    x, y = x - width / 2, y - height / 2
    kind = rng.integers(3)
    if kind == 0:
        return np.hypot(x, y) < min(shape) / 2
    if kind == 1:
        return (np.hypot(x, y) < 0.54 * max(shape)) & (abs(y) < 0.46 * height)
    radius = np.hypot(x, y + 0.6 * height)
    return (abs(np.arctan2(x, y + 0.6 * height)) < 0.75) & (radius > 0.25 * height) & (radius < 1.05 * height)


def made(kind, fixed, moving, truth, rng):
    """A new pair from an old one: fixed, moving and the matrix between them."""
    height, width = fixed.shape
    if kind == "turned":
        turn = similarity(
            moving.shape, rng.uniform(-45, 45), np.exp(rng.uniform(-0.223, 0.223)), rng.uniform(-0.15, 0.15, 2) * width
        )
        return fixed, seen(moving, np.linalg.inv(turn), moving.shape), turn @ truth
    if kind == "stretched":
        stretch = np.eye(3)
        stretch[:2, :2] = np.diag(rng.uniform(0.92, 1.08, 2)) @ [[1, rng.uniform(-0.04, 0.04)], [0, 1]]
        centred = np.eye(3)
        centred[:2, 2] = (np.array(moving.shape[::-1]) - 1) / 2
        turn = similarity(moving.shape, rng.uniform(-15, 15), 1, rng.uniform(-0.08, 0.08, 2) * width)
        turn = turn @ centred @ stretch @ np.linalg.inv(centred)
        return fixed, seen(moving, np.linalg.inv(turn), moving.shape), turn @ truth
    shape = int(0.62 * height), int(0.62 * width)
    place = np.array([[1, 0, (width - shape[1]) // 2], [0, 1, (height - shape[0]) // 2], [0, 0, 1.0]])
    way, far = rng.uniform(0, 2 * np.pi), rng.uniform(0.12, 0.33) * shape[1]
    motion = similarity(
        shape, rng.uniform(-11, 11), np.exp(rng.uniform(-0.08, 0.08)), far * np.array([np.cos(way), np.sin(way)])
    )
    images = seen(fixed, place, shape), seen(moving, truth @ place @ np.linalg.inv(motion), shape)
    if kind == "frame":
        keep = aperture(shape, rng)
        images = tuple(np.where(keep, image - image.min() + 0.02 * np.ptp(image), 0) for image in images)
    return *images, motion


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("set", type=Path)
    parser.add_argument("--kind", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    cases = []
    for folder in sorted(path.parent for path in options.set.glob("*/truth.json")):
        truth = json.loads((folder / "truth.json").read_text())
        pair = [gray(folder / truth[name]).astype(float) for name in ("fixed", "moving")]
        cases.append((folder.name, *pair, np.array(truth["A_fixed_to_moving"])))
    for kind in options.kind:
        rng = np.random.default_rng(options.seed)
        found, sure, sure_and_wrong, seconds = 0, 0, 0, []
        for number, (name, fixed, moving, matrix) in enumerate(cases):
            if kind == "strangers":
                # Half the list further on, so that it is another kind of image.
                other, _, moving, _ = cases[(number + len(cases) // 2) % len(cases)]
                name = f"{name}, {other}"
            else:
                fixed, moving, matrix = made(kind, fixed, moving, matrix, rng)
            noisy = [image + 0.01 * np.ptp(image) * rng.standard_normal(image.shape) for image in (fixed, moving)]
            if kind == "frame":
                noisy = [np.where(image == 0, 0, values) for image, values in zip((fixed, moving), noisy, strict=True)]
            begin = time.perf_counter()
            result = imgtool.register(*noisy)
            seconds.append(time.perf_counter() - begin)
            grid = np.stack(np.meshgrid(*(np.linspace(0, size - 1, 17) for size in fixed.shape[::-1])), -1).reshape(
                -1, 2
            )
            error = np.linalg.norm(result.transform(grid) - mapped(matrix, grid), axis=1).mean() / max(fixed.shape)
            right = kind != "strangers" and error < 0.03
            found, sure, sure_and_wrong = (
                found + right,
                sure + result.confident,
                sure_and_wrong + (result.confident > right),
            )
            if not right and (kind != "strangers" or result.confident):
                print(f"  {name}: error {100 * error:.1f} %, confidence {result.confidence:.2f}", flush=True)
        print(
            f"{kind}: {found} of {len(cases)} found, confident {sure} times, of these wrong {sure_and_wrong}; "
            f"median {np.median(seconds):.2f} s",
            flush=True,
        )


if __name__ == "__main__":
    main()
