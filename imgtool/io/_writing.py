"""Images into files: what fits, what is kept, and the file itself."""

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from importlib import import_module
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import ImgtoolError
from ._files import STANDARD_OUTPUT, PathLike, published, shown
from ._image import STRUCTURE, Image, layout, without
from ._kept import lost
from .formats import Format, in_words, named, output_format


def check_output(
    path: PathLike,
    *,
    dtype: npt.DTypeLike,
    channels: int | None = None,
    has_alpha: bool = False,
    pages: int = 1,
    animated: bool = False,
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
    animated : bool
        Whether the pages are frames of an animation.
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
    form = {"channels": channels or 1, "has_alpha": has_alpha, "pages": pages, "animated": animated}
    _output(path, extension, dtype=np.dtype(dtype).name, **form)


def _output(path: PathLike, extension: str | None, **form: Any) -> Format:
    """The format for an output, if it can hold the image."""
    try:
        target = output_format(_format_name(path, extension), **form)
        if target.folder:
            if path == STANDARD_OUTPUT:
                raise ImgtoolError(f"{target.name} images are folders, which standard output cannot hold; give -o")
            from ._zarr import check_installed

            check_installed()
        return target
    except ImgtoolError as error:
        raise ImgtoolError(f"{shown(path)}: {error}") from None


def _format_name(path: PathLike, extension: str | None) -> str:
    return os.fspath(path) if extension is None else f"image{extension}"


def _output_for(path: PathLike, extension: str | None, first: Image, pages: int) -> Format:
    """The format for so many pages like this one."""
    form: dict[str, Any] = {"channels": first.channels, "has_alpha": first.has_alpha, "animated": first.animated}
    target = _output(path, extension, dtype=first.data.dtype.name, pages=pages, **form)
    height, width = first.pages[0].shape[:2]
    if max(height, width) > target.largest:
        limit = f"{target.name} holds at most {target.largest} pixels on a side"
        raise ImgtoolError(f"{shown(path)}: {limit}, not {width} x {height}; use .tif or .npy")
    return target


def unkept(path: PathLike, image: Image, *, pages: int | None = None, extension: str | None = None) -> str:
    """What of an image's metadata its file will not hold, in words; empty if it holds all.

    Parameters
    ----------
    path : str or path-like
        The output; its extension names the format.
    image : Image
        The image to be written.
    pages : int, optional
        The number of pages, if `image` is just the first of them.
    extension : str, optional
        Names the format instead of the path, such as ".png".

    Examples
    --------
    >>> unkept("out.bmp", Image(np.zeros((4, 5)), None, {"xmp": b"<x/>", "orientation": 6}))
    'XMP and the orientation'
    """
    return in_words(lost(named(_format_name(path, extension)), image, len(image.pages) if pages is None else pages))


def stripped(image: Image) -> Image:
    """An image without metadata but those that say what its pixels are, and when frames are seen.

    Examples
    --------
    >>> stripped(Image(np.zeros((4, 5, 4)), -1, {"xmp": b"<x/>", "mode": "CMYK"})).metadata
    {'mode': 'CMYK'}
    """
    return Image(image.data, image.channel_axis, {k: v for k, v in image.metadata.items() if k in STRUCTURE})


def displaced(image: Image) -> tuple[Image, str]:
    """An image whose pixels have moved, without what tells where in the world they are; and what that was, in words.

    Examples
    --------
    >>> displaced(Image(np.zeros((4, 5)), None, {"nifti": bytes(352), "xmp": b"<x/>"}))[1]
    'the NIfTI header'
    """
    kept = without(image.metadata, {"geo", "nifti", "overlays", "origin"})
    return Image(image.data, image.channel_axis, kept), in_words(image.metadata.keys() - kept.keys())


def write(
    path: PathLike,
    image: Image,
    *,
    overwrite: bool = False,
    extension: str | None = None,
    png_level: int | None = None,
    compression: str | None = None,
    quality: int | None = None,
) -> None:
    """Write an image file, whole or not at all.

    The format follows the extension. PNG is compressed fast, TIFF like the TIFF file that the image comes from, or not
    at all, WebP without loss; JPEG has quality 95 and colour at full resolution, GIF the best 256 colours of each
    frame. The file appears under its name only when it is complete.

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
    png_level : int, optional
        Effort of PNG's compression, from 0 (none) to 9; 1 if not given.
    compression : {"none", "packbits", "lzw", "deflate", "zstd"}, optional
        That of a TIFF file.
    quality : int, optional
        Of JPEG, 95 if not given, and of WebP, which then loses nothing: 1 to 100.

    Raises
    ------
    ImgtoolError
        If the format cannot hold the image, the file exists, or it cannot be written.

    Examples
    --------
    >>> from imgtool import io
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     write(f"{folder}/ramp.png", Image(np.arange(6, dtype=np.uint16).reshape(2, 3)))
    ...     io.read(f"{folder}/ramp.png").data
    array([[0, 1, 2],
           [3, 4, 5]], dtype=uint16)
    """
    data = image.data
    still = 2 if image.channel_axis is None else 3
    if data.ndim not in (still, still + 1) or 0 in data.shape:
        raise ImgtoolError(
            f"{shown(path)}: an array of shape {data.shape} is no image; it needs rows, columns and pixels"
        )
    pages = image.pages
    target = _output_for(path, extension, image, len(pages))
    # One page and one channel need no axis; every format reads them back without.
    height, width = pages[0].shape[:2]
    shape, channel_axis = layout(height, width, image.channels, len(pages))
    plain = Image(data.astype(data.dtype.newbyteorder("="), copy=False).reshape(shape), channel_axis, image.metadata)
    effort = _effort(target, png_level=png_level, compression=compression, quality=quality)
    with _published(path, target, overwrite=overwrite) as goal:
        try:
            _write_whole(import_module(f".{target.module}", __package__), goal, plain, target, effort)
        except ImgtoolError as error:
            raise ImgtoolError(f"{shown(path)}: {error}") from None


def _write_whole(module: Any, goal: Any, image: Image, target: Format, effort: dict[str, Any]) -> None:
    """Write all pages at once where a format's module does so, one after another where it has no such function."""
    if hasattr(module, "write_image"):
        module.write_image(goal, image, target.name, **effort)
        return
    pages = image.pages
    first = Image(pages[0], image.channel_axis, image.metadata)
    with module.page_writer(goal, first, len(pages), target.name, **effort) as write_page:
        for page in pages:
            write_page(page)


def _published(path: PathLike, target: Format, *, overwrite: bool) -> AbstractContextManager[Any]:
    """The stream or the folder to write to, which appears under its name when all is written."""
    if not target.folder:
        return published(path, overwrite=overwrite)
    from ._folders import published_folder

    return published_folder(path, overwrite=overwrite)


def _effort(target: Format, **given: Any) -> dict[str, Any]:
    """Those of the options on packing that the writer of a format knows."""
    known = {"_png": "png_level", "_tiff": "compression", "_pillow": "quality"}.get(target.module)
    return {} if known is None else {known: given[known]}


@contextmanager
def page_writer(
    path: PathLike,
    first: Image,
    pages: int,
    *,
    overwrite: bool = False,
    extension: str | None = None,
    png_level: int | None = None,
    compression: str | None = None,
    quality: int | None = None,
) -> Iterator[Callable[[npt.NDArray[Any]], None]]:
    """A function that appends a page or a frame; the file appears under its name, whole, when the block ends.

    Parameters
    ----------
    path : str or path-like
        The output; its extension names the format.
    first : Image
        What all pages are like in shape, dtype, channels and metadata; it is not written.
    pages : int
        How many there will be.
    overwrite, extension, png_level, compression, quality
        As for `write`.

    Raises
    ------
    ImgtoolError
        If the format cannot hold the pages, the file exists, or it cannot be written.

    Examples
    --------
    >>> from imgtool import io
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     with page_writer(f"{folder}/stack.tif", Image(np.zeros((4, 5))), 3) as append:
    ...         for number in range(3):
    ...             append(np.full((4, 5), float(number)))
    ...     io.read(f"{folder}/stack.tif").data[:, 0, 0]
    array([0., 1., 2.])
    """
    target = _output_for(path, extension, first, pages)
    module = import_module(f".{target.module}", __package__)
    effort = _effort(target, png_level=png_level, compression=compression, quality=quality)
    with (
        _published(path, target, overwrite=overwrite) as goal,
        module.page_writer(goal, first, pages, target.name, **effort) as append,
    ):
        yield append
