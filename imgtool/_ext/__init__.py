"""The compiled kernels, from the fastest build that this processor runs.

IMGTOOL_ISA=base|v3|v4 in the environment chooses a build by hand; it is read once, at import.
"""

import os
from importlib import import_module

from ..errors import ImgtoolError
from . import cpu
from .memory import Block as Block

SUPPORTED = cpu.supported()
CYTHON_VERSION = cpu.cython_version()


def _choose() -> str:
    if not SUPPORTED:
        raise ImgtoolError("this processor is older than x86-64-v2 (SSE4.2, POPCNT), which imgtool needs")
    wanted = os.environ.get("IMGTOOL_ISA", "")
    if not wanted:
        return SUPPORTED[-1]
    if wanted not in ("base", "v3", "v4"):
        raise ImgtoolError(f"IMGTOOL_ISA={wanted!r} is unknown; use base, v3 or v4, or leave it unset")
    if wanted not in SUPPORTED:
        raise ImgtoolError(
            f"IMGTOOL_ISA={wanted} does not run on this processor, which runs {', '.join(SUPPORTED)}; leave it unset"
        )
    return wanted


ISA = _choose()

#: The kernels' names by module, each of which is built once per level.
KERNELS = {
    "alignment": ("Alignment",),
    "banded": ("banded_cholesky", "banded_solve"),
    "box": ("Box",),
    "correlate": ("OUTSIDE_PLANE", "Correlation", "border_table"),
    "displacement": ("displace", "displace_pixels"),
    "fft": ("Spectrum", "TilePair", "pair_count", "tiles_in_pair"),
    "histogram": ("Image", "Workspace", "find_tails"),
    "neighbours": ("window_information",),
    "nonlocal_means": ("NONLOCAL_PAD", "nonlocal_means"),
    "orientation": ("Shifts", "area_means", "orientation_sums"),
    "pairs": ("Pairs", "pairs_supported"),
    "parzen": ("bin_coordinates", "joint_histogram", "sample_slopes", "score"),
    "prefilter": ("fill_missing", "mirror_border", "spline_coefficients"),
    "spline": (
        "bending_product",
        "sample_displaced",
        "spline_adjoint",
        "spline_axis",
        "spline_field",
        "spline_points",
        "spline_refined",
        "weigh_slopes",
    ),
    "warp": ("Places", "extent", "round_into", "warp_nearest", "warp_real"),
}

_MODULES = {name: module for module, names in KERNELS.items() for name in names}


def __getattr__(name: str) -> object:
    """A kernel on its first use: loading all of them takes longer than filtering a small image."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    build = import_module(f".{_MODULES[name]}_{ISA}", __name__)
    globals()[name] = getattr(build, name)
    return globals()[name]
