"""An image with what is known about it, and what a decoder says before it decodes."""

from collections.abc import Callable, Collection
from io import BufferedReader
from math import prod
from typing import IO, Any, NamedTuple

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Metadata = dict[str, Any]
# Entries of metadata without which the pixels would be others: they are no comment on the image.
STRUCTURE = frozenset({"mode", "alpha", "frames", "compression"})


class Image:
    """Pixels, the place of their channels, and the metadata that came with them.

    Parameters
    ----------
    data : ndarray
        (H, W), (H, W, C), (P, H, W) or (P, H, W, C) for P pages.
    channel_axis : None or -1
        Whether the last axis holds channels.
    metadata : dict
        What is kept from reading to writing, all optional: ``icc_profile``, ``exif`` (a TIFF block), ``xmp`` (bytes),
        ``resolution`` (x, y, "inch" | "cm" | "none"), ``orientation`` (EXIF 1 to 8; pixels are never rotated),
        ``description`` (text), ``png_chunks`` ((name, bytes) pairs), ``ome_xml`` and ``imagej`` (text), ``geo``
        (georeferencing by TIFF tags, with the size of the image that they are for), ``imagej_tags`` and ``overlays``
        (ImageJ's labels, ranges and tables; what is drawn on the image), ``photoshop`` (its resources, among them
        IPTC), ``tiff_tags`` (others that are copied), ``pages`` (for each page of a TIFF file after the first its own
        such entries, if there are any), ``frames`` (of an animation: ``durations`` in milliseconds and ``plays``, 0 for
        ever), ``compression`` (of the TIFF file), ``nifti`` (the header of that format), ``ome_zarr`` and ``origin``
        (axes, sizes of pixels and channels of that format; where the image begins), ``scale`` (of PFM), and ``mode``
        ("CMYK" for ink, "RGB" for colour before further channels). ``alpha`` says whether the last channel is opacity;
        without it two and four channels end in alpha. ``private`` and ``further_images`` say what else a file holds,
        which is not kept.

    Examples
    --------
    >>> Image(np.zeros((3, 4, 2), np.uint8), -1).has_alpha
    True
    >>> [page.shape for page in Image(np.zeros((5, 3, 4))).pages]
    [(3, 4), (3, 4), (3, 4), (3, 4), (3, 4)]
    """

    def __init__(self, data: Array, channel_axis: int | None = None, metadata: Metadata | None = None) -> None:
        self.data, self.channel_axis = data, channel_axis
        self.metadata: Metadata = {} if metadata is None else metadata

    def with_data(self, data: Array) -> "Image":
        """Other pixels of the same kind, with the same metadata."""
        return Image(data, self.channel_axis, self.metadata)

    @property
    def channels(self) -> int:
        """The number of channels; 1 without a channel axis."""
        return 1 if self.channel_axis is None else self.data.shape[-1]

    @property
    def has_alpha(self) -> bool:
        """Whether the last channel is opacity."""
        return self.channel_axis is not None and bool(self.metadata.get("alpha", self.channels in (2, 4)))

    @property
    def animated(self) -> bool:
        """Whether the pages are frames, each to be seen for a time."""
        return "frames" in self.metadata

    @property
    def pages(self) -> list[Array]:
        """The pages as (H, W) or (H, W, C) views; a still image has one."""
        still = 2 if self.channel_axis is None else 3
        return [self.data] if self.data.ndim == still else list(self.data)


def without(metadata: Metadata, keys: Collection[str]) -> Metadata:
    """What is left of metadata, also those of single pages, without some entries.

    >>> without({"geo": 1, "xmp": b"", "pages": [{"geo": 2}, {}]}, {"geo"})
    {'xmp': b'', 'pages': [{}, {}]}
    """
    found = {key: value for key, value in metadata.items() if key not in keys}
    if "pages" in found:
        found["pages"] = [without(own, keys) for own in found["pages"]]
    return found


class Info(NamedTuple):
    """What a file's header promises: `shape` and `dtype` are those of the array that `read` returns.

    The pages of what is `animated` are frames, each to be seen for a time; those of several `volumes` are one volume
    after another.
    """

    format: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    channel_axis: int | None = None
    pages: int = 1
    has_alpha: bool = False
    animated: bool = False
    volumes: int = 1

    @property
    def pixels(self) -> int:
        """Height x width x pages."""
        return prod(self.shape if self.channel_axis is None else self.shape[:-1])


class Source(NamedTuple):
    """An opened file: its header, its metadata, and the way to its pixels: all, and page by page where that is less."""

    info: Info
    metadata: Metadata
    decode: Callable[[], Array]
    decode_page: Callable[[int], Array] | None = None


def plain(data: Array) -> Array:
    """The same values in native byte order and C order; no copy where they are so."""
    native = data.dtype.newbyteorder("=")
    if not (data.dtype.isnative and data.flags.c_contiguous):
        data = np.ascontiguousarray(data, native)
    return data.view(native)  # which may have been said to be what it is, as tifffile does; buffers tell the difference


# Arrays of so many bytes stay in their file, if they lie there as they are.
MAPPED = 1 << 28


def mapped(stream: IO[bytes], dtype: np.dtype[Any], offset: int, shape: tuple[int, ...]) -> Array | None:
    """A large array of native byte order in the memory pages of its file, which are read when they are looked at.

    Pages that are written to become private; the file does not change. None if the array is small, or the stream no
    file.
    """
    if prod(shape) * dtype.itemsize < MAPPED or not isinstance(stream, BufferedReader) or not dtype.isnative:
        return None
    return np.memmap(stream, dtype, "c", offset, shape)


def layout(height: int, width: int, channels: int, pages: int = 1) -> tuple[tuple[int, ...], int | None]:
    """The shape and channel axis of an image: one channel and one page have no axis of their own."""
    shape = (pages,) * (pages > 1) + (height, width) + (channels,) * (channels > 1)
    return shape, -1 if channels > 1 else None
