"""Image files as the planes that a registration compares, and the options that say how."""

import functools
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import click

from ..errors import ImgtoolError
from .options import Reading
from .values import number, parsed

if TYPE_CHECKING:
    from .._check import Array
    from .._colour import Channel
    from ..io import Image, Info, Pages

Function = TypeVar("Function", bound=Callable[..., Any])
Spacing = tuple[float, float]

_MM = {"inch": 25.4, "cm": 10.0, "none": 1.0}


@dataclass(frozen=True)
class Look:
    """What of an image is looked at."""

    channel: "Channel" = "luminance"
    nodata: float | None = None


def _bins(value: Any) -> int:
    from ..metrics import bin_count

    return bin_count(value)


def engine_options(command: Function) -> Function:
    """Give `command` the options on how a registration is done; its body gets `search`, `background` and `bins`."""
    options = (
        click.option(
            "--search",
            type=click.Choice(["auto", "none", "shift", "rotation", "full"]),
            default="auto",
            help="How far apart the two may be at the start: as far as need be, hardly at all, shifted, turned by any "
            "angle as well, of another size as well.",
        ),
        click.option(
            "--background",
            type=click.Choice(["auto", "none"]),
            default="auto",
            help="Whether to look for a frame that stands still in both images, such as the black sector round an "
            "ultrasound image, and leave it out.",
        ),
        click.option(
            "--bins",
            type=int,
            default=64,
            metavar="N",
            callback=parsed(_bins),
            help="Histogram bins for each image, 4 to 256.",
        ),
    )
    return functools.reduce(lambda function, option: option(function), reversed(options), command)


def look_options(command: Function) -> Function:
    """Give `command` the options --channel and --nodata; each is a pair, for the fixed and the moving image."""
    channel = click.option(
        "--channel",
        metavar="WHAT[,WHAT]",
        default="luminance",
        callback=parsed(_channels),
        help="What of colours and channels is compared: luminance, all, red, green, blue, a number from 1, or several "
        "joined by +, which are taken together as their first principal component; after a comma, for moving.",
    )
    nodata = click.option(
        "--nodata",
        "--mask-value",
        metavar="VALUE[,VALUE]",
        callback=parsed(_nodata),
        help="Pixels of exactly this value do not count; after a comma, for moving.",
    )
    return channel(nodata(command))


def look_of_one(command: Function) -> Function:
    """Give `command` the options --channel and --nodata for images that are all looked at alike."""
    channel = click.option(
        "--channel",
        metavar="WHAT",
        default="luminance",
        callback=parsed(_channel),
        help="What of colours and channels is compared: luminance, all, red, green, blue, a number from 1, or several "
        "joined by +, which are taken together as their first principal component.",
    )
    nodata = click.option(
        "--nodata", metavar="VALUE", callback=parsed(number), help="Pixels of exactly this value do not count."
    )
    return channel(nodata(command))


def _two(text: str, parse: Callable[[str], Any]) -> tuple[Any, Any]:
    first, comma, second = text.partition(",")
    value = parse(first)
    return value, parse(second) if comma else value


def _channel(text: str) -> "Channel":
    from .._colour import parse_channel

    return parse_channel(text)


def _channels(text: str) -> "tuple[Channel, Channel]":
    return _two(text, _channel)


def _nodata(text: str) -> tuple[float, float]:
    return _two(text, number)


def spacing(text: str) -> Spacing | str:
    """The value of --spacing: a number, two, or the word tags."""
    if text == "tags":
        return text
    x, y = _two(text, number)
    if not (x > 0 and y > 0):
        raise ImgtoolError(f"{text!r} is no pixel size; give a number above 0, two joined by a comma, or tags")
    return x, y


def check_channels(item_input: str, info: "Info", look: Look) -> None:
    """Refuse an image that has not the channels that are looked at."""
    import numpy as np

    if info.channel_axis is not None:
        _gray(item_input, np.ones((1, 1, info.shape[-1])), info.has_alpha, look)
    elif look.channel not in ("luminance", "all", (0,)):
        raise ImgtoolError(f"{item_input}: has 1 channel, so choose it by --channel 1 or leave --channel out")


def _gray(name: str, page: "Array", has_alpha: bool, look: Look) -> "tuple[Array, Array | None]":
    from .._colour import gray

    try:
        return gray(page, has_alpha, look.channel)
    except ImgtoolError as error:
        raise ImgtoolError(f"{name}: {error}") from error


def plane_of(name: str, image: "Image", page: "Array", look: Look) -> "Array":
    """A page of `image` as the one plane that is compared; NaN where a pixel does not count."""
    import numpy as np

    plane, keep = (page, None) if image.channel_axis is None else _gray(name, page, image.has_alpha, look)
    if look.nodata is not None:
        colours = page if image.channel_axis is None else page[..., : page.shape[-1] - image.has_alpha]
        with np.errstate(over="ignore"):
            known = colours != np.asarray(look.nodata, np.float64).astype(
                colours.dtype if colours.dtype.kind == "f" else np.float64
            )
        known = known if image.channel_axis is None else known.any(axis=-1)
        keep = known if keep is None else keep & known
    if keep is None:
        return plane
    return np.where(keep, plane.astype(np.result_type(plane, np.float32), copy=False), np.float32(np.nan))


def spacing_of(name: str, image: "Image", wanted: Spacing | str | None) -> Spacing | None:
    """The size of a pixel as --spacing says: what was typed, or by the tags of the image in millimetres."""
    if wanted != "tags":
        return wanted  # type: ignore[return-value]
    if "resolution" not in image.metadata:
        raise ImgtoolError(
            f"{name}: has no resolution in its tags; give its pixel size by --spacing or --moving-spacing"
        )
    x, y, unit = image.metadata["resolution"]
    return _MM[unit] / x, _MM[unit] / y


class PageFiles(NamedTuple):
    """How pages of files become planes, wherever that is done."""

    look: Look
    reading: Reading

    def plane(self, name: str, page: int) -> "Array":
        """A page of the file `name`."""
        from .. import io

        with io.open_pages(name, **self.reading._asdict()) as pages:
            image = pages[page]
            return plane_of(page_name(name, page, len(pages)), image, image.data, self.look)


def page_name(name: str, page: int, pages: int) -> str:
    """What to call a page of a file of so many."""
    return f"{name} page {page + 1}" if pages > 1 else name


class Series:
    """The pages of several files as one sequence of planes, for as long as the block lasts, and for all threads.

    A file stays open until another is needed: of some formats a page is made of those before it.
    """

    def __init__(self, inputs: Sequence[str], look: Look, reading: Reading) -> None:
        from .. import io

        self.inputs, self._look, self._reading = inputs, look, reading
        self.infos: list[Info] = [io.probe(name, auto_orient=reading.auto_orient) for name in inputs]
        for name, info in zip(inputs, self.infos, strict=True):
            check_channels(name, info, look)
        self.places = [
            (name, page) for name, info in zip(inputs, self.infos, strict=True) for page in range(info.pages)
        ]
        self._open: tuple[str, Pages] | None = None
        self._files = ExitStack()
        self._lock = Lock()

    def __enter__(self) -> "Series":
        return self

    def __exit__(self, *_: object) -> None:
        self._files.close()

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, number: int) -> "Array":
        return self.plane(*self.places[number])

    def plane(self, name: str, page: int) -> "Array":
        """A page of one of the files."""
        from .. import io

        with self._lock:
            if self._open is None or self._open[0] != name:
                self._files.close()
                self._open = name, self._files.enter_context(io.open_pages(name, **self._reading._asdict()))
            pages = self._open[1]
            image = pages[page]
        return plane_of(page_name(name, page, len(pages)), image, image.data, self._look)

    def name(self, number: int) -> str:
        """What to call a page."""
        name, page = self.places[number]
        return page_name(name, page, self.infos[self.inputs.index(name)].pages)
