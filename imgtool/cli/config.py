"""Defaults of options from a TOML file, a table for each command."""

import tomllib
from pathlib import Path
from typing import Any

import click

from .words import advice


def defaults(path: str, group: click.Group, context: click.Context) -> dict[str, Any]:
    """What `path` says, as click's default map; wrong usage if it names what does not exist."""
    try:
        tables = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise click.UsageError(f"--config {path}: {(error.strerror or str(error)).lower()}") from error
    except (ValueError, RecursionError) as error:
        raise click.UsageError(f"--config {path}: no TOML ({error})") from error
    known = group.list_commands(context)
    found: dict[str, Any] = {}
    for name, table in tables.items():
        if name not in known or not isinstance(table, dict):
            raise click.UsageError(f"--config {path}: [{name}] is no table of a command; {advice(name, known)}")
        command = group.get_command(context, name)
        assert command is not None
        found[name] = dict(_default(f"--config {path}: [{name}]", command, *entry) for entry in table.items())
    return found


def _default(where: str, command: click.Command, name: str, value: Any) -> tuple[str, Any]:
    options = {
        opt.lstrip("-"): p for p in command.params if isinstance(p, click.Option) for opt in p.opts if opt[:2] == "--"
    }
    if name not in options:
        raise click.UsageError(f"{where} there is no option {name!r}; {advice(name, options)}")
    option = options[name]
    if isinstance(value, bool) != option.is_flag or not isinstance(value, bool | int | float | str):
        wanted = "true or false" if option.is_flag else "a text or a number"
        raise click.UsageError(f"{where} {name} is {wanted}, not {value!r}")
    return str(option.name), value if option.is_flag else str(value)
