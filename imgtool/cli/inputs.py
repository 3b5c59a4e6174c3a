"""Which images are meant: names, lists of names, folders."""

import os
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePath
from typing import NamedTuple

import click

from ..errors import ImgtoolError


class Inputs(NamedTuple):
    """The inputs in order, and what could not be looked into."""

    names: tuple[str, ...]
    places: dict[str, PurePath]  # of those found in folders: their place in a tree
    failed: list[tuple[str, ImgtoolError]]


def gather(
    names: Sequence[str], *, files_from: str | None, null: bool, recursive: bool, leave_out: Iterable[Path] = ()
) -> Inputs:
    """The inputs that are given by `names` and by the list `files_from`, with --recursive also those in folders.

    `leave_out` are folders that are not looked into: those that results are written to.
    """
    if not names and files_from is None:
        context = click.get_current_context()
        variadic = next(p for p in context.command.params if isinstance(p, click.Argument) and p.nargs == -1)
        raise click.MissingParameter(ctx=context, param=variadic)
    if null and files_from is None:
        raise click.UsageError("-0 tells how the names of --files-from are separated; without it, it has no effect")
    given = [*names, *(listed(files_from, null=null) if files_from is not None else ())]
    if "-" in given and (files_from == "-" or given.count("-") > 1):
        raise click.UsageError("standard input can be read once: as one image, or as the list of --files-from -")
    found: list[str] = []
    places: dict[str, PurePath] = {}
    failed: list[tuple[str, ImgtoolError]] = []
    excluded = {os.path.realpath(folder) for folder in leave_out}
    for name in given:
        # Path.is_dir raises for names that are too long.
        if name == "-" or not os.path.isdir(name) or is_image_folder(name):  # noqa: PTH112
            found.append(name)
        elif not recursive:
            failed.append((name, ImgtoolError(f"{name}: a directory, not a file; --recursive takes the images in it")))
        else:
            start = place(name)
            for path in _images_below(name, excluded, failed):
                found.append(path)
                places[path] = start / PurePath(path).relative_to(name)
    return Inputs(tuple(found), places, failed)


def gather_all(
    names: Sequence[str], *, files_from: str | None, null: bool, recursive: bool, leave_out: Iterable[Path]
) -> tuple[str, ...]:
    """The inputs for work that needs all of them: there are some, and what cannot be looked into is an error."""
    found = gather(names, files_from=files_from, null=null, recursive=recursive, leave_out=leave_out)
    if found.failed:
        raise found.failed[0][1]
    if not found.names:
        raise ImgtoolError(f"{(*names, files_from)[0]}: no image in it")
    return found.names


def place(name: str) -> PurePath:
    """Where the input `name` stands in the tree of outputs: never outside it, whatever the name is."""
    path = PurePath(name)
    if path.is_absolute() or ".." in path.parts:
        return PurePath("" if path.name == ".." else path.name)
    return path


def listed(source: str, *, null: bool) -> list[str]:
    """The names in a list, one on each line, or separated by zero bytes; "-" is standard input."""
    try:
        content = standard_input() if source == "-" else Path(source).read_bytes()
    except OSError as error:
        raise click.UsageError(f"--files-from {source}: {(error.strerror or str(error)).lower()}") from error
    except ValueError as error:
        raise click.UsageError(f"--files-from {source}: not a file name") from error
    if not null and b"\0" in content:
        raise click.UsageError(f"--files-from {source}: holds zero bytes; if they separate the names, add -0")
    return [os.fsdecode(name) for name in content.split(b"\0" if null else b"\n") if name]


def standard_input() -> bytes:
    """All of standard input."""
    if sys.stdin is None or sys.stdin.isatty():
        raise click.UsageError("standard input is no pipe or file; redirect one into it")
    return sys.stdin.buffer.read()


def natural(text: str) -> tuple[list[tuple[int, str]], str]:
    """A key that sorts numbers in names by their value: a2 before a10."""
    parts = re.split(r"(\d+)", text.casefold())
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts], text


def _images_below(folder: str, excluded: set[str], failed: list[tuple[str, ImgtoolError]]) -> Iterator[str]:
    """The files with the extension of an image, folder by folder.

    Hidden files and folders are left out, and links to folders are not followed: they may lead back.
    """
    from ..io.formats import EXTENSIONS, extension_of

    folders = []
    try:
        with os.scandir(folder) as listing:
            entries = sorted(listing, key=lambda entry: natural(entry.name))
    except OSError as error:
        failed.append((folder, ImgtoolError(f"{folder}: cannot be listed ({error.strerror})")))
        return
    for entry in entries:
        if entry.name.startswith("."):
            continue
        if entry.is_dir(follow_symlinks=False):
            if is_image_folder(entry.path):
                yield entry.path
            else:
                folders.append(entry.path)
        elif extension_of(entry.name) in EXTENSIONS and _is_image(entry):
            yield entry.path
    for path in folders:
        if os.path.realpath(path) not in excluded:
            yield from _images_below(path, excluded, failed)


def is_image_folder(name: str | Path) -> bool:
    """Whether a folder is one image, not a folder of images."""
    from ..io._folders import is_image_folder as found

    return found(name)


def _is_image(entry: os.DirEntry[str]) -> bool:
    # A link that leads nowhere is kept: it fails as an input, and is told of.
    try:
        return entry.is_file() or (entry.is_symlink() and not Path(entry.path).exists())
    except OSError:
        return True
