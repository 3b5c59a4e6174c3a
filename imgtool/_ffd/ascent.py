"""Maximisation of a smooth function of many parameters."""

from collections import deque
from collections.abc import Callable
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

Parameters = npt.NDArray[np.float64]

_MEMORY = 8
# The sufficient increase of Armijo's condition, and how many steps are tried for it.
_RISE, _TRIALS = 1e-4, 10
# So many steps that gain less than this share of everything end the ascent: what is left is the noise's.
_LAST, _LEVEL = 3, 0.005


# Steps, turns of the gradient along them, and the products of the two.
History = deque[tuple[Parameters, Parameters, float]]
Solver = Callable[[Parameters], Parameters]


class Function(Protocol):
    """A function that knows its gradient where it was evaluated last."""

    def value(self, parameters: Parameters, /) -> float:
        """The value; -inf where the function is not defined."""

    def gradient(self) -> Parameters:
        """The gradient at the last value, which was finite."""


class Optimum(NamedTuple):
    """Where the ascent ended, and after how many accepted steps."""

    parameters: Parameters
    value: float
    iterations: int


def dot(one: Parameters, other: Parameters) -> float:
    """The inner product, summed in an order that no BLAS library and no number of its threads decides."""
    return float((one * other).sum())


def ascend(
    function: Function,
    start: Parameters,
    *,
    first_step: float,
    longest_step: float,
    tolerance: float,
    iterations: int,
    solve: Solver | None = None,
) -> Optimum:
    """Climb from `start` by L-BFGS until no parameter moves by more than `tolerance`, or the climb levels out.

    The gradient is asked for at accepted places only. First and longest step are those of the parameter that moves
    most. `solve`, if there is one, multiplies with the inverse of a model of the curvature. (Nocedal & Wright,
    Numerical Optimization, 2006, algorithms 7.4 and 7.5.)
    """
    point, value = start, function.value(start)
    if not np.isfinite(value):
        return Optimum(start, value, 0)
    gradient = function.gradient()
    history: History = deque(maxlen=_MEMORY)
    values = [value]
    for iteration in range(iterations):
        direction = _direction(gradient, history, solve)
        longest = float(np.abs(direction).max())
        if longest == 0:
            return Optimum(point, value, iteration)
        direction *= min(1.0, longest_step / longest) if history or solve else first_step / longest
        factor, reached = _line_search(function, point, value, direction, dot(gradient, direction))
        if factor == 0:
            if not history:
                return Optimum(point, value, iteration)
            # What was learnt about the curvature does not hold here; begin again, carefully.
            history.clear()
            first_step = min(first_step, tolerance)
            continue
        step, before = factor * direction, gradient
        point, value, gradient = point + step, reached, function.gradient()
        turn = before - gradient
        curvature = dot(step, turn)
        # A pair without curvature would make the next direction point downwards.
        if curvature > 1e-8 * np.sqrt(dot(step, step) * dot(turn, turn)):
            history.append((step, turn, curvature))
        values.append(value)
        if float(np.abs(step).max()) < tolerance or _is_level(values):
            return Optimum(point, value, iteration + 1)
    return Optimum(point, value, iterations)


def _is_level(values: list[float]) -> bool:
    """Whether the last steps together gained next to nothing of what all of them did."""
    return len(values) > 2 * _LAST and values[-1] - values[-1 - _LAST] < _LEVEL * (values[-1] - values[0])


def _line_search(
    function: Function, point: Parameters, value: float, direction: Parameters, rise: float
) -> tuple[float, float]:
    """The first of ever shorter steps, as a factor of `direction`, that rises enough, and the value there; 0 if none.

    `rise` is the derivative along the direction. The steps are the tops of parabolas through what is known.
    """
    factor = 1.0
    for _ in range(_TRIALS):
        trial = function.value(point + factor * direction)
        if trial >= value + _RISE * factor * rise:
            return factor, trial
        top = rise * factor / (2 * (value + rise * factor - trial)) if np.isfinite(trial) else 0.0
        factor *= min(max(top, 0.1), 0.5)
    return 0.0, value


def _direction(gradient: Parameters, history: History, solve: Solver | None) -> Parameters:
    """The gradient times the inverse Hessian that the history stands for."""
    direction = gradient.copy()
    shares = []
    for step, turn, curvature in reversed(history):
        share = dot(step, direction) / curvature
        direction -= share * turn
        shares.append(share)
    direction = solve(direction) if solve else direction
    if history:
        step, turn, curvature = history[-1]
        direction *= curvature / dot(turn, solve(turn) if solve else turn)
    for (step, turn, curvature), share in zip(history, reversed(shares), strict=True):
        direction += step * (share - dot(turn, direction) / curvature)
    return direction
