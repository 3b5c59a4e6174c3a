"""Image files, and the few other files imgtool reads and writes, in and out without loss."""

import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from threading import Lock
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from ..errors import ImgtoolError
from ._files import STANDARD_OUTPUT, PathLike, opened, published, reason, shown, sweep
from ._image import MAPPED, Image, Info, Metadata, Source, layout
from ._pages import Pages
from ._points import PointTable, read_matches, read_points
from .formats import SNIFFED, Format, output_format, recognised

__all__ = [
    "MAPPED",
    "MAX_PIXELS",
    "STANDARD_OUTPUT",
    "Image",
    "Info",
    "Pages",
    "PointTable",
    "check_output",
    "describe",
    "open_pages",
    "page_writer",
    "probe",
    "read",
    "read_json",
    "read_matches",
    "read_points",
    "sweep",
    "write",
    "write_bytes",
    "write_text",
]

# OpenCV's limit as well: 1 GiB as 8-bit gray, more than any camera or slide scanner at hand gives in one image, and a
# header that lies costs no more than that.
MAX_PIXELS = 1 << 30
_JSON_LIMIT = 1 << 26


def probe(path: PathLike) -> Info:
    """What the header of an image file says; no pixels are decoded.

    Parameters
    ----------
    path : str or path-like
        The file, or "-" for standard input; its first bytes tell the format, not its name.

    Returns
    -------
    Info
        Format, and shape, dtype, channel axis, pages and alpha of what `read` would return.

    Raises
    ------
    ImgtoolError
        If there is no such file or it is no image that imgtool can read.
    """
    return describe(path)[0]


def describe(path: PathLike) -> tuple[Info, Metadata]:
    """What `probe` tells, and the metadata that `read` would return; no pixels are decoded.

    Raises
    ------
    ImgtoolError
        As `probe` does.
    """
    with opened(path) as stream, _explained(path):
        source = _source(stream)
        return source.info, source.metadata


def read(path: PathLike, *, max_pixels: int = MAX_PIXELS) -> Image:
    """Read an image file at its full depth.

    Palettes are applied, one-bit images are bool (True is white), two- and four-bit gray is spread over 0..255, and a
    colour key becomes an alpha channel. 16-bit files stay 16-bit. Pixels are not rotated.

    Parameters
    ----------
    path : str or path-like
        The file, or "-" for standard input; its first bytes tell the format, not its name.
    max_pixels : int
        The most pixels (height x width x pages) to decode, checked by the header.

    Returns
    -------
    Image
        Data in native byte order and C order, with its metadata. Large pixels that lie in a TIFF or NPY file as they
        are stay there, mapped into memory.

    Raises
    ------
    ImgtoolError
        If there is no such file, it is no image that imgtool can read, it is damaged or too large.
    """
    with opened(path) as stream, _explained(path):
        source = _source(stream)
        info = source.info
        _check_size(info, info.pages, max_pixels)
        data = source.decode()
    if not (data.dtype.isnative and data.flags.c_contiguous):
        data = np.ascontiguousarray(data, data.dtype.newbyteorder("="))
    return Image(data, info.channel_axis, source.metadata)


@contextmanager
def open_pages(path: PathLike, *, max_pixels: int = MAX_PIXELS) -> Iterator[Pages]:
    """The pages of a stack, read one by one; a still image has one.

    Parameters
    ----------
    path : str or path-like
        The file; its first bytes tell the format, not its name.
    max_pixels : int
        The most pixels (height x width) of a page to decode, checked by the header.

    Returns
    -------
    context manager
        Of a sequence of `Image`, with the file's `info`.

    Raises
    ------
    ImgtoolError
        As `read` does, also when a page is taken.
    """
    with opened(path) as stream:
        with _explained(path):
            source = _source(stream)
            _check_size(source.info, 1, max_pixels)
        yield Pages(source, lambda: _explained(path))


def _check_size(info: Info, pages: int, max_pixels: int) -> None:
    height, width = info.shape[info.pages > 1 :][:2]
    pixels = height * width * pages
    if pixels > max_pixels:
        size = f"{width} x {height}" + f" x {pages} pages" * (pages > 1)
        raise ImgtoolError(
            f"{size} is {pixels} pixels and the limit is {max_pixels}; raise it with --max-pixels (max_pixels)"
        )


def _source(stream: BinaryIO) -> Source:
    head = stream.read(SNIFFED)
    if not head:
        raise ImgtoolError("the file is empty")
    found = recognised(head)
    stream.seek(0)
    source: Source = import_module(f".{found.module}", __name__).open_image(stream, found.name)
    return source


@contextmanager
def _explained(path: PathLike) -> Iterator[None]:
    """Whatever a decoder makes of hostile bytes, as one sentence that names the file; its warnings are dropped."""
    try:
        with _QUIET:
            yield
    except ImgtoolError as error:
        raise ImgtoolError(f"{shown(path)}: {error}") from None
    except MemoryError:
        raise ImgtoolError(f"{shown(path)}: decoding it needs more memory than there is") from None
    except Exception as error:
        if isinstance(error, OSError) and error.errno:
            raise ImgtoolError(f"{shown(path)}: {reason(error)}") from None
        # Codecs say what is wrong; the other exceptions say where our dependencies did not expect it.
        said = isinstance(error, OSError | RuntimeError | SyntaxError | ValueError)
        words = " ".join(str(error).split()) if said else ""
        fault = "uses a feature that imgtool cannot decode" if "not supported" in words else "is damaged or cut off"
        hint = f" ({words[:120]})" if words and words.isprintable() else ""
        raise ImgtoolError(f"{shown(path)}: the image {fault}{hint}") from error


class _Quiet:
    """`warnings.catch_warnings` for several threads: the first in saves the filters, the last out restores them."""

    def __init__(self) -> None:
        self._lock, self._inside, self._catcher = Lock(), 0, warnings.catch_warnings()

    def __enter__(self) -> None:
        with self._lock:
            if not self._inside:
                self._catcher = warnings.catch_warnings()
                self._catcher.__enter__()
                warnings.simplefilter("ignore")
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                self._catcher.__exit__(None, None, None)


_QUIET = _Quiet()


def check_output(
    path: PathLike,
    *,
    dtype: npt.DTypeLike,
    channels: int | None = None,
    has_alpha: bool = False,
    pages: int = 1,
    extension: str | None = None,
) -> None:
    """Refuse an output whose format cannot hold the image, before any work is done.

    Parameters
    ----------
    path : str or path-like
        The output; its extension names the format.
    dtype : dtype-like
        The type of the samples.
    channels : int or None
        The number of channels, None or 1 for gray.
    has_alpha : bool
        Whether the last channel is opacity.
    pages : int
        The number of pages.
    extension : str, optional
        Names the format instead of the path, such as ".png".

    Raises
    ------
    ImgtoolError
        With formats that can hold it.

    Examples
    --------
    >>> check_output("out.png", dtype="uint16", channels=3)
    >>> check_output("out.png", dtype="float32", channels=3)
    Traceback (most recent call last):
        ...
    imgtool.errors.ImgtoolError: out.png: PNG cannot hold float32 RGB; use .tif or .npy, or --dtype uint8
    """
    _output(path, extension, np.dtype(dtype), channels or 1, has_alpha, pages)


def _output(
    path: PathLike, extension: str | None, dtype: np.dtype[Any], channels: int, has_alpha: bool, pages: int
) -> Format:
    """The format for an output, if it can hold the image."""
    try:
        name = os.fspath(path) if extension is None else f"image{extension}"
        return output_format(name, dtype=dtype.name, channels=channels, has_alpha=has_alpha, pages=pages)
    except ImgtoolError as error:
        raise ImgtoolError(f"{shown(path)}: {error}") from None


def write(path: PathLike, image: Image, *, overwrite: bool = False, extension: str | None = None) -> None:
    """Write an image file, whole or not at all.

    The format follows the extension. PNG is compressed fast, TIFF not at all, WebP without loss; JPEG has quality
    95 and colour at full resolution. The file appears under its name only when it is complete.

    Parameters
    ----------
    path : str or path-like
        The output, whose directory must exist; or `STANDARD_OUTPUT`.
    image : Image
        Pixels of any strides and byte order, with the metadata to keep.
    overwrite : bool
        Whether a file of that name may be replaced.
    extension : str, optional
        Names the format instead of the path, such as ".png".

    Raises
    ------
    ImgtoolError
        If the format cannot hold the image, the file exists, or it cannot be written.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     write(f"{folder}/ramp.png", Image(np.arange(6, dtype=np.uint16).reshape(2, 3)))
    ...     read(f"{folder}/ramp.png").data
    array([[0, 1, 2],
           [3, 4, 5]], dtype=uint16)
    """
    data, pages = image.data, image.pages
    still = 2 if image.channel_axis is None else 3
    if data.ndim not in (still, still + 1) or 0 in data.shape:
        raise ImgtoolError(
            f"{shown(path)}: an array of shape {data.shape} is no image; it needs rows, columns and pixels"
        )
    target = _output(path, extension, data.dtype, image.channels, image.has_alpha, len(pages))
    # One page and one channel need no axis; every format reads them back without.
    height, width = pages[0].shape[:2]
    if max(height, width) > target.largest:
        limit = f"{target.name} holds at most {target.largest} pixels on a side"
        raise ImgtoolError(f"{shown(path)}: {limit}, not {width} x {height}; use .tif or .npy")
    shape, channel_axis = layout(height, width, image.channels, len(pages))
    plain = Image(data.astype(data.dtype.newbyteorder("="), copy=False).reshape(shape), channel_axis, image.metadata)
    with published(path, overwrite=overwrite) as stream:
        try:
            import_module(f".{target.module}", __name__).write_image(stream, plain, target.name)
        except ImgtoolError as error:
            raise ImgtoolError(f"{shown(path)}: {error}") from None


@contextmanager
def page_writer(
    path: PathLike, first: Image, pages: int, *, overwrite: bool = False
) -> Iterator[Callable[[npt.NDArray[Any]], None]]:
    """A function that appends a page to a TIFF or NPY file; it appears under its name, whole, when the block ends.

    Parameters
    ----------
    path : str or path-like
        The output; its extension names the format.
    first : Image
        What all pages are like in shape, dtype, channels and metadata; it is not written.
    pages : int
        How many there will be.
    overwrite : bool
        Whether a file of that name may be replaced.

    Raises
    ------
    ImgtoolError
        If the format cannot hold the pages, the file exists, or it cannot be written.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     with page_writer(f"{folder}/stack.tif", Image(np.zeros((4, 5))), 3) as append:
    ...         for number in range(3):
    ...             append(np.full((4, 5), float(number)))
    ...     read(f"{folder}/stack.tif").data[:, 0, 0]
    array([0., 1., 2.])
    """
    target = _output(path, None, first.data.dtype, first.channels, first.has_alpha, pages)
    module = import_module(f".{target.module}", __name__)
    with published(path, overwrite=overwrite) as stream, module.page_writer(stream, first, pages) as append:
        yield append


def read_json(path: PathLike) -> Any:
    """The content of a JSON file.

    Raises
    ------
    ImgtoolError
        If there is no such file or it holds no JSON.
    """
    import json

    with opened(path) as stream:
        text = stream.read(_JSON_LIMIT + 1)
    if len(text) > _JSON_LIMIT:
        raise ImgtoolError(f"{shown(path)}: larger than {_JSON_LIMIT >> 20} MiB; not a file for imgtool")
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ImgtoolError(f"{shown(path)}: not valid JSON ({error})") from None


def write_text(path: PathLike, text: str, *, overwrite: bool = False) -> None:
    """Write `text` as UTF-8, whole or not at all; see `write` for the rules.

    Raises
    ------
    ImgtoolError
        If the file exists or cannot be written.
    """
    write_bytes(path, text.encode(), overwrite=overwrite)


def write_bytes(path: PathLike, content: bytes, *, overwrite: bool = False) -> None:
    """Write `content`, whole or not at all; see `write` for the rules.

    Raises
    ------
    ImgtoolError
        If the file exists or cannot be written.
    """
    with published(path, overwrite=overwrite) as stream:
        stream.write(content)
