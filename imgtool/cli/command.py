"""What all commands have in common: how they parse, and the form of their help."""

from collections.abc import Callable
from typing import Any

import click

HELP: dict[str, Any] = {"help_option_names": ["-h", "--help"], "show_default": True, "max_content_width": 100}


def _show_help(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        click.echo(ctx.get_help())
        ctx.exit()


class _Quick(click.Command):
    """A command that parses without what click does for messages that nobody will see: 4 ms of each start."""

    def get_help_option(self, ctx: click.Context) -> click.Option | None:
        return _HELP  # click's own looks for a translation of its text first

    def make_parser(self, ctx: click.Context) -> Any:
        parser = super().make_parser(ctx)
        # click takes -k for a long option first, and words an error with the nearest names before it looks further.
        # Only the time depends on it that click has tables of these names.
        getattr(parser, "_long_opt", {}).update(getattr(parser, "_short_opt", {}))
        return parser


class Command(_Quick):
    """A command of imgtool."""


class Group(_Quick, click.Group):
    """A command of imgtool that has commands of its own."""

    command_class = Command


_HELP = click.Option(
    HELP["help_option_names"],
    is_flag=True,
    is_eager=True,
    expose_value=False,
    allow_from_autoenv=False,
    callback=_show_help,
    help="Show this message and exit.",
)


def command(function: Callable[..., Any]) -> Command:
    """Make a function and its options a command."""
    return click.command(cls=Command, context_settings=HELP)(function)
