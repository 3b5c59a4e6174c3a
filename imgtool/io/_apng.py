"""The frames of an animated PNG: chunks, drawn and taken apart. https://www.w3.org/TR/png-3/#apng-frame-based-animation"""

import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any, BinaryIO

import numpy as np

from ..errors import ImgtoolError
from ._chunks import chunk, walk
from ._frames import changed, durations
from ._image import Array, Metadata

_CLEAR, _RESTORE = 1, 2  # what is done to a frame before the next one is drawn
_OVER = 1
_FRAME = ">IIIIIHHBB"


@dataclass
class Frame:
    """A frame as its fcTL chunk describes it, and the places of its data in the file."""

    width: int
    height: int
    x: int
    y: int
    duration: float  # milliseconds
    disposal: int
    blending: int
    sequenced: bool  # whether its data are in fdAT chunks
    places: list[tuple[int, int]] = field(default_factory=list)

    def of(self, canvas: Array) -> Array:
        """The part of the canvas that the frame is drawn on."""
        part: Array = canvas[self.y : self.y + self.height, self.x : self.x + self.width]
        return part

    def covers(self, other: "Frame") -> bool:
        """Whether the other one lies inside."""
        return (
            self.x <= other.x
            and self.y <= other.y
            and self.x + self.width >= other.x + other.width
            and self.y + self.height >= other.y + other.height
        )


def frame(body: bytes | None, *, sequenced: bool) -> Frame:
    """The frame that the body of an fcTL chunk describes."""
    if body is None or len(body) != 4 + struct.calcsize(">IIIIHHBB"):
        raise ImgtoolError("the PNG animation is damaged; copy or download it again")
    _, width, height, x, y, delay, parts, disposal, blending = struct.unpack(_FRAME, body)
    return Frame(width, height, x, y, 1000 * delay / (parts or 100), disposal, blending, sequenced)


def check_frames(frames: list[Frame], control: bytes, width: int, height: int) -> int:
    """Refuse what is no animation on a canvas of this size; how many times it is played, 0 for ever."""
    if len(control) != 8:
        raise ImgtoolError("the PNG animation is damaged; copy or download it again")
    count, plays = struct.unpack(">II", control)
    inside = all(
        entry.width > 0
        and entry.height > 0
        and entry.x + entry.width <= width
        and entry.y + entry.height <= height
        and entry.disposal <= _RESTORE
        and entry.blending <= _OVER
        and entry.places
        for entry in frames
    )
    # The image that stands for the animation where none is shown can be its first frame, and is then of full size.
    whole = frames[0].sequenced or (frames[0].width, frames[0].height) == (width, height)
    if count != len(frames) or not (inside and whole):
        raise ImgtoolError("the PNG animation is cut off or damaged; copy or download it again")
    return int(plays)


def leaves_gaps(frames: list[Frame], width: int, height: int) -> bool:
    """Whether a frame can show pixels that nothing has been drawn on."""
    gap: Frame | None = Frame(width, height, 0, 0, 0, 0, 0, sequenced=False)
    for frame in frames:
        before = gap
        if gap is not None and not frame.covers(gap):
            return True
        cleared = frame.disposal == _CLEAR or (frame.disposal == _RESTORE and frame is frames[0])
        gap = frame if cleared else before if frame.disposal == _RESTORE else None
    return False


class Canvas:
    """What frames are drawn on, one after another; an earlier one than the last begins anew."""

    def __init__(
        self,
        frames: list[Frame],
        drawn: Callable[[int], Array],
        shape: tuple[int, int, int],
        dtype: "np.dtype[Any]",
        *,
        clear: bool,
    ) -> None:
        self._frames, self._drawn, self._clear = frames, drawn, clear
        self._shape, self._dtype = (*shape[:2], shape[2] + clear), dtype
        self._full = 1 if dtype.kind == "b" else np.iinfo(dtype).max
        self._next = 0
        self._canvas: Array = np.zeros(self._shape, dtype)
        self._kept: Array | None = None  # what takes the place of the last frame before the next

    def frame(self, number: int) -> Array:
        """The canvas once frame `number` has been drawn."""
        if number < self._next:
            self._next, self._canvas, self._kept = 0, np.zeros(self._shape, self._dtype), None
        while self._next <= number:
            self._advance()
        return self._canvas.copy()

    def _advance(self) -> None:
        number = self._next
        frame = self._frames[number]
        pixels = self._drawn(number).reshape(frame.height, frame.width, -1)
        if self._clear:
            pixels = pixels * np.uint8(255) if pixels.dtype.kind == "b" else pixels
            opaque = np.full((*pixels.shape[:2], 1), self._full, pixels.dtype)
            pixels = np.concatenate([pixels, opaque], axis=2)
        if self._kept is not None:
            self._frames[number - 1].of(self._canvas)[...] = self._kept
        part = frame.of(self._canvas)
        # There is nothing to restore before the first frame.
        disposal = _CLEAR if frame.disposal == _RESTORE and not number else frame.disposal
        self._kept = part.copy() if disposal == _RESTORE else np.zeros_like(part) if disposal == _CLEAR else None
        part[...] = self._over(pixels, part) if frame.blending == _OVER and not self._clear else pixels
        self._next += 1

    def _over(self, pixels: Array, behind: Array) -> Array:
        """`pixels` laid over others, which show where they are not opaque."""
        if pixels.shape[2] not in (2, 4):
            return pixels
        alpha = pixels[..., -1:] / self._full
        remaining = behind[..., -1:] / self._full * (1 - alpha)
        together = alpha + remaining
        with np.errstate(invalid="ignore"):
            colours = (pixels[..., :-1] * alpha + behind[..., :-1] * remaining) / together
        colours = np.where(together > 0, colours, 0)
        laid: Array = np.rint(np.concatenate([colours, together * self._full], axis=2)).astype(pixels.dtype)
        return laid


class FrameWriter:
    """Writes frames one after another, of all but the first what has changed."""

    def __init__(self, stream: BinaryIO, timing: Metadata, frames: int, encoded: Callable[[Array], bytes]) -> None:
        self._stream, self._encoded = stream, encoded
        self._spans = durations(timing, frames)
        self._plays = timing["frames"]["plays"]
        self._number = self._sequence = 0
        self._before: Array | None = None

    def write(self, begin: Callable[[Array], None], data: Array) -> None:
        """Append a frame; `begin` writes the file up to the data of the first."""
        box = changed(self._before, data)
        if self._before is None:
            begin(data)
        else:
            self._control(box.right - box.left, box.bottom - box.top, box.left, box.top)
            file = BytesIO(self._encoded(box.of(data)))
            for name, place, length in walk(file):
                if name == b"IDAT":
                    body = file.getbuffer()[place : place + length]
                    self._stream.write(chunk(b"fdAT", struct.pack(">I", self._sequence) + body))
                    self._sequence += 1
        self._before = data.copy()

    def begin(self, width: int, height: int) -> None:
        """What stands before the data of the first frame."""
        self._stream.write(chunk(b"acTL", struct.pack(">II", len(self._spans), self._plays)))
        self._control(width, height, 0, 0)

    def _control(self, width: int, height: int, x: int, y: int) -> None:
        from fractions import Fraction  # 2 ms, which every PNG would pay

        span = self._spans[self._number]
        # Numerator and denominator have 16 bits each.
        delay = Fraction(min(span / 1000, 65535)).limit_denominator(int(min(65535, 65_535_000 / max(span, 1))) or 1)
        body = struct.pack(_FRAME, self._sequence, width, height, x, y, delay.numerator, delay.denominator, 0, 0)
        self._stream.write(chunk(b"fcTL", body))
        self._number += 1
        self._sequence += 1
