"""Times of imgtool.convolve beside its peers.

python tests/bench/convolve.py            the seed's case: 128 x 128 float64, 3 x 3, zeros beyond the edge
python tests/bench/convolve.py --peers    also OpenCV's filter2D, as ratios (above 1: imgtool is faster)

--cpu counts seconds of the processor instead of the clock's, for one thread on a busy machine.
"""

import argparse
import subprocess
import sys
import time
from functools import partial

import numpy as np
import timing
from timing import ratio

import imgtool
from imgtool.kernels import parse_kernel


def naive(image, kernel):
    """The double loop over pixels that the seed text set out from."""
    rows, cols = kernel.shape
    around = np.pad(image, ((rows // 2, rows // 2), (cols // 2, cols // 2)))
    flipped = kernel[::-1, ::-1]
    out = np.empty_like(image)
    for y in range(image.shape[0]):
        for x in range(image.shape[1]):
            out[y, x] = np.sum(around[y : y + rows, x : x + cols] * flipped)
    return out


def seed_case() -> None:
    rng = np.random.default_rng(0)
    image, kernel = rng.random((128, 128)), rng.standard_normal((3, 3))
    error = np.abs(imgtool.convolve(image, kernel, border="constant") - naive(image, kernel)).max()
    mine, theirs, factor = ratio(
        lambda: imgtool.convolve(image, kernel, border="constant", threads=1), lambda: naive(image, kernel)
    )
    print(
        f"seed's case: imgtool {mine * 1e6:.1f} us, naive {theirs * 1e3:.1f} ms, ratio {factor:.0f}, error {error:.1e}"
    )


def summary(what: str, ratios: list[float]) -> None:
    print(f"{what}: geometric mean {np.exp(np.mean(np.log(ratios))):.2f}, worst {min(ratios):.2f}", flush=True)


def picture(size: int, dtype: str) -> np.ndarray:
    peak = {"u1": 255, "u2": 60000}.get(dtype, 1)
    return (np.random.default_rng(0).random((size, size)) * peak).astype(dtype)


def against_opencv(size: int, threads: int, kernels: list[int], dtypes: list[str]) -> None:
    import cv2

    cv2.setNumThreads(threads)
    rng = np.random.default_rng(0)

    def row(what, image, kernel, peer):
        mine, theirs, factor = ratio(lambda: imgtool.convolve(image, kernel, border="mirror", threads=threads), peer)
        print(
            f"{what:16s} imgtool {mine * 1e3:8.2f} ms  OpenCV {theirs * 1e3:8.2f} ms  ratio {factor:5.2f}", flush=True
        )
        return factor

    edge = cv2.BORDER_REFLECT_101
    ratios = []
    for dtype in dtypes:
        image = picture(size, dtype)
        for k in kernels:
            kernel = rng.random((k, k))
            kernel /= kernel.sum()
            flipped = kernel[::-1, ::-1].copy()
            peer = partial(cv2.filter2D, image, -1, flipped, borderType=edge)
            ratios.append(row(f"{dtype} {k}x{k}", image, kernel, peer))
    if ratios:
        summary(f"random kernels, {size}x{size}, {threads} thread(s)", ratios)
    ratios = []
    for dtype in (d for d in dtypes if d != "f8"):
        image = picture(size, dtype)
        for sigma in (1, 3, 10):
            (kernel,) = parse_kernel(f"gaussian:sigma={sigma}").arrays
            line = kernel.sum(axis=0)
            peer = partial(cv2.sepFilter2D, image, -1, line, line, borderType=edge)
            ratios.append(row(f"{dtype} sigma {sigma}", image, kernel, peer))
    summary(f"Gaussians, {size}x{size}, {threads} thread(s)", ratios)
    ratios = []
    for dtype in (d for d in dtypes if d != "f8"):
        image = picture(size, dtype)
        for k in (3, 15, 101):
            peer = partial(cv2.blur, image, (k, k), borderType=edge)
            ratios.append(row(f"{dtype} box {k}", image, np.full((k, k), 1 / k**2), peer))
    summary(f"boxes, {size}x{size}, {threads} thread(s)", ratios)


MEMORY = """
import resource, sys
import numpy as np, imgtool
dtype, k = sys.argv[1], int(sys.argv[2])
image, kernel = np.full((8192, 8192), 3, dtype), np.random.default_rng(0).random((k, k))
imgtool.convolve(image[:64, :64], kernel)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
result = imgtool.convolve(image, kernel)
extra = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 - result.nbytes
print(f"{dtype} {k}x{k}: {extra / (image.nbytes + result.nbytes):.1%} of input + output beside them")
"""


def memory() -> None:
    for dtype in ("u1", "u2", "f4", "f8"):
        for k in ("3", "15", "63"):
            subprocess.run([sys.executable, "-c", MEMORY, dtype, k], check=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", action="store_true")
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--size", type=int, default=2048)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--kernels", default="3,5,7,9,15,31,63", help="sizes of the random kernels; '' for none")
    parser.add_argument("--cpu", action="store_true")
    parser.add_argument("--dtypes", default="u1,u2,f4,f8")
    options = parser.parse_args()
    if options.cpu:
        if options.threads > 1:
            parser.error("--cpu is for one thread")
        timing.clock = time.thread_time
    seed_case()
    if options.peers:
        kernels = [int(k) for k in options.kernels.split(",") if k]
        against_opencv(options.size, options.threads, kernels, options.dtypes.split(","))
    if options.memory:
        memory()
