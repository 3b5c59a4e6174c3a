"""Accuracy and time of imgtool.register over a folder of cases.

    python tests/bench/registration.py SET [--model MODEL] [--only TEXT] [--threads N]

Each sub-folder of SET holds two images and truth.json (size_fixed_wh, A_fixed_to_moving and, or, landmarks, the pass
mark). The error is the mean distance, over a 17x17 grid or over the landmarks, between where the found and the true
transform take a point of the fixed image. Seconds are those of `register` alone, in this process.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image

import imgtool


def gray(path):
    """The image as a gray plane; colour by its BT.601 luminance."""
    if path.suffix in (".tif", ".tiff"):
        pixels = tifffile.imread(path)
    else:
        image = Image.open(path)
        pixels = np.asarray(image.convert("RGB") if image.mode in ("P", "RGBA", "CMYK") else image)
    return pixels if pixels.ndim == 2 else pixels[..., :3] @ np.array([0.299, 0.587, 0.114])


def mapped(matrix, points):
    """`points` (N, 2) under a 3x3 matrix."""
    image = np.c_[points, np.ones(len(points))] @ np.asarray(matrix).T
    return image[:, :2] / image[:, 2:]


def errors(truth, transform):
    """The mean error at the start and of `transform`, in pixels, by the measure that the case asks for."""
    width, height = truth["size_fixed_wh"]
    points = np.stack(np.meshgrid(np.linspace(0, width - 1, 17), np.linspace(0, height - 1, 17)), -1).reshape(-1, 2)
    if "landmark" in truth["suggested_pass"]["metric"]:
        points, target = np.array(truth["landmarks_fixed"], float), np.array(truth["landmarks_moving"], float)
    else:
        target = mapped(truth["A_fixed_to_moving"], points)
    return [float(np.linalg.norm(found - target, axis=1).mean()) for found in (points, transform(points))]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("set", type=Path)
    parser.add_argument("--model", default="auto", help="or `true`: the one named in truth.json")
    parser.add_argument("--only", default="")
    parser.add_argument("--bins", type=int)
    parser.add_argument("--threads", type=int)
    options = parser.parse_args()
    rows = []
    print("| case | start px | error px | pass mark px | NMI before | NMI after | seconds | | model | confidence |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for folder in sorted(path.parent for path in options.set.glob("*/truth.json")):
        if options.only not in folder.name:
            continue
        truth = json.loads((folder / "truth.json").read_text())
        fixed, moving = gray(folder / truth["fixed"]), gray(folder / truth["moving"])
        model = options.model
        if model == "true":
            model = (
                truth["model"] if truth["model"] in ("translation", "rigid", "similarity", "affine") else "projective"
            )
        keywords = {"bins": options.bins} if options.bins else {}
        result = imgtool.register(fixed, moving, model=model, threads=options.threads, **keywords)
        start, error = errors(truth, result.transform)
        mark = truth["suggested_pass"]["value"]
        rows.append((error <= mark, bool(truth.get("nmi_trap")), result.seconds))
        verdict = ("pass" if error <= mark else "**miss**") + (" (trap)" if truth.get("nmi_trap") else "")
        print(
            f"| {folder.name} | {start:.2f} | {error:.3f} | {mark:g} | {result.nmi_before:.4f} "
            f"| {result.nmi_after:.4f} | {result.seconds:.3f} | {verdict} "
            f"| {result.transform.model} | {result.confidence:.2f} |",
            flush=True,
        )
    plain = [passed for passed, trap, _ in rows if not trap]
    print(
        f"\n{sum(plain)} of {len(plain)} cases without traps, {sum(row[0] for row in rows)} of {len(rows)} in all; "
        f"median {np.median([row[2] for row in rows]):.3f} s, longest {max(row[2] for row in rows):.3f} s"
    )


if __name__ == "__main__":
    main()
