"""PNG, exact at every bit depth.

imagecodecs (libpng) decodes and encodes: Pillow, and so imageio, cuts 16-bit colour to 8 bits without a word. The
chunks around the pixels are walked here, which also gives libpng only what it can read without printing to stderr.
"""

import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from copy import copy
from functools import partial
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from ..errors import ImgtoolError
from ._chunks import SIGNATURE, chunk, walk
from ._exif import orientation_of, with_orientation
from ._image import Array, Image, Info, Metadata, Source, layout
from .formats import LIBPNG_LARGEST

if TYPE_CHECKING:  # 2 ms, which every still would pay
    from ._apng import Frame

# Samples per pixel and allowed bit depths by colour type.
_GRAY, _RGB, _PALETTE, _GRAY_ALPHA, _RGBA = 0, 2, 3, 4, 6
_SAMPLES = {_GRAY: 1, _RGB: 3, _PALETTE: 1, _GRAY_ALPHA: 2, _RGBA: 4}
_DEPTHS = {_GRAY: (1, 2, 4, 8, 16), _RGB: (8, 16), _PALETTE: (1, 2, 4, 8), _GRAY_ALPHA: (8, 16), _RGBA: (8, 16)}
# Chunks that say how the colours look or what the picture is about, kept byte for byte from PNG to PNG.
_KEPT = (b"gAMA", b"cHRM", b"sRGB", b"cICP", b"mDCV", b"cLLI", b"tEXt", b"zTXt", b"iTXt")
# Those that have a place of their own in `Image.metadata`, or were made for other pixels: the bits that count, the
# colour behind, palettes and their frequencies, the time of the last change.
_KNOWN = {b"IHDR", b"PLTE", b"IEND", b"tRNS", b"iCCP", b"pHYs", b"eXIf", b"acTL"} | {
    b"sBIT",
    b"bKGD",
    b"sPLT",
    b"hIST",
    b"tIME",
}
_XMP_HEAD = b"XML:com.adobe.xmp\0\0\0\0\0"
# First column and row, column and row step of the seven passes of an interlaced image (PNG specification, 8.1).
_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
# Deflate cannot pack more than this many bytes into one; a header that promises more lies.
_DEFLATE_LIMIT = 1032
_LONGEST_TEXT = 1 << 20
_ALL_FILTERS = 6  # the level from which on each row gets the filter that suits it best


def open_image(stream: BinaryIO, _format: str) -> Source:
    """The header and metadata of a PNG stream."""
    chunks = dict[bytes, bytes]()
    kept = list[tuple[bytes, bytes]]()
    pixels = list[tuple[int, int]]()
    frames: list[Frame] = []
    for name, start, length in walk(stream):
        if name == b"IDAT":
            pixels.append((start, length))
            if frames and not frames[0].sequenced:
                frames[0].places.append((start, length))
        elif name == b"fcTL":
            from ._apng import frame

            frames.append(frame(_body(stream, name, start, length), sequenced=bool(pixels)))
        elif name == b"fdAT" and frames and frames[-1].sequenced:
            frames[-1].places.append((start, length))
        elif name == b"CgBI":
            raise ImgtoolError(
                "Apple's CgBI variant of PNG is not supported; convert it with pngcrush -revert-iphone-optimizations"
            )
        elif (body := _body(stream, name, start, length)) is None:
            continue
        elif _is_kept(name) and not body.startswith(_XMP_HEAD):
            kept.append((name, body))
        else:
            chunks.setdefault(name if name != b"iTXt" else b"xmp", body)
    if b"IHDR" not in chunks or b"IEND" not in chunks or not pixels:
        raise ImgtoolError("the PNG file is cut off; copy or download it again")
    header = _Header(chunks)
    if header.raw_size() > _DEFLATE_LIMIT * sum(length for _, length in pixels):
        raise ImgtoolError("the PNG file is cut off: it is too short for its size in pixels; copy or download it again")
    if max(header.width, header.height) > LIBPNG_LARGEST:
        raise ImgtoolError(f"PNG images are read up to {LIBPNG_LARGEST} pixels on a side; store it as TIFF")
    metadata = _metadata(chunks, kept)
    if len(frames) > 1 and b"acTL" in chunks:
        return _animation(stream, header, frames, chunks[b"acTL"], metadata)
    shape, channel_axis = layout(header.height, header.width, header.channels)
    info = Info("PNG", shape, header.dtype, channel_axis, 1, header.channels in (2, 4))
    return Source(info, metadata, lambda: _decode(header, stream, pixels).reshape(shape))


def _animation(
    stream: BinaryIO, header: "_Header", frames: "list[Frame]", control: bytes, metadata: Metadata
) -> Source:
    from ._apng import Canvas, check_frames, leaves_gaps

    plays = check_frames(frames, control, header.width, header.height)
    sizes = [header.sized(entry.width, entry.height) for entry in frames]
    for sized, entry in zip(sizes, frames, strict=True):
        if sized.raw_size() > _DEFLATE_LIMIT * sum(length for _, length in entry.places):
            raise ImgtoolError("the PNG animation is cut off or damaged; copy or download it again")

    def drawn(number: int) -> Array:
        entry, sized = frames[number], sizes[number]
        if entry.sequenced:
            bodies = [_body(stream, b"fdAT", *place) for place in entry.places]
            if None in bodies:
                raise ImgtoolError("the PNG animation is damaged (a checksum is wrong); copy or download it again")
            return _unpacked(sized, b"".join(body[4:] for body in bodies if body))
        return _decode(sized, stream, entry.places)

    # What is left clear by a frame that is removed, or does not reach everywhere, needs opacity.
    clear = header.channels in (1, 3) and leaves_gaps(frames, header.width, header.height)
    dtype = np.dtype("uint8") if clear and header.dtype.kind == "b" else header.dtype
    shape, channel_axis = layout(header.height, header.width, header.channels + clear, len(frames))
    canvas = Canvas(frames, drawn, (header.height, header.width, header.channels), dtype, clear=clear)
    info = Info("PNG", shape, dtype, channel_axis, len(frames), clear or header.channels in (2, 4), animated=True)

    def decode_page(number: int) -> Array:
        return canvas.frame(number).reshape(shape[1:])

    metadata["frames"] = {"durations": [entry.duration for entry in frames], "plays": plays}
    return Source(info, metadata, lambda: np.stack([decode_page(n) for n in range(len(frames))]), decode_page)


def _body(stream: BinaryIO, name: bytes, start: int, length: int) -> bytes | None:
    """The body of a chunk; a damaged one is an error if the pixels depend on it, and None otherwise."""
    stream.seek(start)
    body = stream.read(length)
    if zlib.crc32(body, zlib.crc32(name)) == int.from_bytes(stream.read(4), "big"):
        return body
    if name[:1].isupper():
        raise ImgtoolError("the PNG file is damaged (a checksum is wrong); copy or download it again")
    return None


class _Header:
    """What decides the form of the pixels: IHDR, PLTE and tRNS."""

    def __init__(self, chunks: dict[bytes, bytes]) -> None:
        try:
            fields = struct.unpack(">IIBBBBB", chunks[b"IHDR"])
        except struct.error:
            raise ImgtoolError("the PNG header is damaged") from None
        self.width, self.height, self.depth, self.colour, compression, filtering, self.interlaced = fields
        if (
            not (0 < self.width < 2**31 and 0 < self.height < 2**31)
            or self.depth not in _DEPTHS.get(self.colour, ())
            or (compression, filtering) != (0, 0)
            or self.interlaced > 1
        ):
            raise ImgtoolError("the PNG header is damaged")
        self.palette = chunks.get(b"PLTE", b"") if self.colour == _PALETTE else b""
        if self.colour == _PALETTE and (
            not self.palette or len(self.palette) % 3 or len(self.palette) > 3 << self.depth
        ):
            raise ImgtoolError("the palette of the PNG file is damaged")
        self.transparent = self._transparency(chunks.get(b"tRNS", b""))
        base = 3 if self.colour == _PALETTE else _SAMPLES[self.colour]
        self.channels = base + bool(self.transparent)
        bilevel = (self.colour, self.depth, self.channels) == (_GRAY, 1, 1)
        self.dtype: np.dtype[Any] = np.dtype("bool" if bilevel else "uint16" if self.depth == 16 else "uint8")

    def _transparency(self, body: bytes) -> bytes:
        if self.colour == _PALETTE:
            return body[: len(self.palette) // 3]
        if self.colour not in (_GRAY, _RGB) or len(body) != 2 * _SAMPLES[self.colour]:
            return b""
        # Only the low bits count (PNG specification, 11.3.2.1); libpng prints a warning about others.
        return (np.frombuffer(body, ">u2") & np.uint16((1 << self.depth) - 1)).astype(">u2").tobytes()

    def sized(self, width: int, height: int) -> "_Header":
        """The same for a frame of this size."""
        other = copy(self)
        other.width, other.height = width, height
        return other

    def row_size(self, width: int) -> int:
        """Bytes of one row with its filter byte."""
        return 1 + (width * _SAMPLES[self.colour] * int(self.depth) + 7) // 8

    def passes(self) -> list[tuple[int, int, int, int, int, int]]:
        """(x0, y0, dx, dy, width, height) of every pass that has pixels."""
        grids = _ADAM7 if self.interlaced else ((0, 0, 1, 1),)
        sized = [
            (*grid, -(-(self.width - grid[0]) // grid[2]), -(-(self.height - grid[1]) // grid[3])) for grid in grids
        ]
        return [grid for grid in sized if grid[4] > 0 and grid[5] > 0]

    def raw_size(self) -> int:
        """Bytes of the decompressed pixels."""
        return sum(self.row_size(width) * height for *_, width, height in self.passes())

    def wrap(self, width: int, height: int, pixels: list[bytes]) -> bytes:
        """A plain PNG file around whole IDAT chunks."""
        parts = [SIGNATURE, chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, self.depth, self.colour, 0, 0, 0))]
        if self.palette:
            parts.append(chunk(b"PLTE", self.palette))
        if self.transparent:
            parts.append(chunk(b"tRNS", self.transparent))
        return b"".join([*parts, *pixels, chunk(b"IEND", b"")])


def _decode(header: _Header, stream: BinaryIO, pixels: list[tuple[int, int]]) -> Array:
    """Pixels from IDAT chunks, which libpng gets as they are."""
    import imagecodecs

    if header.interlaced:
        return _unpacked(header, b"".join(_body(stream, b"IDAT", *place) or b"" for place in pixels))
    try:
        whole = []
        for start, length in pixels:
            stream.seek(start - 8)
            whole.append(stream.read(length + 12))
        decoded = imagecodecs.png_decode(header.wrap(header.width, header.height, whole))
    except imagecodecs.PngError:
        raise _damaged() from None
    return decoded > 0 if header.dtype.kind == "b" else np.asarray(decoded)


def _unpacked(header: _Header, deflated: bytes) -> Array:
    """Pixels from the content of IDAT chunks, all in one."""
    import imagecodecs

    try:
        if header.interlaced:
            decoded = _deinterlaced(header, deflated)
        else:
            decoded = imagecodecs.png_decode(header.wrap(header.width, header.height, [chunk(b"IDAT", deflated)]))
    except (imagecodecs.PngError, zlib.error):
        raise _damaged() from None
    return decoded > 0 if header.dtype.kind == "b" else np.asarray(decoded)


def _damaged() -> ImgtoolError:
    # libpng's own words are lost: the message that imagecodecs passes on is freed memory.
    return ImgtoolError("the pixels of the PNG file are damaged or cut off; copy or download it again")


def _deinterlaced(header: _Header, deflated: bytes) -> Array:
    """Each Adam7 pass is an image of its own; libpng decodes it as one, because asked for all it prints a warning."""
    import imagecodecs

    raw = zlib.decompressobj().decompress(deflated, header.raw_size())
    out = np.empty((header.height, header.width, header.channels), "uint16" if header.depth == 16 else "uint8")
    for x, y, dx, dy, width, height in header.passes():
        size = header.row_size(width) * height
        part = imagecodecs.png_decode(header.wrap(width, height, [chunk(b"IDAT", zlib.compress(raw[:size], 1))]))
        out[y::dy, x::dx] = part.reshape(height, width, header.channels)
        raw = raw[size:]
    return out


def _is_kept(name: bytes) -> bool:
    """Whether a chunk is kept byte for byte: also those that say by their case that they may be (PNG, 5.4)."""
    return name in _KEPT or (name.isalpha() and name[:1].islower() and name[3:].islower() and name not in _KNOWN)


def _metadata(chunks: dict[bytes, bytes], kept: list[tuple[bytes, bytes]]) -> Metadata:
    found: Metadata = {"png_chunks": kept} if kept else {}
    name, _, profile = chunks.get(b"iCCP", b"").partition(b"\0")
    if name and profile[:1] == b"\0":
        with suppress(zlib.error):
            found["icc_profile"] = zlib.decompressobj().decompress(profile[1:], 1 << 26)
    if len(chunks.get(b"pHYs", b"")) == 9:
        x, y, unit = struct.unpack(">IIB", chunks[b"pHYs"])
        if x and y:
            found["resolution"] = (x / 100, y / 100, "cm") if unit == 1 else (float(x), float(y), "none")
    if b"eXIf" in chunks:
        found["exif"] = chunks[b"eXIf"]
        found["orientation"] = orientation_of(chunks[b"eXIf"])
    if texts := [text for name, body in kept if (text := _description(name, body))]:
        found["description"] = texts[0]
    if others := chunks.keys() - _KNOWN - {b"xmp"}:
        found["private"] = sorted(name.decode("latin-1") for name in others)
    if b"xmp" in chunks:
        found["xmp"] = chunks[b"xmp"].removeprefix(_XMP_HEAD)
    return found


def _description(name: bytes, body: bytes) -> str:
    """The text of a chunk, if it is the description of the image."""
    keyword, _, text = body.partition(b"\0")
    if keyword != b"Description" or name not in (b"tEXt", b"zTXt", b"iTXt"):
        return ""
    packed, encoding = name == b"zTXt", "latin-1"
    if name == b"iTXt":
        packed, encoding = text[:1] == b"\1", "utf-8"
        text = text[2:].split(b"\0", 2)[-1]  # behind language and translated keyword
    elif packed:
        text = text[1:]
    with suppress(zlib.error, UnicodeDecodeError):
        return (zlib.decompressobj().decompress(text, _LONGEST_TEXT) if packed else text).decode(encoding)
    return ""


@contextmanager
def page_writer(
    stream: BinaryIO, first: Image, pages: int, _format: str, *, png_level: int | None = None
) -> Iterator[Callable[[Array], None]]:
    """What writes the one page of a still, or frame after frame of an animation."""
    body = len(SIGNATURE) + 25  # behind IHDR

    def encoded(data: Array) -> bytes:
        return _encode_bilevel(data, png_level) if data.dtype == bool else _encode(data, png_level)

    def begin(data: Array) -> None:
        file = encoded(data)
        stream.write(file[:body])
        for name, content in _described(first.metadata):
            stream.write(chunk(name, content))
        if writer is not None:
            writer.begin(data.shape[1], data.shape[0])
        stream.write(file[body:-12])

    writer = None
    if pages > 1:
        from ._apng import FrameWriter

        writer = FrameWriter(stream, first.metadata, pages, encoded)
    yield begin if writer is None else partial(writer.write, begin)
    stream.write(chunk(b"IEND", b""))


def _encode(data: Array, level: int | None) -> bytes:
    """Fast by default (level 1, run lengths over Paeth residues), by zlib's strategy for residues from level 2 on."""
    import imagecodecs

    settings = imagecodecs.PNG
    level = 1 if level is None else level
    strategy = settings.STRATEGY.RLE if level == 1 else settings.STRATEGY.FILTERED
    filtering = settings.FILTER.PAETH if level < _ALL_FILTERS else settings.FILTER.ALL
    return bytes(imagecodecs.png_encode(np.ascontiguousarray(data), level=level, strategy=strategy, filter=filtering))


def _encode_bilevel(data: Array, level: int | None) -> bytes:
    """One bit per pixel, which imagecodecs does not write."""
    height, width = data.shape
    rows = np.pad(np.packbits(data, axis=1), ((0, 0), (1, 0)))
    header = struct.pack(">IIBBBBB", width, height, 1, _GRAY, 0, 0, 0)
    chunks = (
        (b"IHDR", header),
        (b"IDAT", zlib.compress(rows.tobytes(), 1 if level is None else level)),
        (b"IEND", b""),
    )
    return SIGNATURE + b"".join(chunk(name, content) for name, content in chunks)


def _described(metadata: Metadata) -> Iterator[tuple[bytes, bytes]]:
    kept = metadata.get("png_chunks", [])
    if icc := metadata.get("icc_profile"):
        yield b"iCCP", b"icc\0\0" + zlib.compress(icc)
        kept = [(name, body) for name, body in kept if name != b"sRGB"]  # the two exclude each other
    yield from kept
    text = metadata.get("description")
    if text and not any(_description(name, body) for name, body in kept):
        yield b"iTXt", b"Description\0\0\0\0\0" + text.encode("utf-8", "replace")
    if "resolution" in metadata:
        x, y, unit = metadata["resolution"]
        scale = {"inch": 1 / 0.0254, "cm": 100.0}.get(unit, 1.0)
        x, y = round(x * scale), round(y * scale)
        if 0 < x < 2**31 and 0 < y < 2**31:
            yield b"pHYs", struct.pack(">IIB", x, y, unit != "none")
    orientation = metadata.get("orientation", 1)
    if exif := metadata.get("exif") or (with_orientation(orientation) if orientation != 1 else b""):
        yield b"eXIf", exif
    if xmp := metadata.get("xmp"):
        yield b"iTXt", _XMP_HEAD + xmp
