"""The compiled kernels, from the fastest build that this processor runs.

IMGTOOL_ISA=base|v3|v4 in the environment chooses a build by hand; it is read once, at import.
"""

import os
from importlib import import_module

from ..errors import ImgtoolError
from . import cpu

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

_histogram = import_module(f".histogram_{ISA}", __name__)
bin_coordinates = _histogram.bin_coordinates
joint_histogram = _histogram.joint_histogram
sample_slopes = _histogram.sample_slopes

_warp = import_module(f".warp_{ISA}", __name__)
affine_sums = _warp.affine_sums
warp_cubic = _warp.cubic
warp_linear = _warp.linear
warp_nearest = _warp.nearest
sample_affine = _warp.sample
spline_columns = _warp.spline_columns
