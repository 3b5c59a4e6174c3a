"""How far imgtool.register ends from a truth that it starts at, or near: corners of slices of two contrasts, in pixels.

    python tests/bench/drift.py ALIGNED [--seeds N] [--noise SHARE] [--model MODEL] [--only TEXT]
                                        [--shift PX | --turn PX | --given]

ALIGNED holds brainweb_*/t1.png, t2.png and pd.png; ITK's T1 and PD slices are those of the tests. Both images get their
own noise, a share of their range. By default they lie on each other. With --shift or --turn the second is moved by so
much, at the corners, into any direction. With --given it is turned by up to 10 degrees and shifted by up to 8 pixels
each way, and the registration begins at that truth (`initial`), which is not preferred then.

"stayed" counts results that are the start to the last bit; the errors are the largest of the four corners.
"""

import argparse
from pathlib import Path

import numpy as np
from capture import similarity
from registration import gray, mapped
from scipy import ndimage

import imgtool
from imgtool.transforms import MatrixTransform

ITK = Path(__file__).parent.parent / "data" / "itk"
CONTRASTS = (("t1", "pd"), ("t1", "t2"), ("pd", "t2"), ("t1", "t1"))


def pairs(folder):
    """The names and planes of all pairs."""
    yield "itk t1 pd", gray(ITK / "t1.png").astype(float), gray(ITK / "pd.png").astype(float)
    for slices in sorted(folder.glob("brainweb_*")):
        for names in CONTRASTS:
            planes = [gray(slices / f"{name}.png").astype(float) for name in names]
            yield f"{slices.name} {names[0]} {names[1]}", *planes


def seen(image, matrix):
    """out(matrix p) = image(p), by quintic splines."""
    y, x = np.indices(image.shape)
    places = mapped(np.linalg.inv(matrix), np.stack([x.ravel(), y.ravel()], axis=1))
    return ndimage.map_coordinates(image, places[:, ::-1].T, order=5, mode="nearest").reshape(image.shape)


def motion(options, shape, rng):
    """The matrix that the second image is moved by."""
    if options.given:
        return similarity(shape, rng.uniform(-10, 10), 1.0, rng.uniform(-8, 8, 2))
    way, turn = rng.uniform(0, 2 * np.pi), options.turn / (np.hypot(*shape) / 2)
    return similarity(shape, np.degrees(turn), 1.0, options.shift * np.array([np.cos(way), np.sin(way)]))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("aligned", type=Path)
    parser.add_argument("--seeds", type=int, default=24)
    parser.add_argument("--noise", type=float, default=0.05)
    parser.add_argument("--model", default="auto")
    parser.add_argument("--only", default="")
    moved = parser.add_mutually_exclusive_group()
    moved.add_argument("--shift", type=float, default=0.0)
    moved.add_argument("--turn", type=float, default=0.0)
    moved.add_argument("--given", action="store_true")
    options = parser.parse_args()
    print("| pair | stayed | mean | largest | above 0.1 px |\n|---|---|---|---|---|")
    everything = []
    for name, one, other in pairs(options.aligned):
        if options.only not in name:
            continue
        height, width = one.shape
        corners = np.array([[x, y] for x in (0.0, width - 1) for y in (0.0, height - 1)])
        stayed, errors = 0, []
        for seed in range(options.seeds):
            rng = np.random.default_rng(seed)
            truth = motion(options, other.shape, rng)
            planes = [
                plane + options.noise * np.ptp(plane) * rng.standard_normal(plane.shape)
                for plane in (one, seen(other, truth) if np.any(truth != np.eye(3)) else other)
            ]
            start = MatrixTransform(truth, "rigid", one.shape, other.shape) if options.given else None
            found = imgtool.register(*planes, model=options.model, initial=start).transform
            stayed += np.array_equal(found.matrix, np.eye(3) if start is None else start.matrix)
            errors.append(np.linalg.norm(found(corners) - mapped(truth, corners), axis=1).max())
        everything += errors
        print(
            f"| {name} | {stayed} of {options.seeds} | {np.mean(errors):.3f} | {max(errors):.3f} "
            f"| {sum(error > 0.1 for error in errors)} |",
            flush=True,
        )
    print(f"| all | | {np.mean(everything):.3f} | {max(everything):.3f} | {sum(e > 0.1 for e in everything)} |")


if __name__ == "__main__":
    main()
