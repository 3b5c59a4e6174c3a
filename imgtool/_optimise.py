"""Maximisation of a smooth function of a few parameters."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Vector = npt.NDArray[np.float64]

# Armijo and curvature conditions (Nocedal & Wright, Numerical Optimization, 2006, section 3.1).
_RISE, _SLOPE = 1e-4, 0.9
_TRIALS = 12


class State(NamedTuple):
    """The function at one place."""

    parameters: Vector
    value: float  # -inf where the function is not defined
    gradient: Vector


class Optimum(NamedTuple):
    """Where the search ended, and after how many accepted steps."""

    parameters: Vector
    value: float
    iterations: int


def maximise(
    function: Callable[[Vector], tuple[float, Vector]],
    start: Vector,
    *,
    first_step: float,
    longest_step: float,
    tolerance: float,
    iterations: int,
) -> Optimum:
    """Climb from `start` by BFGS with a line search until steps are shorter than `tolerance`.

    Parameters are scaled alike: step lengths are Euclidean. The line search asks for the weak Wolfe conditions by
    interpolation and bisection, which end for functions with kinks as well (Lewis & Overton, Mathematical Programming
    141, 2013); the accepted state of one search is the start of the next.
    """
    state = State(start, *function(start))
    inverse_hessian: npt.NDArray[np.float64] | None = None
    for iteration in range(iterations):
        length = float(np.linalg.norm(state.gradient))
        if length == 0:
            return Optimum(state.parameters, state.value, iteration)
        if inverse_hessian is None:
            direction = state.gradient * (first_step / length)
        else:
            direction = inverse_hessian @ state.gradient
        direction *= min(1.0, longest_step / float(np.linalg.norm(direction)))
        reached = _line_search(function, state, direction)
        if reached is None:
            if inverse_hessian is None:
                return Optimum(state.parameters, state.value, iteration)
            inverse_hessian = None
            first_step = min(first_step, 4 * tolerance)
            continue
        step, turn = reached.parameters - state.parameters, state.gradient - reached.gradient
        state = reached
        if float(np.linalg.norm(step)) < tolerance:
            return Optimum(state.parameters, state.value, iteration + 1)
        inverse_hessian = _updated(inverse_hessian, step, turn)
    return Optimum(state.parameters, state.value, iterations)


def _line_search(function: Callable[[Vector], tuple[float, Vector]], state: State, direction: Vector) -> State | None:
    """The state of an acceptable step along `direction`, or else of the highest one found; None if none is higher."""
    rise = float(state.gradient @ direction)
    low, high, factor = 0.0, np.inf, 1.0
    best = None
    for _ in range(_TRIALS):
        parameters = state.parameters + factor * direction
        trial = State(parameters, *function(parameters))
        if trial.value > (best or state).value:
            best = trial
        if trial.value < state.value + _RISE * factor * rise:
            high = factor
            # The top of the parabola through the start, its slope and this value, held inside the interval.
            top = rise * factor**2 / (2 * (state.value + rise * factor - trial.value))
            factor = min(max(top, low + 0.1 * (high - low)), low + 0.5 * (high - low))
        elif float(trial.gradient @ direction) > _SLOPE * rise:
            low = factor
            factor = 2 * factor if np.isinf(high) else (low + high) / 2
        else:
            return trial
    return best


def _updated(
    inverse_hessian: npt.NDArray[np.float64] | None, step: Vector, turn: Vector
) -> npt.NDArray[np.float64] | None:
    """The BFGS update, which keeps the matrix positive definite (Nocedal & Wright, equation 6.17)."""
    curvature = float(step @ turn)
    if curvature <= 1e-12 * float(np.linalg.norm(step) * np.linalg.norm(turn)):
        return inverse_hessian
    identity = np.eye(step.size)
    if inverse_hessian is None:
        inverse_hessian = identity * (curvature / float(turn @ turn))
    shear = identity - np.outer(step, turn) / curvature
    updated: npt.NDArray[np.float64] = shear @ inverse_hessian @ shear.T + np.outer(step, step) / curvature
    return updated
