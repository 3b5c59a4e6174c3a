"""What the texts of options mean: numbers, names, paths, kernels."""

from collections.abc import Callable, Collection, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import click

from ..errors import ImgtoolError
from .words import advice

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from .template import Template

Item = TypeVar("Item")


class _File(click.ParamType):  # type: ignore[type-arg]  # of click 8.5
    """The name of a file as it was typed; whether there is such a file is a fault of its item alone."""

    name = "path"  # click.Path, which does the same, looks for translations of this word at every start

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> "list[CompletionItem]":
        from click.shell_completion import CompletionItem

        return [CompletionItem(incomplete, type="file")]


FILE = _File()


def parsed(parse: Callable[[Any], Any]) -> Callable[[click.Context, click.Parameter, Any], Any]:
    """A callback that reads an option's value by `parse`, whose ImgtoolError is wrong usage."""

    def callback(ctx: click.Context, param: click.Parameter, value: Any) -> Any:
        try:
            return None if value is None else parse(value)
        except ImgtoolError as error:
            raise click.BadParameter(str(error), ctx, param) from error

    return callback


def number(text: str) -> float:
    """A finite number or a fraction."""
    from ..kernels import parse_number

    value = parse_number(text)
    if value is None:
        raise ImgtoolError(f"{text!r} is no number such as 2, -0.5, 1e-3 or 1/9")
    return value


def kernel_names() -> Collection[str]:
    """The named kernels."""
    from ..kernels import CATALOGUE

    return CATALOGUE


def kernel_from(axes: str) -> Callable[[click.Context, click.Parameter, Any], Any]:
    """A callback that reads a kernel, of as many axes as the eager option `axes` has letters."""

    def callback(ctx: click.Context, param: click.Parameter, value: Any) -> Any:
        from ..kernels import parse_kernel

        return parsed(partial(parse_kernel, axes=len(ctx.params[axes]), read_image=_kernel_image))(ctx, param, value)

    return callback


def _kernel_image(name: str) -> Any:
    from .. import io

    image = io.read(name)
    if image.channel_axis is not None:
        raise ImgtoolError(f"{name}: a kernel is a gray image, but this one has {image.channels} channels")
    return image.data


def completing(names: Callable[[], Collection[str]]) -> Callable[[click.Context, click.Parameter, str], list[str]]:
    """Completes values in the shell by `names`, which are asked for only then."""
    return lambda _ctx, _param, incomplete: [name for name in sorted(names()) if name.startswith(incomplete)]


def nearest_of(names: Callable[[], Collection[str]]) -> Callable[[str], str]:
    """Accepts one of `names`, which are asked for only when there is a value to check, and suggests the nearest."""

    def parse(value: str) -> str:
        known = names()
        if value in known:
            return value
        raise ImgtoolError(f"{value!r} is unknown; {advice(value, known)}")

    return parse


def count_or_auto(text: str) -> int | None:
    """A number of jobs or threads, None for auto."""
    if text == "auto":
        return None
    if not (text.isdecimal() and len(text) <= 4 and int(text) > 0):
        raise ImgtoolError(f"{text!r} is neither a number from 1 to 9999 nor auto")
    return int(text)


def file_name_part(text: str) -> str:
    """Text for the middle of a file name."""
    if "/" in text or "\\" in text or text in (".", ".."):
        raise ImgtoolError(f"{text!r} is no part of a file name; folders are given by -O")
    return text


def extension(text: str) -> str:
    """The value of --ext, with its dot."""
    return file_name_part(text if text.startswith(".") else f".{text}")


def path(text: str) -> Path:
    """A path to write to."""
    # Path("") is the current folder, which nobody means who lets a variable go empty.
    if not text:
        raise ImgtoolError("the name is empty; write ./ for the current folder")
    return Path(text)


def output(text: str) -> Path:
    """The value of -o, which may be standard output."""
    if text != "-":
        return path(text)
    from ..io import STANDARD_OUTPUT

    return STANDARD_OUTPUT


def template(text: str) -> "Template":
    """The value of --template."""
    from .template import parse_template

    return parse_template(text)


class Shard(NamedTuple):
    """Part `number`, counted from 1, of so many parts of a list."""

    number: int
    of: int

    def part(self, items: Sequence[Item]) -> Sequence[Item]:
        """Items in turn: parts of equal length, whatever stands where in the list."""
        return items[self.number - 1 :: self.of]


def shard(text: str) -> Shard:
    """The value of --shard."""
    number, slash, count = text.partition("/")
    if not (slash and all(part.isdecimal() and len(part) < 10 for part in (number, count))):
        raise ImgtoolError(f"{text!r} is no part of a list, such as 1/4 for the first of four")
    if not 1 <= int(number) <= int(count):
        raise ImgtoolError(f"{text!r} is no part of a list: the first number goes from 1 to the second")
    return Shard(int(number), int(count))


def format_extension(text: str) -> str:
    """The value of --format, as the extension of such files."""
    from ..io.formats import named

    extension = f".{text.lower().removeprefix('.')}"
    named(f"image{extension}")
    return extension
