"""docs/cli.md is what --help says. To write it anew: python tests/cli/test_reference.py"""

from pathlib import Path

import click

from imgtool.cli import cli

PAGE = Path(__file__).parents[2] / "docs" / "cli.md"
HEAD = """\
# Command line

What `--help` says, command by command. `python tests/cli/test_reference.py` writes this page, and a test compares it.
"""


def below(context):
    """The contexts of all commands of a group, and of theirs."""
    group = context.command
    if isinstance(group, click.Group):
        for name in group.list_commands(context):
            command = group.get_command(context, name)
            inner = click.Context(command, info_name=name, parent=context, **command.context_settings)
            yield inner
            yield from below(inner)


def reference():
    """The page that documents the command line."""
    top = click.Context(cli, info_name="imgtool", terminal_width=100, **cli.context_settings)
    contexts = [top, *below(top)]
    sections = (f"\n## {ctx.command_path}\n\n```text\n{ctx.get_help()}\n```\n" for ctx in contexts)
    return HEAD + "".join(sections)


def test_the_page_says_what_help_says():
    assert PAGE.read_text(encoding="utf-8") == reference(), "run: python tests/cli/test_reference.py"


if __name__ == "__main__":
    PAGE.write_text(reference(), encoding="utf-8")
