"""Warping against OpenCV's remap and SciPy, in one process by turns: `python tests/bench/warp.py`.

imgtool computes the positions and, for cubic, the spline's coefficients; OpenCV is given its maps. OpenCV's cubic is
Keys' kernel, which needs no coefficients and interpolates less well; its Lanczos has 8 x 8 taps, that of imgtool 6 x 6.
"""

import argparse
from functools import partial

import cv2
import numpy as np
from scipy import ndimage
from timing import Work, once

from imgtool.transforms import DisplacementField, MatrixTransform, warp

FLAGS = {
    "nearest": cv2.INTER_NEAREST,
    "linear": cv2.INTER_LINEAR,
    "cubic": cv2.INTER_CUBIC,
    "lanczos": cv2.INTER_LANCZOS4,
}


def rotation(size: int, degrees: float) -> MatrixTransform:
    """The rotation about the centre of a square image."""
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    linear, centre = np.array([[cos, -sin], [sin, cos]]), np.full(2, (size - 1) / 2)
    matrix = np.eye(3)
    matrix[:2, :2], matrix[:2, 2] = linear, centre - linear @ centre
    return MatrixTransform(matrix, "rigid", (size, size), (size, size))


def least(works: dict[str, Work], rounds: int) -> dict[str, float]:
    """The least milliseconds of each, all of them by turns."""
    times: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            times[name].append(1e3 * once(work, 1))
    return {name: min(values) for name, values in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=2048)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--angle", type=float, default=10.0)
    parser.add_argument("--dtypes", default="float32,uint8,uint16,float64")
    parser.add_argument("--interpolations", default=",".join(FLAGS))
    options = parser.parse_args()
    cv2.setNumThreads(1)
    size, turn = options.size, rotation(options.size, options.angle)
    tilted = turn.matrix + [[0, 0, 0], [0, 0, 0], [1e-5, 1e-5, 0]]
    transforms = {
        "matrix": turn,
        "projective": MatrixTransform(tilted, "projective", (size, size), (size, size)),
        "field": DisplacementField(turn.displacement().astype(np.float32), (size, size)),
    }
    maps = [plane.astype(np.float32) for plane in turn.positions(range(size), range(size))]
    print(f"{size}x{size}, {options.angle:g} degrees, 1 thread, least of {options.rounds} in ms")
    for dtype in options.dtypes.split(","):
        image = (np.random.default_rng(1).random((size, size)) * 255).astype(dtype)
        for name in options.interpolations.split(","):
            works: dict[str, Work] = {
                what: partial(warp, image, transform, interpolation=name, threads=1)
                for what, transform in transforms.items()
            }
            works["OpenCV"] = partial(cv2.remap, image, *maps, FLAGS[name])
            if name == "cubic":
                back = turn.matrix[[1, 0]][:, [1, 0, 2]]
                works["SciPy"] = partial(ndimage.affine_transform, image, back[:, :2], back[:, 2], order=3)
            times = least(works, options.rounds)
            text = "  ".join(f"{what} {value:6.1f}" for what, value in times.items())
            print(f"{dtype:8} {name:8} {text}  OpenCV / matrix {times['OpenCV'] / times['matrix']:.2f}", flush=True)


if __name__ == "__main__":
    main()
