"""A picture known at every point, so that it can be moved exactly."""

import numpy as np

_RNG = np.random.default_rng(5)
_WAVES = [
    (angle, 2 * np.pi / np.exp(length), phase)
    for angle, length, phase in zip(
        _RNG.uniform(0, 2 * np.pi, 40),
        _RNG.uniform(np.log(7), np.log(40), 40),
        _RNG.uniform(0, 2 * np.pi, 40),
        strict=True,
    )
]


def texture(x, y):
    """Forty waves of 7 to 40 pixels in all directions: mostly within +-3.5, without symmetries or repetitions."""
    return sum(np.sin(k * (np.cos(angle) * x + np.sin(angle) * y) + phase) for angle, k, phase in _WAVES) / 4
