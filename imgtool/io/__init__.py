"""Image files, and the few other files imgtool reads and writes, in and out without loss."""

import os
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from importlib import import_module
from pathlib import Path
from threading import Lock
from typing import Any, BinaryIO

from ..errors import ImgtoolError
from ._files import STANDARD_OUTPUT, PathLike, opened, published, reason, scratch, shown, sweep
from ._image import MAPPED, Image, Info, Metadata, Source, plain
from ._pages import Pages
from ._writing import check_output, displaced, page_writer, stripped, unkept, write
from .formats import SNIFFED, recognised

__all__ = [
    "MAPPED",
    "MAX_PIXELS",
    "STANDARD_OUTPUT",
    "Image",
    "Info",
    "Pages",
    "check_output",
    "describe",
    "displaced",
    "open_pages",
    "page_writer",
    "probe",
    "read",
    "read_json",
    "scratch",
    "stripped",
    "sweep",
    "unkept",
    "write",
    "write_bytes",
    "write_text",
]

# OpenCV's limit as well: 1 GiB as 8-bit gray, more than any camera or slide scanner at hand gives in one image, and a
# header that lies costs no more than that.
MAX_PIXELS = 1 << 30
_JSON_LIMIT = 1 << 26


def probe(path: PathLike, *, auto_orient: bool = False) -> Info:
    """What the header of an image file says; no pixels are decoded.

    Parameters
    ----------
    path : str or path-like
        The file, or "-" for standard input; its first bytes tell the format, not its name.
    auto_orient : bool
        Whether the image is to be turned upright, as `read` does.

    Returns
    -------
    Info
        Format, and shape, dtype, channel axis, pages and alpha of what `read` would return.

    Raises
    ------
    ImgtoolError
        If there is no such file or it is no image that imgtool can read.
    """
    return describe(path, auto_orient=auto_orient)[0]


def describe(path: PathLike, *, auto_orient: bool = False) -> tuple[Info, Metadata]:
    """What `probe` tells, and the metadata that `read` would return; no pixels are decoded.

    Raises
    ------
    ImgtoolError
        As `probe` does.
    """
    with _opened(path) as found, _explained(path):
        source = _source(found, auto_orient=auto_orient)
        return source.info, source.metadata


def read(path: PathLike, *, max_pixels: int = MAX_PIXELS, auto_orient: bool = False) -> Image:
    """Read an image file at its full depth.

    Palettes are applied, one-bit images are bool (True is white), two- and four-bit gray is spread over 0..255, and a
    colour key becomes an alpha channel. 16-bit files stay 16-bit. Frames of an animation are put together.

    Parameters
    ----------
    path : str or path-like
        The file, or "-" for standard input; its first bytes tell the format, not its name.
    max_pixels : int
        The most pixels (height x width x pages) to decode, checked by the header.
    auto_orient : bool
        Turn the pixels upright, as the tag of the orientation asks, and set it to 1; else pixels and tag are kept.

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
    with _opened(path) as found, _explained(path):
        source = _source(found, auto_orient=auto_orient)
        info = source.info
        _check_size(info, info.pages, max_pixels)
        data = source.decode()
    return Image(plain(data), info.channel_axis, source.metadata)


@contextmanager
def open_pages(
    path: PathLike, *, max_pixels: int = MAX_PIXELS, auto_orient: bool = False, together: bool = False
) -> Iterator[Pages]:
    """The pages of a stack, read one by one; a still image has one.

    Parameters
    ----------
    path : str or path-like
        The file; its first bytes tell the format, not its name.
    max_pixels : int
        The most pixels (height x width) of a page to decode, checked by the header.
    auto_orient : bool
        Turn the pixels upright, as `read` does.
    together : bool
        Whether `max_pixels` is the limit of all pages together, as in `read`.

    Returns
    -------
    context manager
        Of a sequence of `Image`, with the file's `info`.

    Raises
    ------
    ImgtoolError
        As `read` does, also when a page is taken.
    """
    with _opened(path) as found:
        with _explained(path):
            source = _source(found, auto_orient=auto_orient)
            _check_size(source.info, source.info.pages if together else 1, max_pixels)
        yield Pages(source, lambda: _explained(path))


def _check_size(info: Info, pages: int, max_pixels: int) -> None:
    height, width = info.shape[info.pages > 1 :][:2]
    pixels = height * width * pages
    if pixels > max_pixels:
        size = f"{width} x {height}" + f" x {pages} {'frames' if info.animated else 'pages'}" * (pages > 1)
        raise ImgtoolError(
            f"{size} is {pixels} pixels and the limit is {max_pixels}; raise it with --max-pixels (max_pixels)"
        )


def _opened(path: PathLike) -> AbstractContextManager[BinaryIO | Path]:
    """The stream of a file, or the folder if that is an image."""
    if os.path.isdir(path):  # noqa: PTH112  Path.is_dir raises for names that are too long
        from ._folders import is_image_folder

        if is_image_folder(path):
            return nullcontext(Path(path))
    return opened(path)


def _source(found: BinaryIO | Path, *, auto_orient: bool) -> Source:
    if isinstance(found, Path):
        from ._zarr import open_image

        return open_image(found, "OME-Zarr")
    head = found.read(SNIFFED)
    if not head:
        raise ImgtoolError("the file is empty")
    form = recognised(head)
    found.seek(0)
    source: Source = import_module(f".{form.module}", __name__).open_image(found, form.name)
    if auto_orient:
        from ._orient import upright

        source = upright(source)
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

    Names of files in it that are no UTF-8 are written as the bytes that they are.

    Raises
    ------
    ImgtoolError
        If the file exists or cannot be written.
    """
    write_bytes(path, text.encode(errors="surrogateescape"), overwrite=overwrite)


def write_bytes(path: PathLike, content: bytes, *, overwrite: bool = False) -> None:
    """Write `content`, whole or not at all; see `write` for the rules.

    Raises
    ------
    ImgtoolError
        If the file exists or cannot be written.
    """
    with published(path, overwrite=overwrite) as stream:
        stream.write(content)
