"""What will be written where: found out, checked and refused before the first pixel is read."""

import os
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath

import click

from ..errors import ImgtoolError
from .options import Batch


@dataclass(frozen=True)
class Item:
    """One input, and the files to be made of it: the image is called "output", others by what they are."""

    input: str
    outputs: Mapping[str, Path]


@dataclass
class Plan:
    """The items to do, those that are done already, and those that cannot be done."""

    ready: list[Item] = field(default_factory=list)
    skipped: list[Item] = field(default_factory=list)
    failed: list[tuple[Item, Exception]] = field(default_factory=list)


def image_outputs(inputs: Sequence[str], batch: Batch) -> list[Path]:
    """The image file to write for each input, by -o or -O."""
    if batch.output is not None and batch.output_dir is not None:
        raise click.UsageError("-o names one output and -O a folder for many; give one of them")
    if batch.output_dir is not None:
        return [below(batch.output_dir, name, batch.suffix or "", batch.ext) for name in inputs]
    if batch.suffix is not None or batch.ext is not None:
        raise click.UsageError("--suffix and --ext make names below -O; without -O they have no effect")
    if batch.output is None:
        raise click.UsageError("nowhere to write; give -o FILE, or -O DIR for several inputs")
    if len(inputs) > 1:
        raise click.UsageError(f"-o names one output, but there are {len(inputs)} inputs; use -O DIR")
    return [batch.output]


def below(folder: Path, name: str, suffix: str, ext: str | None) -> Path:
    """The path of input `name` mirrored below `folder`: always inside it, whatever the name is."""
    path = PurePath(name)
    inside = PurePath(path.name) if path.is_absolute() or ".." in path.parts else path
    if inside.name in ("", ".."):
        return folder  # a folder given as an input, which fails as such
    return folder / inside.with_name(inside.stem + suffix + (inside.suffix if ext is None else ext))


def make_plan(
    items: Sequence[Item],
    batch: Batch,
    *,
    fits: Callable[[Item], object],
    others: Sequence[str] = (),
    folders: Sequence[Path] = (),
) -> Plan:
    """Sort `items` into ready, skipped and failed, and make the folders that the ready ones need.

    `fits` raises an ImgtoolError when an item's input cannot be read or its output cannot hold the result; it looks at
    headers only. `others` are files that every item reads besides its input, `folders` those that may be made besides
    the one named by -O.
    """
    _refuse_collisions(items)
    _refuse_inputs_as_outputs(items, others)
    plan = Plan()
    for item in items:
        try:
            if _is_done(item, batch.exists, others):
                plan.skipped.append(item)
                continue
            fits(item)
            for output in item.outputs.values():
                _check_free(output, batch)
            plan.ready.append(item)
        except (ImgtoolError, OSError) as error:
            plan.failed.append((item, error))
    made = [*folders, *([] if batch.output_dir is None else [batch.output_dir])]
    for folder, output in {output.parent: output for item in plan.ready for output in item.outputs.values()}.items():
        _prepare_folder(folder, output, make=any(folder.is_relative_to(root) for root in made))
    return plan


def _refuse_collisions(items: Iterable[Item]) -> None:
    seen: dict[str, str] = {}
    for item in items:
        for output in item.outputs.values():
            # Names that differ in case alone are one file on many file systems.
            key = unicodedata.normalize("NFC", os.path.abspath(output)).casefold()  # noqa: PTH100  resolve() follows links
            if key in seen:
                raise click.UsageError(
                    f"{seen[key]} and {item.input} would both be written to {output}; give them other names or runs"
                )
            seen[key] = item.input


def _refuse_inputs_as_outputs(items: Sequence[Item], others: Sequence[str]) -> None:
    inputs = {identity for name in [*(item.input for item in items), *others] if (identity := _identity(name))}
    for item in items:
        for output in item.outputs.values():
            if _identity(output) in inputs:
                raise click.UsageError(f"{output} is an input as well; choose another name, or add --suffix to -O")


def _identity(path: str | Path) -> tuple[int, int] | None:
    try:
        status = Path(path).stat()
    except (OSError, ValueError):
        return None
    return status.st_dev, status.st_ino


def _is_done(item: Item, exists: str, others: Sequence[str]) -> bool:
    if exists not in ("skip", "newer") or not all(output.is_file() for output in item.outputs.values()):
        return False
    if exists == "skip":
        return True
    newest_input = max(Path(name).stat().st_mtime_ns for name in (item.input, *others))
    return newest_input <= min(output.stat().st_mtime_ns for output in item.outputs.values())


def _check_free(output: Path, batch: Batch) -> None:
    try:
        output.stat()
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        raise ImgtoolError(f"{output}: cannot be written ({error.strerror})") from error
    if output.is_dir():
        raise ImgtoolError(f"{output}: is a folder; name a file, or use -O to write into it")
    if not batch.overwrite:
        raise ImgtoolError(f"{output}: exists already; use --exists overwrite, newer or skip")


def _prepare_folder(folder: Path, output: Path, *, make: bool) -> None:
    try:
        if make:
            folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ImgtoolError(f"{folder}: the folder cannot be made ({error.strerror}); choose another") from error
    if not folder.is_dir():
        raise ImgtoolError(f"{output}: there is no folder {folder}; make it first, or write to another")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ImgtoolError(f"{output}: the folder {folder} is not writable; write to another")
