"""The command line: a group whose commands load when they are named, and what becomes of errors."""

import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from threading import current_thread, main_thread
from typing import Any

import click

from .. import __version__
from ..errors import ImgtoolError, one_line
from .command import HELP, Group
from .garbage import rarely_collected
from .words import advice

# Each command is the function of the same name in the module of the same name; its line for help stands here, because
# importing all modules for their first lines would double the time that help takes.
_COMMANDS = {
    "convolve": "Convolve images with a kernel.",
    "kernels": "List the named kernels; print or draw one.",
    "pipe": "Take images through several operations, rounding once.",
    "nmi": "Measure what images share: NMI and mutual information.",
    "register": "Register moving images to a fixed one.",
    "stack": "Align the pages of a stack, or a series of images.",
    "warp": "Warp images by a transform that register wrote.",
    "points": "Bring points from the fixed image to the moving one, or back.",
    "transform": "Tell of transforms; compose, invert and convert them.",
    "evaluate": "Measure how far a transform is from matched landmarks.",
    "info": "Tell size, type, pages and metadata of images from their headers.",
    "formats": "List the formats, and what each of them can hold.",
}


class _LazyGroup(Group):
    """Commands are imported when they are called, and errors end in one line and an exit status."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        command: click.Command = getattr(import_module(f".{cmd_name}", __name__), cmd_name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in _COMMANDS and not args[0].startswith("-") and not ctx.resilient_parsing:
            ctx.fail(f"there is no command {args[0]!r}; {advice(args[0], _COMMANDS)}")
        return super().resolve_command(ctx, args)

    def main(self, args: Sequence[str] | None = None, prog_name: str | None = None, **extra: Any) -> Any:  # type: ignore[override]
        """Run, and exit with 0 (all done), 1 (something failed), 2 (wrong usage) or 128 + the signal that ended it."""
        try:
            with _signals(), rarely_collected():
                status = super().main(args, prog_name or "imgtool", **{**extra, "standalone_mode": False})
        except (click.Abort, KeyboardInterrupt) as error:
            cause = error.__cause__ or error
            sys.exit(128 + (cause.signal if isinstance(cause, _Ended) else signal.SIGINT))
        except click.ClickException as error:
            _fail(" ".join(error.format_message().split()).rstrip(".") + _hint(error), error.exit_code)
        except ImgtoolError as error:
            _fail(str(error), 1)
        except OSError as error:
            _fail(f"{error.filename or 'standard output'}: {error.strerror or error}", 1)
        sys.exit(status or 0)


class _Ended(KeyboardInterrupt):
    """A signal asks the program to end, as Ctrl-C does."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.signal = number


@contextmanager
def _signals() -> Iterator[None]:
    """Let SIGINT, SIGTERM and SIGHUP end the program in order, and any further one at once."""

    def end(number: int, _: object) -> None:
        if ended:
            os._exit(128 + number)  # outputs are whole or not there, and drafts on most systems nameless
        ended.append(number)
        raise _Ended(number)

    ended: list[int] = []
    before: dict[int, Any] = {}
    if current_thread() is main_thread():
        before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
        for number, handler in before.items():
            if handler in (signal.SIG_DFL, signal.default_int_handler):  # nohup ignores some, and means it
                signal.signal(number, end)
    try:
        yield
    finally:
        # After a signal the program is about to exit, and a second one should still not look like a crash.
        for number, handler in () if ended else before.items():
            signal.signal(number, handler)


def _hint(error: click.ClickException) -> str:
    # A bad value says itself what would be a good one.
    told = isinstance(error, click.BadParameter) and not isinstance(error, click.MissingParameter)
    if told or not isinstance(error, click.UsageError) or error.ctx is None:
        return ""
    return f" (see {error.ctx.command_path} --help)"


def _fail(sentence: str, status: int) -> None:
    click.echo(f"Error: {one_line(sentence)}", err=True)
    sys.exit(status)


def _isa() -> str:
    try:
        from .._ext import ISA
    except ImgtoolError as error:
        raise click.UsageError(str(error)) from error
    return ISA


def _version(details: bool) -> str:
    first = f"imgtool {__version__} (isa {_isa()})"
    if not details:
        return first
    from importlib.metadata import version
    from platform import python_version

    from .._ext import CYTHON_VERSION

    return f"{first}\nPython {python_version()}\nNumPy {version('numpy')}\nCython {CYTHON_VERSION}"


@click.group(
    cls=_LazyGroup,
    invoke_without_command=True,
    subcommand_metavar="COMMAND [ARGS]...",
    context_settings={**HELP, "auto_envvar_prefix": "IMGTOOL"},
)
@click.option(
    "--version", is_flag=True, allow_from_autoenv=False, help="Print the version (with -v, also of what is beneath)."
)
@click.option(
    "--config", metavar="FILE.toml", help="Take defaults of options from this file: a table for each command."
)
@click.option("-v", "--verbose", count=True, show_default=False, help="Say more; commands with images take it, too.")
@click.option("-q", "--quiet", count=True, show_default=False, help="Say less; commands take it, too.")
@click.pass_context
def cli(ctx: click.Context, version: bool, config: str | None, verbose: int, quiet: int) -> int:
    """Convolve and register images, fast and correct to the last bit.

    Results go to files and standard output, words to standard error. Exit status: 0 all done, 1 something failed (all
    else was still done), 2 wrong usage, 128 + the number of the signal that ended it. Standard input is read only where
    it is named, -, and no output is ever left half written.

    Every option can also be set in the environment, as IMGTOOL_COMMAND_OPTION: IMGTOOL_CONVOLVE_BORDER=wrap, for
    example; or in a file that --config names: border = "wrap" below [convolve]. IMGTOOL_ISA=base, v3 or v4 chooses the
    build of the kernels.
    """
    if version:
        click.echo(_version(details=verbose > quiet))
        ctx.exit()
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help(), err=True)
        return 2
    if config is not None:
        from .config import defaults

        assert isinstance(ctx.command, click.Group)
        ctx.default_map = defaults(config, ctx.command, ctx)
    if os.environ.get("IMGTOOL_ISA"):
        _isa()  # a wrong value is wrong usage, whatever the command
    return 0


main = cli
