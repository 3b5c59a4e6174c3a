"""Images that are folders: told from folders of images, and published whole or not at all."""

import ctypes
import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fcntl import LOCK_EX, LOCK_NB, flock
from pathlib import Path
from time import time

from ..errors import ImgtoolError
from ._files import PathLike, odd_name, refused, shown, taken

_MARKS = ("zarr.json", ".zattrs", ".zgroup")
_EXCHANGE, _AT_CWD = 2, -100  # of renameat2(2)
_DAY = 86_400


def is_image_folder(path: PathLike) -> bool:
    """Whether a path is a folder that is one image: by its name, or by what is in it."""
    name = os.fspath(path)
    if not os.path.isdir(name):  # noqa: PTH112  Path.is_dir raises for names that are too long
        return False
    return name.rstrip("/").lower().endswith(".zarr") or is_store(name)


def is_store(folder: PathLike) -> bool:
    """Whether there are the marks of Zarr in a folder."""
    return any(os.path.isfile(os.path.join(folder, mark)) for mark in _MARKS)  # noqa: PTH113, PTH118  see above


@contextmanager
def published_folder(path: PathLike, *, overwrite: bool) -> Iterator[Path]:
    """A folder beside `path` that gets its name at once when the block ends, and goes if it fails.

    Only a folder of Zarr is replaced, never another.
    """
    goal = Path(os.path.realpath(path))
    try:
        _check(goal, path, overwrite=overwrite)
        draft = odd_name(goal)
        draft.mkdir()
        lock = os.open(draft, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise refused(path, goal.parent, error) from None
    try:
        with suppress(OSError):
            flock(lock, LOCK_EX | LOCK_NB)  # tells `sweep_folders` that somebody is at work
        yield draft
        _flush(draft)
        _publish(draft, goal, overwrite=overwrite)
    except OSError as error:
        if error.errno in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):
            raise taken(path) from None
        raise refused(path, goal.parent, error) from None
    finally:
        os.close(lock)
        _remove(draft)


def _check(goal: Path, path: PathLike, *, overwrite: bool) -> None:
    try:
        kind = goal.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISDIR(kind.st_mode):
        raise ImgtoolError(f"{shown(path)}: a file, and OME-Zarr images are folders; choose another name")
    if not overwrite:
        raise taken(path)
    if not is_store(goal):
        raise ImgtoolError(f"{shown(path)}: a folder that holds no OME-Zarr image is not replaced; choose another name")


def _flush(folder: Path) -> None:
    for parent, _, names in os.walk(folder):
        for name in names:
            descriptor = os.open(Path(parent, name), os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)


def _publish(draft: Path, goal: Path, *, overwrite: bool) -> None:
    if not overwrite or not goal.exists():
        draft.rename(goal)
        return
    if _exchanged(draft, goal):
        return  # what was there has the draft's name now, and goes with it
    # Under this name it is not swept away, should the program end between the two steps.
    aside = odd_name(goal).with_suffix(".old")
    goal.rename(aside)
    try:
        draft.rename(goal)
    except OSError:
        aside.rename(goal)
        raise
    _remove(aside)


def _exchanged(one: Path, other: Path) -> bool:
    """Whether the system could let two folders change their names at once."""
    try:
        rename = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError):
        return False
    return bool(rename(_AT_CWD, os.fsencode(one), _AT_CWD, os.fsencode(other), _EXCHANGE) == 0)


def _remove(folder: Path) -> None:
    from shutil import rmtree

    rmtree(folder, ignore_errors=True)


def sweep_folder(draft: Path) -> None:
    """Take away the draft of a program that was killed, if nobody holds it and it is a day old.

    Other machines may not see the lock, nor does a folder show that files deep in it are written.
    """
    with suppress(OSError):
        descriptor = os.open(draft, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            flock(descriptor, LOCK_EX | LOCK_NB)
            if time() - os.fstat(descriptor).st_mtime > _DAY:
                _remove(draft)
        finally:
            os.close(descriptor)
