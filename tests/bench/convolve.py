"""Times of imgtool.convolve beside its peers.

python tests/bench/convolve.py            the seed's case: 128 x 128 float64, 3 x 3, zeros beyond the edge
python tests/bench/convolve.py --peers    also OpenCV's filter2D, as ratios (above 1: imgtool is faster)
"""

import argparse

import numpy as np
from timing import ratio

import imgtool


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


def against_opencv(size: int, threads: int, kernels: list[int], dtypes: list[str]) -> None:
    import cv2

    cv2.setNumThreads(threads)
    rng = np.random.default_rng(0)
    ratios = []
    for dtype in dtypes:
        peak = {"u1": 255, "u2": 60000}.get(dtype, 1)
        image = (rng.random((size, size)) * peak).astype(dtype)
        for k in kernels:
            kernel = rng.random((k, k))
            kernel /= kernel.sum()
            flipped = kernel[::-1, ::-1].copy()
            mine, theirs, factor = ratio(
                lambda i=image, w=kernel: imgtool.convolve(i, w, border="mirror", threads=threads),
                lambda i=image, w=flipped: cv2.filter2D(i, -1, w, borderType=cv2.BORDER_REFLECT_101),
            )
            ratios.append(factor)
            ours, peers = f"imgtool {mine * 1e3:8.2f} ms", f"OpenCV {theirs * 1e3:8.2f} ms"
            print(f"{dtype} {k:3d}x{k:<3d} {ours}  {peers}  ratio {factor:5.2f}", flush=True)
    mean = np.exp(np.mean(np.log(ratios)))
    print(f"{size}x{size}, {threads} thread(s): geometric mean {mean:.2f}, worst {min(ratios):.2f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", action="store_true")
    parser.add_argument("--size", type=int, default=2048)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--kernels", default="3,5,7,9,15,31")
    parser.add_argument("--dtypes", default="u1,u2,f4,f8")
    options = parser.parse_args()
    seed_case()
    if options.peers:
        against_opencv(
            options.size, options.threads, [int(k) for k in options.kernels.split(",")], options.dtypes.split(",")
        )
