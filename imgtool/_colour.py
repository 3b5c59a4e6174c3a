"""Colours: sRGB and linear light, and channels as the one plane that a registration compares."""

from typing import Any

import numpy as np
import numpy.typing as npt

from ._check import Array, rounded_to, saturation
from ._slabs import run_slabs
from .errors import ImgtoolError

_SLAB_VALUES = 1 << 16  # whose temporaries stay in the cache
_LUMINANCE = (0.299, 0.587, 0.114)  # ITU-R BT.601
_COLOURS = {"red": 0, "green": 1, "blue": 2}
# Directions of colour are found from about this many evenly spread pixels.
_COLOUR_SAMPLES = 1 << 16

Mask = npt.NDArray[np.bool_]
# "luminance", "all", or the channels to take together, counted from 0.
Channel = str | tuple[int, ...]


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


def parse_channel(text: str) -> Channel:
    """Which channels to compare: luminance, all, red, green, blue, a number from 1, or several joined by +.

    Raises
    ------
    ImgtoolError
        If it is none of these.

    Examples
    --------
    >>> parse_channel("luminance"), parse_channel("blue"), parse_channel("1+3")
    ('luminance', (2,), (0, 2))
    """
    if text in ("luminance", "all"):
        return text
    found = []
    for word in text.split("+"):
        if word in _COLOURS:
            found.append(_COLOURS[word])
        elif word.isascii() and word.isdecimal() and len(word) <= 4 and int(word) > 0:
            found.append(int(word) - 1)
        else:
            raise ImgtoolError(
                f"{text!r} is no channel; use luminance, all, red, green, blue, a number from 1, or several joined by +"
            )
    return tuple(dict.fromkeys(found))


def gray(image: Array, has_alpha: bool, channel: Channel = "luminance") -> tuple[Array, Mask | None]:
    """One plane of an image, and where it can be seen.

    Parameters
    ----------
    image : (height, width, channels) array of real numbers
        Integers are compared in float32, or float64 where they need it.
    has_alpha : bool
        Whether the last channel is opacity; it is no colour.
    channel : "luminance", "all" or tuple of int
        A tuple of one takes that channel. Several, or all, are taken together as their first principal component: the
        one plane that keeps most of their variance, which is what a comparison by mutual information can use.

    Returns
    -------
    plane : (height, width) array of floating point
    visible : (height, width) array of bool, or None
        Where alpha is not 0.

    Raises
    ------
    ImgtoolError
        If the image has no such channel, or its channels have no luminance.
    """
    visible = image[..., -1] != 0 if has_alpha else None
    colours = image[..., : image.shape[-1] - has_alpha]
    count = colours.shape[-1]
    kind = np.result_type(image.dtype, np.float32)
    if channel == "luminance":
        if count not in (1, 3):
            raise ImgtoolError(f"has {count} channels and so no luminance; choose one by --channel 1, or --channel all")
        weights = _LUMINANCE if count == 3 else (1.0,)
        return colours.astype(kind) @ np.array(weights, kind), visible
    chosen = tuple(range(count)) if isinstance(channel, str) else channel
    if max(chosen) >= count:
        raise ImgtoolError(
            f"has {count} {'channel' if count == 1 else 'channels'}, so there is no channel {max(chosen) + 1}"
        )
    if len(chosen) == 1:
        return colours[..., chosen[0]].astype(kind), visible
    planes = colours[..., list(chosen)].astype(kind)
    return planes @ _principal(planes, visible).astype(kind), visible


def _principal(planes: Array, visible: Mask | None) -> Array:
    """The weights of the first principal component of the channels that are the last axis."""
    colours = (planes if visible is None else planes[visible]).reshape(-1, planes.shape[-1])
    sample = colours[:: max(1, len(colours) // _COLOUR_SAMPLES)].astype(np.float64)
    sample = sample[np.isfinite(sample).all(axis=1)]
    if len(sample) < 2:
        return np.full(planes.shape[-1], 1 / planes.shape[-1])
    _, directions = np.linalg.eigh(np.cov(sample.T))
    weights = directions[:, -1]
    # An eigenvector's sign is arbitrary; this one makes most channels bright where they are.
    return np.asarray(weights if weights.sum() >= 0 else -weights)
