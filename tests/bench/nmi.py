"""NMI and its gradient against the kernel this project began with, SimpleITK and scikit-image.

    python tests/bench/nmi.py [--size N] [--threads N] [--peers]

Ratios are of minima over rounds in which every work has its turn, in this process; with one thread of processor time,
which other work on the machine disturbs less. The seed's twin and the plain 16-tap histogram (`nmi_seed.pyx`), and what
a look-up gradient does to memory and no more (`nmi_stream.pyx`), are compiled on the spot and need Cython and a C
compiler. `--peers` adds SimpleITK's Mattes
mutual information (one evaluation at the identity, all pixels, as many bins) and scikit-image's
normalized_mutual_information, as far as they are installed: whole calls for the value alone.
"""

import argparse
import importlib.util
import subprocess
import sys
import sysconfig
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np
from scipy import ndimage

import imgtool
from imgtool import _ext, metrics
from imgtool._slabs import run_slabs

BINS = 64


def compiled(name):
    """The Cython module of this name beside this file, built in a temporary folder."""
    folder = Path(tempfile.mkdtemp())
    c_file, module = folder / f"{name}.c", folder / (name + sysconfig.get_config_var("EXT_SUFFIX"))
    subprocess.run(
        [sys.executable, "-m", "cython", "-3", Path(__file__).parent / f"{name}.pyx", "-o", c_file],
        check=True,
    )
    include = sysconfig.get_paths()["include"]
    subprocess.run(["gcc", "-O2", "-shared", "-fPIC", f"-I{include}", c_file, "-o", module], check=True)
    spec = importlib.util.spec_from_file_location(name, module)
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


def images(size):
    """Two smooth images that depend on each other, with noise, and the gradient of the second."""
    rng = np.random.default_rng(0)
    fixed = ndimage.gaussian_filter(rng.standard_normal((size, size)), 4)
    warped = np.cos(3 * ndimage.shift(fixed, (0.4, 0.7))) + 0.05 * rng.standard_normal((size, size))
    return fixed, warped, np.stack(np.gradient(warped))


def seed_works(fixed, warped, field):
    """The seed's gradient, and a plain 16-tap histogram, of bin coordinates in float64."""
    seed = compiled("nmi_seed")
    low, high = metrics.bin_limits(BINS)
    f, w = (low + (a - a.min()) / np.ptp(a) * (high - low) for a in (fixed, warped))
    table = np.zeros((BINS, BINS))
    seed.histogram_2d(f, w, table)
    joint = table / table.sum()
    logs = [np.log(np.where(p > 0, p, 1)) for p in (joint, joint.sum(axis=1), joint.sum(axis=0))]
    entropies = np.array([*(-(np.exp(v) * v).sum() for v in (logs[1], logs[2], logs[0])), f.size])
    out = np.empty_like(field)
    return {
        "seed gradient": lambda: seed.gradient_2d(f, w, field[1], field[0], out[1], out[0], entropies, *logs),
        "plain histogram": lambda: seed.histogram_2d(f, w, table),
    }


def memory_works(size, threads):
    """Reading and writing what a look-up gradient reads and writes, with two kinds of stores; of whole lines."""
    stream = compiled("nmi_stream").stream
    part = size**2 // (16 * threads) * 16
    cells = np.ones((threads, part), np.intc)
    field, out = np.ones((threads, 2 * part), np.float32), np.zeros(threads * 2 * part + 16, np.float32)
    beyond = -out.ctypes.data // 4 % 16
    out = out[beyond : beyond + field.size].reshape(field.shape)

    def work(past):
        run_slabs(lambda i, _: stream(cells[i], field[i], out[i], past), threads, 1, threads)

    return {
        "look-up's bytes, ordinary stores": partial(work, False),
        "look-up's bytes, past the caches": partial(work, True),
    }


def our_works(fixed, warped, field, dtype, threads):
    """Evaluations and gradients by each method, with the mapping known, and the whole call."""
    a, b, g = (image.astype(dtype) for image in (fixed, warped, field))
    out, works, name = np.zeros_like(g), {}, np.dtype(dtype).name
    for method in metrics.METHODS:
        workspace = imgtool.Workspace(bins=BINS, method=method, threads=threads)
        workspace.set_fixed(a)
        workspace.set_moving(b)
        workspace.evaluate()
        works[f"{name} {method} value"] = workspace.evaluate
        if threads == 1:  # what `evaluate` does first; then come entropies and, for the gradient, tables of slopes
            works[f"{name} {method} histogram"] = partial(workspace._core.add, 0, 0, a.size)
        works[f"{name} {method} gradient"] = lambda workspace=workspace: workspace.gradient(g, out)
    works[f"{name} nmi_gradient"] = lambda: imgtool.nmi_gradient(a, b, g, bins=BINS, threads=threads)
    works[f"{name} nmi"] = lambda: imgtool.nmi(a, b, bins=BINS, threads=threads)
    works[f"{name} read and write"] = lambda: np.multiply(g, a, out=out)
    return works


def alignment_works(fixed, warped, threads):
    """One evaluation and the derivative by an affine matrix, turned by 10 degrees."""
    planes = []
    for image in (fixed, warped):
        values = image.astype(np.float32)
        limits = metrics.intensity_range(values, "image")
        planes.append(metrics.to_bins(values, limits, metrics.bin_limits(BINS), 1).reshape(values.shape))
    alignment = metrics.Alignment(*planes, bins=BINS, threads=threads)
    cos, sin, half = np.cos(np.pi / 18), np.sin(np.pi / 18), len(fixed) / 2
    matrix = np.array(
        [[cos, -sin, half - cos * half + sin * half], [sin, cos, half - sin * half - cos * half], [0, 0, 1]]
    )

    def iteration():
        alignment.evaluate(matrix)
        return alignment.gradient()

    return {"affine iteration": iteration}


def peer_works(fixed, warped, threads):
    works = {}
    f, w = fixed.astype(np.float32), warped.astype(np.float32)
    if importlib.util.find_spec("SimpleITK"):
        import SimpleITK as sitk  # noqa: N813

        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(threads)
        registration = sitk.ImageRegistrationMethod()
        registration.SetMetricAsMattesMutualInformation(BINS)
        registration.SetMetricSamplingStrategy(registration.NONE)
        registration.SetInterpolator(sitk.sitkLinear)
        registration.SetInitialTransform(sitk.AffineTransform(2))
        pair = [sitk.GetImageFromArray(image) for image in (f, w)]
        works["SimpleITK Mattes MI value"] = lambda: registration.MetricEvaluate(*pair)
    if importlib.util.find_spec("skimage"):
        from skimage.metrics import normalized_mutual_information

        works["scikit-image NMI value"] = lambda: normalized_mutual_information(f, w, bins=BINS)
    return works


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--peers", action="store_true")
    options = parser.parse_args()
    pair = images(options.size)
    works = seed_works(*pair)
    for dtype in (np.float64, np.float32):
        works |= our_works(*pair, dtype, options.threads)
    works |= alignment_works(*pair[:2], options.threads)
    works |= memory_works(options.size, options.threads)
    if options.peers:
        works |= peer_works(*pair[:2], options.threads)
    best = dict.fromkeys(works, float("inf"))
    clock = time.process_time if options.threads == 1 else time.perf_counter
    for _ in range(options.rounds):
        for name, work in works.items():
            start = clock()
            work()
            best[name] = min(best[name], clock() - start)
    print(f"{options.size} x {options.size}, {options.threads} threads, {_ext.ISA}\n")
    print("| work | ns per pixel | seed gradient / it | plain histogram / it |\n|---|---|---|---|")
    for name, seconds in best.items():
        each = seconds / options.size**2 * 1e9
        print(
            f"| {name} | {each:.2f} | {best['seed gradient'] / seconds:.1f} | {best['plain histogram'] / seconds:.1f} |"
        )


if __name__ == "__main__":
    main()
