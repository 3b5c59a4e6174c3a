"""Accuracy, time and memory of imgtool.register(..., model="bspline") for known warps, and of its spline field.

    python tests/bench/deformable.py DATA [--threads N] [--seeds N] [--only TEXT] [--grid-spacing PX]

DATA is the shared data folder: `aligned` has brain images of several contrasts on one grid, `registration/2d` the bands
of a photo. Moving is the second image under a random affine map (15 degrees, 8 %) followed by a smooth elastic field
(Gaussian noise smoothed with sigma 18 px, its largest displacement 4.5 px), both images with noise of 3 % of their
range; with --clean-fixed only moving, with --noise 0 neither; with --same-contrast fixed is the second image, too; with
--relative the field grows with the image: sigma a tenth of its shorter side, displacements up to a fortieth. The
error of a pixel is how far it comes out from where it was when the found map takes it to moving, and the known one
back; for brains, pixels of the head only, because nothing is seen beside it.
If SimpleITK is installed, its B-spline registration (Mattes mutual information, 16 px, after an affine one) runs on the
same pairs.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image
from scipy import ndimage
from timing import ratio

import imgtool
from imgtool.transforms import BSplineTransform

SLICES, CONTRASTS = (24, 80, 101), ("t1", "t2")


def gray(path):
    """The pixels of a gray image file."""
    return np.asarray(Image.open(path)).astype(float)


def brain(data, number):
    """T1 and T2 of one slice."""
    return [gray(data / "aligned" / f"brainweb_{number}" / f"{contrast}.png") for contrast in CONTRASTS]


def photo(data):
    """The red and the blue band of a photo on one grid, as far as both reach."""
    folder = data / "registration" / "2d" / "astronaut_R_B_rigid"
    matrix = np.array(json.loads((folder / "truth.json").read_text())["A_fixed_to_moving"])
    red, blue = gray(folder / "fixed.png"), gray(folder / "moving.png")
    x, y = np.meshgrid(np.arange(512), np.arange(512))
    at = [row[0] * x + row[1] * y + row[2] for row in matrix[:2]]
    blue = ndimage.map_coordinates(blue, at[::-1], order=3, mode="nearest")
    return red[16:496, 16:496], blue[16:496, 16:496]


def texture(size):
    """Two contrasts of a scene with detail of every size."""
    rng = np.random.default_rng(1)
    scene = sum(
        sigma**0.5 * ndimage.zoom(ndimage.gaussian_filter(rng.standard_normal((size // step,) * 2), sigma / step), step)
        for sigma, step in ((2, 1), (6, 2), (20, 8), (60, 16))
    )
    return scene, np.cos(1.5 * scene / scene.std())


class Case:
    """A pair of images with a known warp between them."""

    def __init__(self, first, second, seed, sigma=18.0, largest=4.5, noise=0.03, clean_fixed=False):
        rng = np.random.default_rng(seed)
        height, width = self.shape = first.shape
        angle, shear = np.radians(rng.uniform(-15, 15)), rng.uniform(-0.04, 0.04)
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        self.linear = turn @ np.diag(1 + rng.uniform(-0.08, 0.08, 2)) @ np.array([[1, shear], [0, 1]])
        centre = (np.array([width, height]) - 1) / 2
        self.shift = centre + rng.uniform(-0.03, 0.03, 2) * [width, height] - self.linear @ centre
        field = [ndimage.gaussian_filter(rng.standard_normal(first.shape), sigma, mode="reflect") for _ in range(2)]
        scale = largest / np.hypot(*field).max()
        self.field = [ndimage.spline_filter(part * scale, mode="nearest") for part in field]
        at = self.to_fixed(self.pixels())
        warped = ndimage.map_coordinates(second, at[::-1], order=3).reshape(first.shape)
        fixed_noise = 0 if clean_fixed else noise
        self.fixed = first + fixed_noise * np.ptp(first) * rng.standard_normal(first.shape)
        self.moving = warped + noise * np.ptp(second) * rng.standard_normal(first.shape)
        self.fixed, self.moving = self.fixed.astype(np.float32), self.moving.astype(np.float32)
        smooth = ndimage.gaussian_filter(second, 2)
        visible = smooth > 0.12 * np.percentile(second, 99.5)
        # Dark surroundings of a head show nothing; a photo is all there.
        self.judged = ndimage.binary_fill_holes(visible) if 0.3 < visible.mean() < 0.85 else np.ones(self.shape, bool)

    def pixels(self):
        """The coordinates x, y of every pixel, (2, N)."""
        return np.stack(np.meshgrid(*(np.arange(size, dtype=float) for size in self.shape[::-1]))).reshape(2, -1)

    def to_fixed(self, points):
        """The known map, from moving to fixed."""
        about = self.linear @ points + self.shift[:, None]
        moved = [
            ndimage.map_coordinates(part, about[::-1], order=3, mode="nearest", prefilter=False) for part in self.field
        ]
        return about + np.stack(moved)

    def errors(self, transform):
        """The errors of a map of (N, 2) points from fixed to moving, in pixels."""
        points = self.pixels()[:, self.judged.ravel()]
        moving = transform(points.T).T
        last = np.array(self.shape[::-1])[:, None] - 1
        inside = ((moving >= 0) & (moving <= last)).all(axis=0)
        return np.hypot(*(self.to_fixed(moving[:, inside]) - points[:, inside]))


def itk(case):
    """SimpleITK's B-spline registration of a case: the map of points."""
    import SimpleITK as sitk  # noqa: N813

    fixed, moving = sitk.GetImageFromArray(case.fixed), sitk.GetImageFromArray(case.moving)

    def method(transform, iterations):
        registration = sitk.ImageRegistrationMethod()
        registration.SetMetricAsMattesMutualInformation(50)
        registration.SetInterpolator(sitk.sitkLinear)
        registration.SetShrinkFactorsPerLevel([4, 2, 1])
        registration.SetSmoothingSigmasPerLevel([2, 1, 0])
        registration.SetInitialTransform(transform, inPlace=True)
        iterations(registration)
        return registration

    centred = sitk.CenteredTransformInitializer(
        fixed, moving, sitk.AffineTransform(2), sitk.CenteredTransformInitializerFilter.GEOMETRY
    )
    affine = sitk.AffineTransform(sitk.CompositeTransform(centred).GetNthTransform(0))
    first = method(affine, lambda r: r.SetOptimizerAsRegularStepGradientDescent(1.0, 1e-3, 200))
    first.SetOptimizerScalesFromPhysicalShift()
    first.Execute(fixed, moving)
    spline = sitk.BSplineTransformInitializer(fixed, [size // 16 for size in case.shape[::-1]])
    second = method(spline, lambda r: r.SetOptimizerAsLBFGSB(1e-5, 100))
    second.SetMovingInitialTransform(affine)
    second.Execute(fixed, moving)
    both = sitk.CompositeTransform([affine, spline])
    return lambda points: np.array([both.TransformPoint(point) for point in points.tolist()])


def run(name, case, threads, spacing, peer):
    """One row of the table."""
    best, result = np.inf, None
    for _ in range(3 if case.shape[0] < 1000 else 1):
        result = imgtool.register(case.fixed, case.moving, model="bspline", grid_spacing=spacing, threads=threads)
        best = min(best, result.seconds)
    transform = result.transform
    assert isinstance(transform, BSplineTransform)
    before, after = case.errors(transform.after), case.errors(transform)
    folded = int(np.count_nonzero(transform.jacobian_determinant() <= 0))
    residual = transform.inverse().residual if case.shape[0] < 1000 else np.nan
    row = [f"{np.median(before):.2f} / {np.percentile(before, 95):.2f}"]
    row += [f"{np.median(after):.3f}", f"{np.percentile(after, 95):.2f}", f"{best:.2f}", str(folded)]
    row += [f"{transform.least_determinant():.2f}", f"{residual:.4f}"]
    if peer:
        began = time.perf_counter()
        errors = case.errors(peer(case))
        row.append(f"{np.median(errors):.3f} / {np.percentile(errors, 95):.2f}, {time.perf_counter() - began:.1f} s")
    print(f"| {name} | " + " | ".join(row) + " |", flush=True)
    return np.median(after), np.percentile(after, 95)


def large(threads, spacing):
    """Register 2048x2048 pixels in a process of its own, whose peak memory is known."""
    case = Case(*texture(2048), 0, sigma=60.0, largest=12.0)
    run("2048x2048 texture", case, threads, spacing, None)


def memory():
    """Print how many images of float32 a registration of 2048x2048 pixels needs, its inputs among them."""
    case = Case(*texture(2048), 0, sigma=60.0, largest=12.0)
    fixed, moving = case.fixed, case.moving
    del case
    small = fixed[:256, :256], moving[:256, :256]
    imgtool.register(*small, model="bspline", threads=2)
    # The highest mark so far belongs to the making of the images: fill memory up to it, and see what comes on top.
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    now = int(next(line for line in Path("/proc/self/status").read_text().splitlines() if "VmRSS" in line).split()[1])
    ballast = np.ones((peak - now) * 1024, np.uint8)
    imgtool.register(fixed, moving, model="bspline", threads=2)
    more = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak
    images = (more * 1024 + fixed.nbytes + moving.nbytes) / fixed.nbytes
    print(f"\npeak memory at 2048x2048: {images:.1f} images of float32")
    assert ballast[0] == 1


def field_speed():
    """The dense field against SciPy's ways to it, one thread."""
    rng = np.random.default_rng(0)
    grid = BSplineTransform(np.zeros((2, 413, 413)), (5.0, 5.0)).coefficients.shape
    control = rng.standard_normal(grid)
    transform = BSplineTransform(control, (5.0, 5.0), fixed_shape=(2048, 2048))
    at = (np.arange(2048) + 0.5) / 5 + 1
    places = np.meshgrid(at, at, indexing="ij")
    single = control.astype(np.float32)

    def peer():
        return [ndimage.map_coordinates(part, places, order=3, prefilter=False, output=np.float32) for part in single]

    ours = partial(transform.spline_displacement, dtype=np.float32, threads=1)
    np.testing.assert_allclose(ours(), peer(), atol=1e-4)
    mine, theirs, factor = ratio(ours, peer, rounds=5)
    print(
        f"\nfield 2048x2048 from a 5 px grid, float32, 1 thread: {1e3 * mine:.1f} ms; "
        f"scipy.ndimage.map_coordinates {1e3 * theirs:.0f} ms, {factor:.0f} x"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", default="")
    parser.add_argument("--grid-spacing", type=float)
    parser.add_argument("--clean-fixed", action="store_true")
    parser.add_argument("--same-contrast", action="store_true")
    parser.add_argument("--relative", action="store_true")
    parser.add_argument("--noise", type=float, default=0.03)
    parser.add_argument("--no-peers", action="store_true")
    options = parser.parse_args()
    if options.only == "memory":
        memory()
        return
    try:
        import SimpleITK  # noqa: F401

        peer = None if options.no_peers else itk
    except ImportError:
        peer = None
    cases = {f"brain {number}": partial(brain, options.data, number) for number in SLICES} | {
        "photo": partial(photo, options.data)
    }
    print("| pair | affine median / p95 px | median px | p95 px | s | folded | least determinant | inverse px | |")
    print("|---|---|---|---|---|---|---|---|---|")
    errors = {}
    for name, pair in cases.items():
        if options.only not in name:
            continue
        for seed in range(options.seeds):
            first, second = pair()
            first = second if options.same_contrast else first
            field = (min(second.shape) / 10, min(second.shape) / 40) if options.relative else (18.0, 4.5)
            case = Case(first, second, seed, *field, noise=options.noise, clean_fixed=options.clean_fixed)
            row = run(f"{name}, seed {seed}", case, options.threads, options.grid_spacing, peer)
            errors.setdefault(name.split()[0], []).append(row)
    if options.only in "large":
        large(options.threads, options.grid_spacing)
    for name, rows in errors.items():
        median, high = np.mean(rows, axis=0)
        print(f"\n{name}: mean of the medians {median:.3f} px, of the 95th percentiles {high:.2f} px")
    if options.only in "field":
        field_speed()
    if not options.only:
        subprocess.run([sys.executable, __file__, str(options.data), "--only", "memory"], check=True)


if __name__ == "__main__":
    main()
