"""JPEG, WebP and BMP.

Written through imageio. Read with Pillow's decoders themselves: through imageio a header cannot be had without the
pixels, Pillow's fixed limit of 179 megapixels holds whatever the caller allows, and a damaged EXIF block hides a sound
image.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from io import BytesIO
from typing import Any, BinaryIO

import numpy as np

from ..errors import ImgtoolError
from . import _webp
from ._exif import orientation_of, tags_of, with_orientation
from ._image import Array, Image, Info, Metadata, Source, layout

_DECODERS = {
    "JPEG": ("JpegImagePlugin", "JpegImageFile"),
    "WebP": ("WebPImagePlugin", "WebPImageFile"),
    "BMP": ("BmpImagePlugin", "BmpImageFile"),
    "TIFF": ("TiffImagePlugin", "TiffImageFile"),
}
_CHANNELS = {"1": 1, "L": 1, "RGB": 3, "RGBA": 4, "CMYK": 4}
_X_RESOLUTION = 282
_IMAGES = 0xB001  # how many there are in a file of several, CIPA DC-007
_RESOURCES = b"Photoshop 3.0\0"
_EXIF_HEAD = b"Exif\0\0"
_XMP_HEAD = b"http://ns.adobe.com/xap/1.0/\0"
_SEGMENTS = (b"JFIF", b"JFXX", _EXIF_HEAD, _XMP_HEAD, b"ICC_PROFILE\0", b"MPF\0", _RESOURCES, b"Adobe", b"Ducky")
# The length of a JPEG segment is 16 bits; a longer block is left out rather than spread over non-standard segments.
_JPEG_SEGMENT = 65_500


def open_image(stream: BinaryIO, format_name: str) -> Source:
    """The header and metadata of a stream in one of the formats that Pillow decodes faithfully."""
    module, name = _DECODERS[format_name]
    picture: Any = getattr(import_module(f"PIL.{module}"), name)(stream)
    mode = {"P": "RGB", "RGBX": "RGB", "LA": "RGBA", "PA": "RGBA"}.get(picture.mode, picture.mode)
    if mode not in _CHANNELS:
        raise ImgtoolError(f"{format_name} images of the kind {mode} are not supported; convert it to PNG or TIFF")
    metadata = _metadata(picture, mode)
    frames = _webp.frames(stream) if format_name == "WebP" else None
    if frames is not None:
        metadata["frames"] = frames
        pages = len(frames["durations"])
        if pages != picture.n_frames:
            raise ImgtoolError("the WebP animation is cut off or damaged; copy or download it again")
        return animation(format_name, picture, mode, pages, metadata)
    shape, channel_axis = layout(picture.height, picture.width, _CHANNELS[mode])

    def decode() -> Array:
        data = np.asarray(picture if picture.mode == mode else picture.convert(mode))
        return data.reshape(shape)

    info = Info(format_name, shape, np.dtype("bool" if mode == "1" else "uint8"), channel_axis, 1, mode == "RGBA")
    return Source(info, metadata, decode)


def animation(format_name: str, picture: Any, mode: str, pages: int, metadata: Metadata) -> Source:
    """The frames of a picture that Pillow steps through; forwards, each costs its own decoding alone."""
    shape, channel_axis = layout(picture.height, picture.width, _CHANNELS[mode], pages)

    def decode_page(number: int) -> Array:
        picture.seek(number)
        return np.array(picture if picture.mode == mode else picture.convert(mode)).reshape(shape[pages > 1 :])

    def decode() -> Array:
        out = np.empty((pages, *shape[pages > 1 :]), np.uint8)
        for page in range(pages):
            out[page] = decode_page(page)
        return out.reshape(shape)

    info = Info(format_name, shape, np.dtype("uint8"), channel_axis, pages, mode == "RGBA", animated=pages > 1)
    return Source(info, metadata, decode, decode_page)


def _metadata(picture: Any, mode: str) -> Metadata:
    found: Metadata = {"mode": "CMYK", "alpha": False} if mode == "CMYK" else {}
    for key in ("icc_profile", "xmp"):
        if isinstance(picture.info.get(key), bytes) and picture.info[key]:
            found[key] = picture.info[key]
    if exif := picture.info.get("exif", b"").removeprefix(_EXIF_HEAD):
        found["exif"] = exif
        found["orientation"] = orientation_of(exif)
    segments = getattr(picture, "applist", ())  # of a JPEG file
    parts = [content.removeprefix(_RESOURCES) for _, content in segments if content.startswith(_RESOURCES)]
    if parts:
        found["photoshop"] = b"".join(parts)
    if others := {name for name, content in segments if name != "COM" and not content.startswith(_SEGMENTS)}:
        found["private"] = sorted(others)
    images = tags_of(picture.info.get("mp", b"")).get(_IMAGES)
    if images and isinstance(images.value, bytes) and (count := int.from_bytes(images.value, "little")) > 1:
        found["further_images"] = count - 1
    if isinstance(comment := picture.info.get("comment"), bytes) and (text := text_of(comment)):
        found["description"] = text
    # Where a JPEG file has no resolution, Pillow makes up one of 72.
    invented = picture.format == "JPEG" and picture.info.get("jfif_unit") not in (1, 2)
    dpi = () if invented and _X_RESOLUTION not in tags_of(exif) else picture.info.get("dpi", ())
    if isinstance(dpi, tuple) and len(dpi) == 2 and all(0 < value < 1e6 for value in dpi):
        found["resolution"] = (float(dpi[0]), float(dpi[1]), "inch")
    return found


def text_of(comment: bytes) -> str:
    """A comment, of which JPEG and GIF do not say how it is encoded."""
    try:
        return comment.decode().rstrip("\0")
    except UnicodeDecodeError:
        return comment.decode("latin-1").rstrip("\0")


def write_image(stream: BinaryIO, image: Image, format_name: str, *, quality: int | None = None) -> None:
    """`image` as JPEG, WebP or BMP, metadata kept."""
    if image.animated and len(image.pages) > 1:
        with page_writer(stream, image, len(image.pages), format_name, quality=quality) as write:
            for page in image.pages:
                write(page)
        return
    (data,) = image.pages
    stream.write(_encoded(data, format_name, quality, **_told(image.metadata, format_name)))


@contextmanager
def page_writer(
    stream: BinaryIO, first: Image, pages: int, format_name: str, *, quality: int | None = None
) -> Iterator[Callable[[Array], None]]:
    """What writes the one page of a still, or frame after frame of a WebP animation."""
    if pages == 1:
        still = partial(write_image, stream, format_name=format_name, quality=quality)
        yield lambda page: still(first.with_data(page))
        return
    blocks = _told(first.metadata, format_name)
    writer = _webp.FrameWriter(
        stream, first, pages, blocks, partial(_encoded, format_name=format_name, quality=quality)
    )
    yield writer.write
    writer.finish()


def too_long(metadata: Metadata) -> set[str]:
    """The blocks that do not fit into a segment of a JPEG file."""
    return {key for key in ("exif", "xmp", "photoshop", "description") if len(metadata.get(key, "")) > _JPEG_SEGMENT}


def _told(metadata: Metadata, format_name: str) -> Metadata:
    """The metadata as Pillow is told of them."""
    options: Metadata = {}
    if format_name != "BMP":
        orientation = metadata.get("orientation", 1)
        exif = metadata.get("exif") or (with_orientation(orientation) if orientation != 1 else b"")
        blocks = {"exif": exif and _EXIF_HEAD + exif, "xmp": metadata.get("xmp", b"")}
        left_out = too_long(metadata) if format_name == "JPEG" else set()
        options |= {name: block for name, block in blocks.items() if block and name not in left_out}
        if "icc_profile" in metadata:
            options["icc_profile"] = metadata["icc_profile"]
        if format_name == "JPEG" and "photoshop" in metadata.keys() - left_out:
            segment = _RESOURCES + metadata["photoshop"]
            options["extra"] = b"\xff\xed" + (len(segment) + 2).to_bytes(2, "big") + segment
        if format_name == "JPEG" and "description" in metadata.keys() - left_out:
            options["comment"] = metadata["description"].encode("utf-8", "surrogateescape")
    if format_name != "WebP" and metadata.get("resolution", ("none",))[-1] != "none":
        x, y, unit = metadata["resolution"]
        scale = 2.54 if unit == "cm" else 1.0
        options["dpi"] = (x * scale, y * scale)
    return options


def _encoded(data: Array, format_name: str, quality: int | None, **options: Any) -> memoryview:
    import imageio.v3 as iio

    if format_name == "JPEG":
        # Filtered images are processed further: colour at full resolution, unless a small file is asked for.
        quality = 95 if quality is None else quality
        options |= {"quality": quality, "subsampling": 0 if quality >= 90 else 2}
    elif format_name == "WebP" and quality is None:
        options |= {"lossless": True, "exact": True, "quality": 20, "method": 0}
    elif format_name == "WebP":
        options |= {"quality": quality, "alpha_quality": 100}
    extension = {"JPEG": ".jpg", "WebP": ".webp", "BMP": ".bmp"}[format_name]
    # Given a file, Pillow's encoders take a write cut short by a full disk for a success.
    encoded = BytesIO()
    iio.imwrite(encoded, np.ascontiguousarray(data), plugin="pillow", extension=extension, is_batch=False, **options)
    return encoded.getbuffer()
