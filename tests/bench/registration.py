"""Accuracy and time of imgtool.register over a folder of cases, beside those of other tools.

    python tests/bench/registration.py SET [--model MODEL] [--only TEXT] [--threads N]
    python tests/bench/registration.py SET --peers [simpleitk elastix greedy niftyreg dipy opencv]

Each sub-folder of SET holds two images and truth.json (size_fixed_wh, A_fixed_to_moving and, or, landmarks, the pass
mark). The error is the mean distance, over a 17x17 grid or over the landmarks, between where the found and the true
transform take a point of the fixed image. Seconds are those of `register` alone, in this process.

With --peers, each tool that is installed (see peers.py) registers every case, too. Peers are told the true model;
imgtool is told nothing. "exact" cases are those whose truth is known to hundredths of a pixel: one scan, one camera.
"""

import argparse
import json
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import tifffile
from peers import installed, quiet
from PIL import Image

import imgtool

EXACT = ("exact", "measured-exact")


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


def cases(options):
    """The name, the truth, and both planes of every case that was asked for."""
    for folder in sorted(path.parent for path in options.set.glob("*/truth.json")):
        if options.only in folder.name:
            truth = json.loads((folder / "truth.json").read_text())
            yield folder.name, truth, gray(folder / truth["fixed"]), gray(folder / truth["moving"])


def matrix_model(truth):
    """The model that the truth names, or the most general one with a linear matrix."""
    return truth["model"] if truth["model"] in ("translation", "rigid", "similarity", "affine") else "affine"


def eight_bits(plane):
    """The plane from its least to its largest value in 0 to 255, as peers were made for."""
    low, high = plane.min(), plane.max()
    return np.round((plane - low) / max(high - low, 1e-9) * 255).astype(np.uint8)


def attempt(run, truth):
    """The error of what `run` finds, in pixels, and the seconds it takes."""
    begin = time.perf_counter()
    try:
        with quiet():
            found = run()
    except Exception:  # peers raise whatever their libraries do, for instance where images stop overlapping
        return np.inf, time.perf_counter() - begin
    taken = time.perf_counter() - begin
    return errors(truth, getattr(found, "transform", found))[1], taken


def compare(options):
    """Print error and seconds of imgtool and of its peers, case by case and in sum."""
    found = installed()
    unknown = [name for name in options.peers if name not in found]
    if unknown:
        sys.exit(f"{', '.join(unknown)} cannot run here; these can: {', '.join(found)}")
    tools = {name: found[name] for name in options.peers or found}
    names = ["imgtool", *tools]
    print(f"| case | {' | '.join(f'{name} px | s' for name in names)} |")
    print("|---|" + "---|---|" * len(names))
    table, seconds, passed, exact, worse = [], [], [], [], []
    for number, (name, truth, fixed, moving) in enumerate(cases(options)):
        planes = eight_bits(fixed), eight_bits(moving), matrix_model(truth)
        runs = [partial(imgtool.register, fixed, moving, threads=options.threads)]
        runs += [partial(run, *planes) for run in tools.values()]
        if number == 0:
            for run in runs:  # libraries are loaded when they are used first
                attempt(run, truth)
        row, times = zip(*(attempt(run, truth) for run in runs), strict=True)
        table.append(row)
        seconds.append(times)
        passed.append([error <= truth["suggested_pass"]["value"] for error in row])
        exact.append(truth["truth_class"].startswith(EXACT))
        if exact[-1] and row[0] > min(row[1:], default=np.inf) + 0.02:
            worse.append(f"{name} ({row[0]:.3f}, best {min(row[1:]):.3f})")
        figures = (f"{error:.3f} | {taken:.2f}" for error, taken in zip(row, times, strict=True))
        print(f"| {name} | {' | '.join(figures)} |", flush=True)
    table, exact = np.array(table), np.array(exact, bool)
    print(f"\n| in sum | {' | '.join(names)} |\n|---|{'---|' * len(names)}")
    print(f"| within the pass mark, of {len(table)} | {' | '.join(map(str, np.sum(passed, axis=0)))} |")
    if exact.any():
        medians = (f"{median:.3f}" for median in np.median(table[exact], axis=0))
        print(f"| median error of the {exact.sum()} exact cases, px | {' | '.join(medians)} |")
    for label, figures in (("median", np.median(seconds, axis=0)), ("longest", np.max(seconds, axis=0))):
        print(f"| {label} s | {' | '.join(f'{figure:.2f}' for figure in figures)} |")
    print(f"\nexact cases with a peer more than 0.02 px nearer to the truth: {', '.join(worse) or 'none'}")


def measure(options):
    """Print error, NMI, seconds and confidence of imgtool, case by case and in sum."""
    rows = []
    print("| case | start px | error px | pass mark px | NMI before | NMI after | seconds | | model | confidence |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for name, truth, fixed, moving in cases(options):
        model = options.model
        if model == "true":
            model = "projective" if truth["model"] == "homography" else matrix_model(truth)
        keywords = {"bins": options.bins} if options.bins else {}
        result = imgtool.register(fixed, moving, model=model, threads=options.threads, **keywords)
        start, error = errors(truth, result.transform)
        mark = truth["suggested_pass"]["value"]
        rows.append((error <= mark, bool(truth.get("nmi_trap")), result.seconds))
        verdict = ("pass" if error <= mark else "**miss**") + (" (trap)" if truth.get("nmi_trap") else "")
        print(
            f"| {name} | {start:.2f} | {error:.3f} | {mark:g} | {result.nmi_before:.4f} "
            f"| {result.nmi_after:.4f} | {result.seconds:.3f} | {verdict} "
            f"| {result.transform.model} | {result.confidence:.2f} |",
            flush=True,
        )
    plain = [passed for passed, trap, _ in rows if not trap]
    print(
        f"\n{sum(plain)} of {len(plain)} cases without traps, {sum(row[0] for row in rows)} of {len(rows)} in all; "
        f"median {np.median([row[2] for row in rows]):.3f} s, longest {max(row[2] for row in rows):.3f} s"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("set", type=Path)
    parser.add_argument("--model", default="auto", help="or `true`: the one named in truth.json")
    parser.add_argument("--only", default="")
    parser.add_argument("--bins", type=int)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--peers", nargs="*", metavar="TOOL", help="all that are installed if none is named")
    options = parser.parse_args()
    if options.peers is None:
        measure(options)
    else:
        compare(options)


if __name__ == "__main__":
    main()
