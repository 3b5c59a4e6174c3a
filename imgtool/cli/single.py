"""Commands that read a few files and write one: where it goes, and what is refused before."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from ..errors import ImgtoolError, one_line
from .options import path_option

Function = TypeVar("Function", bound=Callable[..., Any])


exists_option = click.option(
    "--exists",
    type=click.Choice(["error", "overwrite"]),
    default="error",
    help="When the output exists: fail, or overwrite it.",
)
verbose_option = click.option(
    "-v", "--verbose", count=True, show_default=False, help="Say more: a line for each file written."
)
quiet_option = click.option("-q", "--quiet", count=True, show_default=False, help="Say less: no warnings.")


def one_output(command: Function) -> Function:
    """Give a command the options -o and --exists; its body gets `output` and `exists`."""
    output = path_option("-o", "--output", metavar="FILE", help="Write to this file. Default: standard output.")
    return output(exists_option(command))


def check_output_free(output: Path | None, exists: str, inputs: Sequence[str]) -> None:
    """Refuse an output that is there already or is an input, before any work is done."""
    if output is None or not output.exists():
        return
    if any(_same(output, name) for name in inputs):
        raise click.UsageError(f"{output} is an input as well; choose another name")
    if exists != "overwrite":
        raise ImgtoolError(f"{output}: exists already; use --exists overwrite, or choose another name")


def _same(output: Path, name: str) -> bool:
    try:
        return output.samefile(name)
    except (OSError, ValueError):
        return False


def write_result(text: str, output: Path | None, exists: str) -> None:
    """`text` into its file, or to standard output."""
    from .. import io

    if output is None:
        click.echo(text, nl=False)
    else:
        io.write_text(output, text, overwrite=exists == "overwrite")


def warn(text: str, quiet: int) -> None:
    """A line on standard error, unless -q was given to the command or the program."""
    if not quiet and not _of_program("quiet"):
        click.echo(one_line(text), err=True)


def remark(text: str, verbose: int, quiet: int) -> None:
    """A line on standard error, if -v was given to the command or the program more often than -q."""
    if verbose + _of_program("verbose") > quiet + _of_program("quiet"):
        click.echo(one_line(text), err=True)


def _of_program(option: str) -> int:
    """How often -v or -q was given before the command."""
    parent = click.get_current_context().parent
    return 0 if parent is None else parent.params.get(option, 0)
