"""sRGB and linear light."""

from typing import Any

import numpy as np

from ._check import Array, rounded_to, saturation
from ._slabs import run_slabs
from .errors import ImgtoolError

_SLAB_VALUES = 1 << 16  # whose temporaries stay in the cache


def check_linear(dtype: np.dtype[Any]) -> None:
    """Refuse images whose values cannot be sRGB."""
    if dtype.kind != "f" and dtype not in (np.uint8, np.uint16):
        raise ImgtoolError(f"linear light needs sRGB values of uint8, uint16 or a floating point type, not {dtype}")


def value_to_linear(value: complex, dtype: np.dtype[Any]) -> float:
    """One sRGB value of an image of this type as linear light."""
    return float(_decoded(np.asarray(value.real / _one(dtype))))


def to_linear(image: Array, has_alpha: bool) -> Array:
    """An sRGB image (axes + channels) in linear light, 0..1, as float32 (float64 of float64); alpha is scaled only."""
    check_linear(image.dtype)
    kind = np.dtype(np.float64 if image.dtype == np.float64 else np.float32)
    if image.dtype.kind == "u":
        every = np.arange(np.iinfo(image.dtype).max + 1) / _one(image.dtype)
        light = _decoded(every).astype(kind)[image]
    else:
        light = _decoded(image.astype(kind))
    if has_alpha:
        light[..., -1] = image[..., -1] / kind.type(_one(image.dtype))
    return light


def from_linear(
    light: Array, source: np.dtype[Any], target: np.dtype[Any], bias: float, has_alpha: bool, threads: int
) -> tuple[Array, int]:
    """Linear light as sRGB in the range of the source's type, rounded to the target's; and the saturated values."""
    one = _one(source)
    result = np.empty(light.shape, target)

    def rows(begin: int, end: int) -> int:
        part = light[begin:end].astype(np.float64)
        values = _encoded(part) * one + bias
        if has_alpha:
            values[..., -1] = part[..., -1] * one
        result[begin:end] = rounded_to(values, target)
        return saturation(values, target)

    each = max(1, _SLAB_VALUES // max(1, light[:1].size))
    return result, sum(run_slabs(rows, light.shape[0], each, threads))


def _decoded(values: Array) -> Array:
    """Linear light of sRGB values in 0..1 (IEC 61966-2-1); negative values continue the straight part."""
    return np.where(values <= 0.04045, values / 12.92, ((np.maximum(values, 0) + 0.055) / 1.055) ** 2.4)


def _encoded(light: Array) -> Array:
    """sRGB values of linear light in 0..1."""
    return np.where(light <= 0.0031308, light * 12.92, 1.055 * np.maximum(light, 0.0031308) ** (1 / 2.4) - 0.055)


def _one(dtype: np.dtype[Any]) -> float:
    """The value of full intensity."""
    return float(np.iinfo(dtype).max) if dtype.kind == "u" else 1.0
