"""Banded Cholesky factors, every build of them, against plain NumPy."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgtool import _ext


def banded(rng, count, reach):
    """A positive definite matrix with `reach` diagonals above the main one, and its rows as the kernel takes them."""
    lower = 0.1 * np.tril(rng.standard_normal((count, count)))
    lower[np.subtract.outer(range(count), range(count)) > reach] = 0
    np.fill_diagonal(lower, 1 + np.abs(np.diag(lower)))
    matrix = lower @ lower.T
    rows = np.full((count, reach + 1), np.nan)
    for k in range(min(reach + 1, count)):
        rows[: count - k, k] = np.diag(matrix, k)
    return matrix, rows


# Groups of four rows and what is left of them, and diagonals beyond the matrix, whose places hold NaN.
@pytest.mark.parametrize(("count", "reach"), [(1, 0), (2, 5), (4, 3), (7, 2), (41, 13), (64, 1), (90, 30)])
def test_the_factor_is_cholesky_s_and_solves(isa, count, reach):
    rng = np.random.default_rng(count)
    matrix, rows = banded(rng, count, reach)
    volume = _ext.banded_cholesky(rows)
    factor = sum((np.diag(rows[: count - k, k], k) for k in range(min(reach + 1, count))), np.zeros((count, count)))
    np.testing.assert_allclose(factor.T @ factor, matrix, rtol=1e-12, atol=1e-12)
    assert volume == pytest.approx(np.linalg.slogdet(matrix)[1], rel=1e-12, abs=1e-12)
    right = rng.standard_normal(count)
    found = right.copy()
    _ext.banded_solve(rows, found)
    np.testing.assert_allclose(matrix @ found, right, rtol=1e-8, atol=1e-8)


@given(st.integers(1, 30), st.integers(0, 12), st.integers(0, 2**32 - 1))
def test_any_band_is_solved(count, reach, seed):
    rng = np.random.default_rng(seed)
    matrix, rows = banded(rng, count, reach)
    right = rng.standard_normal(count)
    found = right.copy()
    _ext.banded_cholesky(rows)
    _ext.banded_solve(rows, found)
    np.testing.assert_allclose(found, np.linalg.solve(matrix, right), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("place", [0, 3, 4, 9])
def test_a_matrix_that_is_not_positive_definite_has_no_factor(isa, place):
    _, rows = banded(np.random.default_rng(3), 10, 3)
    rows[place, 0] = -1
    assert np.isnan(_ext.banded_cholesky(rows))
