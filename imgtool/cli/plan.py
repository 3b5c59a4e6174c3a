"""What will be written where: found out, checked and refused before the first pixel is read."""

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path, PurePath
from typing import Any, NamedTuple

import click

from ..errors import ImgtoolError
from .common import CommonFile
from .inputs import is_image_folder, place
from .options import Batch, Writing


class Item(NamedTuple):
    """One input, and the files to be made of it: the image is called "output", others by what they are."""

    input: str
    outputs: Mapping[str, Path]
    format: str | None = None  # the extension of the format, where the output's name has none
    memory: int = 0  # about how many bytes the work needs
    more: Any = None  # what else an operation has to say of it

    @property
    def encoded(self) -> int:
        """The size of the input file in bytes, 0 for a stream."""
        return 0 if self.input == "-" else Path(self.input).stat().st_size

    @property
    def to_stdout(self) -> bool:
        """Whether the image goes to standard output."""
        from ..io import STANDARD_OUTPUT

        return self.outputs.get("output") == STANDARD_OUTPUT

    @property
    def scratch(self) -> Path:
        """A folder for pixels that should not fill memory: where the image will be."""
        if self.to_stdout:
            import tempfile

            return Path(tempfile.gettempdir())
        return self.outputs["output"].parent


class Plan(NamedTuple):
    """The items to do, those that are done already, and those that cannot be done."""

    ready: list[Item]
    skipped: list[Item]
    failed: list[tuple[Item, Exception]]
    common: Sequence[CommonFile]  # what is read wherever the work is done
    folders: Mapping[Path, Path | None]  # of the outputs, each with the one below which it may be made, if any


def image_outputs(inputs: Sequence[str], batch: Batch) -> list[Path]:
    """The image file to write for each input, by -o, -O or --in-place."""
    _refuse_contradictions(batch)
    if batch.in_place:
        return [Path(name) for name in inputs]
    if batch.output_dir is not None:
        if batch.template is not None:
            return [_templated(batch, name, index) for index, name in enumerate(inputs, 1)]
        return [below(batch.output_dir, batch.place(name), batch.suffix or "", batch.ext) for name in inputs]
    if batch.output is None and list(inputs) == ["-"] and batch.format is not None:
        from ..io import STANDARD_OUTPUT

        return [STANDARD_OUTPUT]
    if batch.output is None:
        raise click.UsageError("nowhere to write; give -o FILE, or -O DIR for several inputs")
    if len(inputs) > 1:
        raise click.UsageError(f"-o names one output, but there are {len(inputs)} inputs; use -O DIR")
    return [batch.output] * len(inputs)


def _refuse_contradictions(batch: Batch) -> None:
    names = {"--suffix": batch.suffix, "--ext": batch.ext, "--template": batch.template}
    without = [option for option, value in names.items() if value is not None]
    if batch.output is not None and batch.output_dir is not None:
        raise click.UsageError("-o names one output and -O a folder for many; give one of them")
    if batch.in_place and (batch.output or batch.output_dir or without or batch.format or batch.exists != "error"):
        raise click.UsageError(
            "--in-place replaces the inputs; options on outputs and --exists have no meaning with it"
        )
    if batch.output_dir is None and batch.template is not None:
        raise click.UsageError("--template makes names below -O; without -O it has no effect")
    if batch.output_dir is None and without:
        raise click.UsageError("--suffix and --ext make names below -O; without -O they have no effect")
    if batch.template is not None and batch.suffix is not None and "{suffix}" not in batch.template.text:
        raise click.UsageError("--suffix has no effect with a --template that has no {suffix} in it")
    if batch.template is not None and batch.ext is not None and "{ext}" not in batch.template.text:
        raise click.UsageError("--ext has no effect with a --template that has no {ext} in it")


def _templated(batch: Batch, name: str, index: int) -> Path:
    assert batch.template is not None and batch.output_dir is not None
    path = batch.place(name)
    stem, own = _split(path.name)
    ext = own if batch.ext is None else batch.ext
    names = {"dir": str(path.parent), "name": path.name, "stem": stem, "suffix": batch.suffix or "", "ext": ext}
    try:
        return batch.output_dir / batch.template.path({**names, "index": index})
    except ImgtoolError as error:
        raise click.BadParameter(str(error), param_hint="'--template'") from error


def below(folder: Path, name: str | PurePath, suffix: str, ext: str | None) -> Path:
    """The path of input `name` mirrored below `folder`: always inside it, whatever the name is."""
    inside = place(str(name))
    if inside.name in ("", ".."):
        return folder  # a folder given as an input, which fails as such
    stem, own = _split(inside.name)
    return folder / inside.with_name(stem + suffix + (own if ext is None else ext))


def _split(name: str) -> tuple[str, str]:
    """The name of a file without its extension, and that, which may be a double one such as .ome.tif."""
    from ..io.formats import extension_of

    length = len(extension_of(name))
    return (name[:-length], name[-length:]) if length else (name, "")


def named_outputs(
    option: str, name: str, inputs: Sequence[str], ext: str, batch: Batch
) -> tuple[list[Path], Path | None]:
    """The file that `option`, FILE or DIR/, names for each input, and the folder if it names one."""
    if not name:
        raise click.UsageError(f"the name at {option} is empty; write ./ for the current folder")
    if name.endswith("/") or (os.path.isdir(name) and not is_image_folder(name)):  # noqa: PTH112  never raises
        return [below(Path(name), batch.place(each), "", ext) for each in inputs], Path(name)
    if len(inputs) > 1:
        place = f"{option} {Path(name).with_suffix('')}/"
        raise click.UsageError(
            f"{option} names one file, but there are {len(inputs)} moving images; give it a folder: {place}"
        )
    return [Path(name)] * len(inputs), None


def make_plan(
    items: Sequence[Item],
    batch: Batch,
    *,
    fits: Callable[[Item], int],
    others: Sequence[str] = (),
    common: Sequence[CommonFile] = (),
    folders: Sequence[Path] = (),
) -> Plan:
    """Sort `items` into ready, skipped and failed, and find the folders that the ready ones need.

    `fits` raises an ImgtoolError when an item's input cannot be read or its output cannot hold the result, and
    estimates how many bytes the work needs; it looks at headers only. `others` are files that the results depend on
    besides the inputs; of them `common` are those that are read with each image. `folders` may be made besides the one
    named by -O. Of the items only those of this shard are in the plan, but all are held against each other.
    """
    profile = [] if batch.profile_out is None else [Item("--profile-out", {"profile": batch.profile_out})]
    _refuse_collisions([*items, *profile])
    _refuse_inputs_as_outputs(
        [*([] if batch.in_place else items), *profile], [*(item.input for item in items), *others]
    )
    plan = Plan([], [], [(Item(name, {}), error) for name, error in batch.found.failed], common, {})
    items = [item._replace(format=batch.format) for item in (batch.shard.part(items) if batch.shard else items)]
    _check_streams(items, batch)
    check_packing([f"a{batch.format}"] if batch.format else [path for item in items for path in _files(item)], batch)
    for item in items:
        try:
            if _is_done(item, batch.exists, others):
                plan.skipped.append(item)
                continue
            for output in _files(item):
                _refuse_folder(output)
            memory = fits(item)
            for output in _files(item):
                check_free(output, batch)
            plan.ready.append(item._replace(memory=memory))
        except (ImgtoolError, OSError) as error:
            plan.failed.append((item, error))
    roots = [*folders, *([] if batch.output_dir is None else [batch.output_dir])]
    goals = {output.parent: output for item in plan.ready for output in _files(item)}
    return plan._replace(folders=checked_folders(goals, roots))


def checked_folders(goals: Mapping[Path, Path], roots: Sequence[Path]) -> dict[Path, Path | None]:
    """The folders of outputs, each with that of `roots` below which it may be made; an ImgtoolError if one will not do.

    `goals` says for each folder for which output it is needed.
    """
    found = {folder: next((root for root in roots if folder.is_relative_to(root)), None) for folder in goals}
    for folder, root in found.items():
        _check_folder(folder, goals[folder], root)
    return found


@contextmanager
def output_folders(plan: Plan) -> Iterator[None]:
    """Make the folders that there are not yet; when the work is given up with nothing written, they go again."""
    from .. import io

    made: list[Path] = []
    try:
        for folder, root in plan.folders.items():
            if root is not None:
                made += _make_folder(folder)
            io.sweep(folder)
        yield
    except ImgtoolError:
        for folder in reversed(made):
            with suppress(OSError):
                folder.rmdir()
        raise


def _files(item: Item) -> list[Path]:
    """The outputs of an item that are files."""
    return [path for what, path in item.outputs.items() if not (what == "output" and item.to_stdout)]


def _check_streams(items: Sequence[Item], batch: Batch) -> None:
    """Refuse what cannot go through standard input and output."""
    if batch.in_place and any(item.input == "-" for item in items):
        raise click.UsageError("standard input cannot be replaced by --in-place; give -o")
    if batch.scheduler is not None and any(item.input == "-" or item.to_stdout for item in items):
        raise click.UsageError("a cluster works on files; standard input and output have no meaning with --scheduler")
    if not any(item.to_stdout for item in items):
        if batch.format is not None:
            raise click.UsageError("--format is for standard output, -o -; the format of a file follows its extension")
        return
    if batch.format is None:
        raise click.UsageError("standard output has no extension that tells the format; add --format, such as png")
    if batch.as_json or batch.dry_run:
        raise click.UsageError(
            "the image goes to standard output; give -o FILE to have --json or --dry-run print there"
        )
    if sys.stdout is None or sys.stdout.isatty():
        raise click.UsageError("the image would go to the terminal; redirect standard output, or give -o FILE")


def check_packing(names: Iterable[str | Path], writing: Batch | Writing) -> None:
    """Refuse an option on the packing of a format that no output has."""
    given = {
        "--png-level": (writing.png_level, ("PNG",)),
        "--compression": (writing.compression, ("TIFF", "OME-TIFF")),
        "--quality": (writing.quality, ("JPEG", "WebP")),
    }
    if all(value is None for value, _ in given.values()):
        return
    from ..io.formats import FORMATS, extension_of

    found = {extension_of(str(name)) for name in names}
    for option, (value, formats) in given.items():
        takers = [extension for entry in FORMATS if entry.name in formats for extension in entry.extensions]
        if value is not None and found and found.isdisjoint(takers):
            raise click.UsageError(f"{option} is for {', '.join(takers)}; no output is such a file")


def _folded(path: str) -> str:
    """The same for names that are one file where cases, or ways to compose a letter, make no difference."""
    if not path.isascii():
        from unicodedata import normalize  # 2 ms that few names need

        path = normalize("NFC", path)
    return path.casefold()


def _refuse_collisions(items: Iterable[Item]) -> None:
    seen: dict[str, str] = {}
    for item in items:
        for output in item.outputs.values():
            # Links are written through, and names that differ in case alone are one file on many file systems.
            key = _folded(os.path.realpath(output))
            if key in seen:
                raise click.UsageError(
                    f"{seen[key]} and {item.input} would both be written to {output}; give them other names or runs"
                )
            seen[key] = item.input


def _refuse_inputs_as_outputs(items: Sequence[Item], names: Sequence[str]) -> None:
    inputs = {identity for name in names if (identity := _identity(name))}
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
    outputs = item.outputs.values()
    if exists not in ("skip", "newer") or item.to_stdout or not outputs or not all(map(_is_written, outputs)):
        return False
    if exists == "skip":
        return True
    newest_input = max(Path(name).stat().st_mtime_ns for name in (item.input, *others))
    return newest_input <= min(output.stat().st_mtime_ns for output in outputs)


def _is_written(output: Path) -> bool:
    return output.is_file() or is_image_folder(output)


def check_free(output: Path, batch: Batch) -> None:
    """Refuse an output that exists, or is a folder, unless it may be replaced."""
    try:
        output.stat()
    except (FileNotFoundError, NotADirectoryError):
        return
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise ImgtoolError(f"{output}: cannot be written ({why})") from error
    _refuse_folder(output)
    if not batch.in_place and batch.exists not in ("overwrite", "newer"):
        raise ImgtoolError(f"{output}: exists already; use --exists overwrite, newer or skip")


def _refuse_folder(output: Path) -> None:
    if os.path.isdir(output) and not is_image_folder(output):  # noqa: PTH112  never raises
        raise ImgtoolError(f"{output}: is a folder; name a file, or use -O to write into it")


def _check_folder(folder: Path, output: Path, root: Path | None) -> None:
    """Refuse a folder that is not there, unless it may be made below `root`, and one that cannot be written to."""
    if root is not None and not Path(os.path.realpath(folder)).is_relative_to(os.path.realpath(root)):
        raise ImgtoolError(f"{folder}: a link that leads out of {root}; name the folder it leads to with -O")
    if root is not None:
        while not _is_there(folder) and folder != folder.parent:
            folder = folder.parent
    if not folder.is_dir():
        if root is not None:
            raise ImgtoolError(f"{output.parent}: the folder cannot be made ({folder} is a file); choose another")
        raise ImgtoolError(f"{output}: there is no folder {folder}; make it first, or write to another")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ImgtoolError(f"{output}: the folder {folder} is not writable; write to another")


def _is_there(folder: Path) -> bool:
    try:
        folder.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise ImgtoolError(f"{folder}: the folder cannot be made ({why}); choose another") from error
    return True


def _make_folder(folder: Path) -> list[Path]:
    """Make a folder; those that were made for it, the outermost first."""
    try:
        missing = [parent for parent in (folder, *folder.parents) if not parent.exists()]
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ImgtoolError(f"{folder}: the folder cannot be made ({error.strerror}); choose another") from error
    return missing[::-1]
