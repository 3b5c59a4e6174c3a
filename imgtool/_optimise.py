"""Maximisation of a smooth function of a few parameters."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Matrix = npt.NDArray[np.float64]
Vector = npt.NDArray[np.float64]
Function = Callable[[Vector], tuple[float, Vector]]

# Armijo and curvature conditions (Nocedal & Wright, Numerical Optimization, 2006, section 3.1).
_RISE, _SLOPE = 1e-4, 0.9
_TRIALS = 12
# Of settling: how many places are tried, and which share of a step at least; how much flatter than its steepest way a
# top may be taken for; how much lower than its surroundings it may seem, for values are rough.
_SETTLING_TRIALS, _LEAST_SHARE = 10, 0.1
_FLATTEST, _ROUGH = 1e-3, 0.01


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
    function: Function,
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
    inverse_hessian: Matrix | None = None
    for iteration in range(iterations):
        length = _length(state.gradient)
        if length == 0:
            return Optimum(state.parameters, state.value, iteration)
        if inverse_hessian is None:
            direction = state.gradient * (first_step / length)
        else:
            direction = inverse_hessian @ state.gradient
        direction *= min(1.0, longest_step / _length(direction))
        reached = _line_search(function, state, direction, tolerance)
        if reached is None:
            if inverse_hessian is None:
                return Optimum(state.parameters, state.value, iteration)
            inverse_hessian = None
            first_step = min(first_step, 4 * tolerance)
            continue
        step, turn = reached.parameters - state.parameters, state.gradient - reached.gradient
        state = reached
        if _length(step) < tolerance:
            return Optimum(state.parameters, state.value, iteration + 1)
        if inverse_hessian is None and (curvature := _curvature(step, turn)):
            inverse_hessian = np.eye(step.size) * (curvature / float(turn @ turn))
        if inverse_hessian is not None:
            inverse_hessian = _updated(inverse_hessian, step, turn)
    return Optimum(state.parameters, state.value, iterations)


def settle(
    functions: Sequence[Function], near: Function, start: Vector, *, probe: float, longest_step: float, tolerance: float
) -> tuple[Optimum, bool]:
    """The place beside `start` where the gradient of the last of `functions` vanishes, by Newton's method.

    Values of a function that counts samples are rough where its gradient, a sum over them, is still smooth; close to
    the top only the gradient tells where it is. Functions are like each other, those before the last take less time.
    The first curvature is that of `near`, one more like them, from differences of its gradient over `probe`; each step
    corrects it. A step leads to where the next one is shorter, and one shorter than `tolerance` is the last. Returns,
    too, whether it came to that.
    """
    _, centre = near(start)
    turns = np.stack([centre - near(start + probe * axis)[1] for axis in np.eye(start.size)]) / probe
    curvatures, axes = np.linalg.eigh(0.5 * (turns + turns.T))
    # Where it is flat, or no top, steps are as cautious as elsewhere.
    curvatures = np.maximum(np.abs(curvatures), max(_FLATTEST * float(np.abs(curvatures).max()), 1e-300))
    inverse_hessian = (axes / curvatures) @ axes.T

    def next_step(state: State) -> tuple[Vector, float]:
        step = inverse_hessian @ state.gradient
        length = _length(step)
        return step * min(1.0, longest_step / max(length, 1e-300)), length

    place, steps, settled = start, 0, False
    for function in functions:
        first = best = State(place, *function(place))
        step, length = next_step(best)
        share, refused = 1.0, False
        for _ in range(_SETTLING_TRIALS):
            if length < tolerance or share < _LEAST_SHARE:
                break
            trial = _after(function, best, share * step)
            inverse_hessian = _updated(inverse_hessian, share * step, best.gradient - trial.gradient)
            (step, length), (ahead, distance) = next_step(best), next_step(trial)
            if distance < length:
                best, step, length, steps = trial, ahead, distance, steps + 1
                share, refused = 1.0, False
            else:
                # The corrected curvature has one chance before steps become shorter.
                share, refused = share * (0.5 if refused else 1.0), True
        if best.value < first.value - _ROUGH:
            return Optimum(start, first.value, 0), False
        settled = length < tolerance
        # What is left to go is too little to look again.
        place = best.parameters + step if settled else best.parameters
    return Optimum(place, best.value, steps), settled


def _after(function: Function, state: State, step: Vector) -> State:
    parameters = state.parameters + step
    return State(parameters, *function(parameters))


def _line_search(function: Function, state: State, direction: Vector, shortest: float) -> State | None:
    """The state of an acceptable step along `direction`, or else of the highest one found; None if none is higher.

    Steps below half of `shortest` are not tried.
    """
    rise = float(state.gradient @ direction)
    least = 0.5 * shortest / _length(direction)
    low, high, factor = 0.0, np.inf, 1.0
    best = None
    for _ in range(_TRIALS):
        trial = _after(function, state, factor * direction)
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
        if factor < least:
            break
    return best


def _length(vector: Vector) -> float:
    return math.sqrt(float(vector @ vector))


def _curvature(step: Vector, turn: Vector) -> float:
    """How much the gradient turned back along a step; 0 where it did not."""
    curvature = float(step @ turn)
    return curvature if curvature > 1e-12 * _length(step) * _length(turn) else 0.0


def _updated(inverse_hessian: Matrix, step: Vector, turn: Vector) -> Matrix:
    """The BFGS update, which keeps the matrix positive definite (Nocedal & Wright, equation 6.17)."""
    curvature = _curvature(step, turn)
    if curvature == 0:
        return inverse_hessian
    seen = inverse_hessian @ turn
    crossed = step[:, None] * seen
    updated: Matrix = (
        inverse_hessian
        - (crossed + crossed.T) / curvature
        + step[:, None] * step * ((1 + float(turn @ seen) / curvature) / curvature)
    )
    return updated
