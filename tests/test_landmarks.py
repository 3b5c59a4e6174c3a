"""Fits to matched points, and how far a transform is from them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from imgtool.errors import ImgtoolError
from imgtool.landmarks import LEAST_PAIRS, evaluate, fit, model_for
from imgtool.transforms import MatrixTransform

TURN = np.array([[np.cos(0.4), -np.sin(0.4)], [np.sin(0.4), np.cos(0.4)]])


def matrix(linear, shift, perspective=(0.0, 0.0)):
    return np.vstack([np.column_stack([linear, shift]), [*perspective, 1.0]])


MATRICES = {
    "translation": matrix(np.eye(2), [3, -2]),
    "rigid": matrix(TURN, [30, -20]),
    "similarity": matrix(1.3 * TURN, [3, 90]),
    "affine": matrix([[1.1, 0.2], [-0.3, 0.8]], [5, 6]),
    "projective": matrix([[1.1, 0.2], [-0.3, 0.8]], [5, 6], [1e-3, -5e-4]),
}


def mapped(by, points):
    moved = np.column_stack([points, np.ones(len(points))]) @ by.T
    return moved[:, :2] / moved[:, 2:]


@pytest.mark.parametrize("model", MATRICES)
@pytest.mark.parametrize("more", [0, 1, 20])
def test_exact_points_give_the_exact_transform(model, more):
    points = np.random.default_rng(1).uniform(0, 300, (LEAST_PAIRS[model] + more, 2))
    assert_allclose(fit(points, mapped(MATRICES[model], points), model), MATRICES[model], rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("model", ["translation", "rigid", "similarity", "affine"])
def test_no_neighbouring_transform_of_the_model_fits_noisy_points_better(model):
    rng = np.random.default_rng(2)
    points = rng.uniform(0, 200, (12, 2))
    goal = mapped(MATRICES[model], points) + rng.normal(0, 3, (12, 2))
    best = fit(points, goal, model)

    def cost(by):
        return float(((mapped(by, points) - goal) ** 2).sum())

    steps = {
        "translation": [],
        "rigid": [[[0, -1], [1, 0]]],
        "similarity": [[[0, -1], [1, 0]], np.eye(2)],
        "affine": np.eye(4).reshape(4, 2, 2),
    }[model]
    changes = [matrix(np.eye(2) + 1e-4 * np.array(step) * sign, [0, 0]) for step in steps for sign in (1, -1)]
    changes += [matrix(np.eye(2), shift) for shift in [(0.01, 0), (-0.01, 0), (0, 0.01), (0, -0.01)]]
    for change in changes:
        assert cost(best) <= cost(best @ change)


@given(st.floats(-3, 3), st.floats(0.5, 2), st.integers(3, 9))
def test_a_similarity_is_found_whatever_its_angle_and_scale(angle, scale, count):
    points = np.random.default_rng(count).uniform(-100, 100, (count, 2))
    cos, sin = scale * np.cos(angle), scale * np.sin(angle)
    expected = matrix([[cos, -sin], [sin, cos]], [7, -8])
    assert_allclose(fit(points, mapped(expected, points), "similarity"), expected, atol=1e-9)


LINE = [[0, 0], [1, 1], [2, 2], [3, 3]]
SQUARE = [[0, 0], [9, 0], [9, 9], [0, 9]]


@pytest.mark.parametrize(
    ("fixed", "moving", "model", "said"),
    [
        (SQUARE[:2], SQUARE[:2], "affine", "an affine transform needs 3 landmarks or more, not 2"),
        (SQUARE[:3], SQUARE[:3], "projective", "a projective transform needs 4 landmarks or more, not 3"),
        ([[5, 5], [5, 5]], [[1, 1], [2, 2]], "rigid", "lie on one spot or contradict"),
        (LINE, SQUARE, "affine", "the landmarks lie on a line"),
        (SQUARE, LINE, "affine", "the landmarks lie on a line"),
        ([[0, 0], [5, 0], [9, 0], [0, 9]], SQUARE, "projective", "no projective transform fits these landmarks"),
        (LINE, LINE, "projective", "three or more of the landmarks lie on a line"),
        (SQUARE, [[0, 0], [5, 0], [9, 0], [0, 9]], "projective", "no projective transform fits these landmarks"),
        (SQUARE, [SQUARE[n] for n in (0, 2, 1, 3)], "projective", "no projective transform fits these landmarks"),
        (SQUARE, SQUARE[:3], "rigid", "there are 4 fixed landmarks and 3 moving ones"),
        ([[0, 0], [np.nan, 1]], SQUARE[:2], "rigid", "fixed landmark 2 is not finite"),
        ([[0, 0, 0]], SQUARE[:1], "rigid", "must be an (N, 2) array of x, y, not of shape (1, 3)"),
        (np.empty((0, 2)), np.empty((0, 2)), "translation", "there are no landmarks"),
        (SQUARE, SQUARE, "elastic", "model 'elastic' is unknown; use translation"),
    ],
)
def test_what_determines_no_transform_is_refused(fixed, moving, model, said):
    with pytest.raises(ImgtoolError, match=said.replace("(", r"\(").replace(")", r"\)")):
        fit(fixed, moving, model)


def test_few_points_make_do_with_a_simpler_model():
    assert [model_for(pairs, "affine") for pairs in (1, 2, 3, 9)] == ["translation", "similarity", "affine", "affine"]
    assert model_for(9, "rigid") == "rigid"


def test_errors_follow_the_definitions_of_the_challenge():
    # Twice as large in the moving image: what is 4 pixels off there is 2 in the fixed image.
    double = MatrixTransform(np.diag([2.0, 2.0, 1.0]), "similarity", (30, 40), (60, 80))
    fixed, moving = [[10, 10], [20, 10]], [[20, 20], [44, 20]]
    found = evaluate(double, fixed, moving, double.fixed_shape)
    assert_allclose(found.after, [0, 2])
    assert_allclose(found.before, [np.hypot(10, 10), np.hypot(24, 10)])
    assert found.diagonal == 50
    assert found.summary()["rtre_after"] == {"median": 0.02, "mean": 0.02, "max": 0.04}
    assert found.robustness == 1
    assert_allclose(evaluate(double, fixed, moving, double.moving_shape, frame="moving").after, [0, 4])


def test_robustness_counts_the_landmarks_that_came_nearer():
    shift = MatrixTransform(matrix(np.eye(2), [4, 0]), "translation", (30, 40), (30, 40))
    assert (
        evaluate(shift, [[0, 0], [5, 5], [9, 9], [1, 1]], [[4, 0], [5, 5], [12, 9], [3, 1]], (30, 40)).robustness == 0.5
    )
