"""Rounding and saturating into integers, every build of it, against NumPy."""

import numpy as np
import pytest

from imgtool._check import rounded_to, saturation
from imgtool.filters import apply_kernel


@pytest.mark.parametrize("target", ["u1", "i1", "u2", "i2"])
@pytest.mark.parametrize("source", ["f4", "f8"])
def test_numbers_are_rounded_half_to_even_saturated_and_counted(isa, source, target):
    info = np.iinfo(target)
    ends = np.array([info.min, info.max], float)
    odd = [np.nan, np.inf, -np.inf, 1e30, -1e30, -0.0, 0.25, 2.0**31, -(2.0**31)]
    values = np.concatenate([odd, *(ends[:, np.newaxis] + np.arange(-3, 3.5, 0.25)), np.arange(-4, 4, 0.125)])
    values = np.random.default_rng(1).permutation(values).astype(source)
    for count in [*range(1, 40), values.size]:  # whole vectors and what is left beside them
        line = values[np.newaxis, :count].copy()
        result, missed = apply_kernel(line, ([[1.0]],), dtype=target, method="direct")
        np.testing.assert_array_equal(result, rounded_to(line, target))
        assert missed == saturation(line[~np.isnan(line)], np.dtype(target))
