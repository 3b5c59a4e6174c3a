"""sRGB and linear light."""

from typing import Any

import numpy as np
import numpy.typing as npt

from ._check import Array, rounded_to, saturation


def _decoded(values: Array) -> Array:
    """Linear light of sRGB values in 0..1 (IEC 61966-2-1)."""
    return np.where(values <= 0.04045, values / 12.92, ((np.maximum(values, 0) + 0.055) / 1.055) ** 2.4)


def _encoded(light: Array) -> Array:
    """sRGB values of linear light in 0..1; negative light continues the straight part."""
    return np.where(light <= 0.0031308, light * 12.92, 1.055 * np.maximum(light, 0.0031308) ** (1 / 2.4) - 0.055)


def _one(dtype: np.dtype[Any]) -> float:
    """The value of full intensity."""
    return float(np.iinfo(dtype).max) if dtype.kind in "iu" else 1.0


def value_to_linear(value: complex, dtype: np.dtype[Any]) -> float:
    """One sRGB value of an image of this type as linear light."""
    return float(_decoded(np.asarray(value.real / _one(dtype))))


def to_linear(image: Array, channel_axis: int | None, has_alpha: bool) -> Array:
    """An sRGB image in linear light, 0..1, as float32 (float64 beyond 16 bits); alpha is scaled to 0..1 only."""
    kind = image.dtype.kind
    narrow = image.dtype.itemsize <= 2 or image.dtype == np.float32
    precise = np.float32 if narrow else np.float64
    if kind in "u" and image.dtype.itemsize <= 2:
        every = np.arange(np.iinfo(image.dtype).max + 1) / _one(image.dtype)
        light = _decoded(every).astype(precise)[image]
    else:
        light = _decoded(image.astype(np.float64) / _one(image.dtype)).astype(precise)
    if has_alpha and channel_axis is not None:
        alpha = np.moveaxis(image, channel_axis, -1)[..., -1]
        np.moveaxis(light, channel_axis, -1)[..., -1] = alpha / precise(_one(image.dtype))
    return light


def from_linear(
    light: Array, source: np.dtype[Any], target: npt.DTypeLike, bias: float, channel_axis: int | None, has_alpha: bool
) -> tuple[Array, int]:
    """Linear light as sRGB in the range of the source's type, rounded to the target's; and the saturated values."""
    target = np.dtype(target)
    one = _one(source)
    values = _encoded(light.astype(np.float64)) * one + bias
    if has_alpha and channel_axis is not None:
        np.moveaxis(values, channel_axis, -1)[..., -1] = np.moveaxis(light, channel_axis, -1)[..., -1] * one
    return rounded_to(values, target), saturation(values, target)
