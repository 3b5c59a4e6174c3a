"""JPEG, WebP, BMP and GIF.

Written through imageio. Read with Pillow's decoders themselves: through imageio a header cannot be had without the
pixels, Pillow's fixed limit of 179 megapixels holds whatever the caller allows, and a damaged EXIF block hides a sound
image.
"""

from importlib import import_module
from io import BytesIO
from typing import Any, BinaryIO

import numpy as np

from ..errors import ImgtoolError
from ._exif import orientation_of, with_orientation
from ._image import Array, Image, Info, Metadata, Source, layout

_DECODERS = {
    "JPEG": ("JpegImagePlugin", "JpegImageFile"),
    "WebP": ("WebPImagePlugin", "WebPImageFile"),
    "BMP": ("BmpImagePlugin", "BmpImageFile"),
    "GIF": ("GifImagePlugin", "GifImageFile"),
    "TIFF": ("TiffImagePlugin", "TiffImageFile"),
}
_CHANNELS = {"1": 1, "L": 1, "RGB": 3, "RGBA": 4, "CMYK": 4}
_EXIF_HEAD = b"Exif\0\0"
# The length of a JPEG segment is 16 bits; a longer block is left out rather than spread over non-standard segments.
_JPEG_SEGMENT = 65_500


def open_image(stream: BinaryIO, format_name: str) -> Source:
    """The header and metadata of a stream in one of the formats that Pillow decodes faithfully."""
    module, name = _DECODERS[format_name]
    picture: Any = getattr(import_module(f"PIL.{module}"), name)(stream)
    pages, transparent = 1, False
    if format_name == "GIF":
        pages, transparent = _scan_gif(stream)
        stream.seek(0)
    elif format_name == "WebP":
        pages = picture.n_frames
    mode = {"P": "RGB", "RGBX": "RGB", "LA": "RGBA", "PA": "RGBA"}.get(picture.mode, picture.mode)
    if format_name == "GIF":
        mode = "RGBA" if transparent else "RGB"
    if mode not in _CHANNELS:
        raise ImgtoolError(f"{format_name} images of the kind {mode} are not supported; convert it to PNG or TIFF")
    shape, channel_axis = layout(picture.height, picture.width, _CHANNELS[mode], pages)

    def decode() -> Array:
        out = np.empty((pages, picture.height, picture.width, _CHANNELS[mode]), info.dtype)
        for page in range(pages):
            if pages > 1:
                picture.seek(page)
            out[page] = np.asarray(picture if picture.mode == mode else picture.convert(mode)).reshape(out.shape[1:])
        return out.reshape(shape)

    info = Info(format_name, shape, np.dtype("bool" if mode == "1" else "uint8"), channel_axis, pages, mode == "RGBA")
    return Source(info, _metadata(picture, mode), decode)


def _metadata(picture: Any, mode: str) -> Metadata:
    found: Metadata = {"mode": "CMYK", "alpha": False} if mode == "CMYK" else {}
    for key in ("icc_profile", "xmp"):
        if isinstance(picture.info.get(key), bytes) and picture.info[key]:
            found[key] = picture.info[key]
    if exif := picture.info.get("exif", b"").removeprefix(_EXIF_HEAD):
        found["exif"] = exif
        found["orientation"] = orientation_of(exif)
    dpi = picture.info.get("dpi", ())
    if isinstance(dpi, tuple) and len(dpi) == 2 and all(0 < value < 1e6 for value in dpi):
        found["resolution"] = (float(dpi[0]), float(dpi[1]), "inch")
    return found


def _scan_gif(stream: BinaryIO) -> tuple[int, bool]:
    """The number of frames and whether any pixel can be transparent; Pillow would decode every frame to tell."""
    stream.seek(0)
    blob = stream.read()
    canvas, place = blob[6:10], 13 + _table(blob[10])
    frames, clear, disposal, left, transparent = 0, False, 0, 0, False
    while place < len(blob) and blob[place] != 0x3B:
        if blob[place] == 0x2C and place + 9 < len(blob):
            # Where a frame is clear or does not reach, what is behind it shows: nothing at first, and nothing after a
            # frame that was removed (disposal 2).
            partial = clear or blob[place + 5 : place + 9] != canvas
            transparent = transparent or (partial and (not frames or left == 2))
            frames, clear, left = frames + 1, False, disposal
            place += 11 + _table(blob[place + 9])
        elif blob[place] == 0x21:
            if blob[place + 1 : place + 3] == b"\xf9\x04" and place + 3 < len(blob):
                clear, disposal = bool(blob[place + 3] & 1), blob[place + 3] >> 2 & 7
            place += 2
        else:
            break
        while place < len(blob) and blob[place]:
            place += 1 + blob[place]
        place += 1
    if not frames:
        raise ImgtoolError("the GIF file holds no image")
    return frames, transparent


def _table(flags: int) -> int:
    """Bytes of the colour table that a GIF flag byte announces."""
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


def write_image(stream: BinaryIO, image: Image, format_name: str) -> None:
    """`image` as JPEG (quality 95, colour at full resolution), lossless WebP or BMP, metadata kept."""
    import imageio.v3 as iio

    (data,) = image.pages
    options: Metadata = {
        "JPEG": {"quality": 95, "subsampling": 0},
        "WebP": {"lossless": True, "exact": True, "quality": 20, "method": 0},
        "BMP": {},
    }[format_name]
    metadata = image.metadata
    if format_name != "BMP":
        orientation = metadata.get("orientation", 1)
        exif = metadata.get("exif") or (with_orientation(orientation) if orientation != 1 else b"")
        limit = _JPEG_SEGMENT if format_name == "JPEG" else 1 << 31
        blocks = {"exif": exif and _EXIF_HEAD + exif, "xmp": metadata.get("xmp", b"")}
        options |= {name: block for name, block in blocks.items() if 0 < len(block) < limit}
        if "icc_profile" in metadata:
            options["icc_profile"] = metadata["icc_profile"]
    if format_name != "WebP" and metadata.get("resolution", ("none",))[-1] != "none":
        x, y, unit = metadata["resolution"]
        scale = 2.54 if unit == "cm" else 1.0
        options["dpi"] = (x * scale, y * scale)
    extension = {"JPEG": ".jpg", "WebP": ".webp", "BMP": ".bmp"}[format_name]
    # Given a file, Pillow's encoders take a write cut short by a full disk for a success.
    encoded = BytesIO()
    iio.imwrite(encoded, np.ascontiguousarray(data), plugin="pillow", extension=extension, is_batch=False, **options)
    stream.write(encoded.getbuffer())
