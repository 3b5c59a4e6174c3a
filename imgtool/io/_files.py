"""Files opened and published: one sentence for whatever the system refuses, and never half a file."""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from ..errors import ImgtoolError

PathLike = str | os.PathLike[str]
_REASONS = {
    errno.ENOENT: "no such file",
    errno.ENOTDIR: "no such file (imgtool does not look into archives)",
    errno.EISDIR: "a directory, not a file",
    errno.EACCES: "permission denied",
    errno.EPERM: "permission denied",
    errno.ELOOP: "a symbolic link that leads back to itself",
    errno.ENAMETOOLONG: "the name is too long",
    errno.ENOSPC: "the disk is full",
    errno.EROFS: "the file system is read-only",
    errno.EFBIG: "the file would be larger than this system allows",
}


def shown(path: PathLike) -> str:
    """`path` as it can stand in a one-line message: odd characters and undecodable bytes escaped."""
    text = os.fspath(path)
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)


def reason(error: OSError) -> str:
    """What the system says, in our words where those are clearer."""
    return _REASONS.get(error.errno or 0) or (error.strerror or str(error)).lower()


@contextmanager
def opened(path: PathLike) -> Iterator[BinaryIO]:
    """A seekable stream of the bytes of a file; a pipe is read to its end first."""
    name = os.fspath(path)
    if not name:
        raise ImgtoolError("the name of the input file is empty")
    if "://" in name:
        raise ImgtoolError(f"{shown(path)}: imgtool fetches no URLs; download the file first")
    try:
        stream: BinaryIO = Path(name).open("rb")  # noqa: SIM115
    except OSError as error:
        raise ImgtoolError(f"{shown(path)}: {reason(error)}") from None
    except ValueError:
        raise ImgtoolError(f"{shown(path)}: not a file name") from None
    with stream:
        kind = os.fstat(stream.fileno())
        if stat.S_ISFIFO(kind.st_mode):
            yield BytesIO(stream.read())
        elif not stat.S_ISREG(kind.st_mode):
            raise ImgtoolError(f"{shown(path)}: not a file but a device")
        else:
            yield stream


@contextmanager
def published(path: PathLike, *, overwrite: bool) -> Iterator[BinaryIO]:
    """A stream whose bytes appear at `path` at once and whole when the block ends, and not at all if it fails.

    A symbolic link is written through. A new file gets the permissions that the umask leaves, a replaced one keeps
    its own.
    """
    try:
        goal = Path(os.path.realpath(path))
    except ValueError:
        raise ImgtoolError(f"{shown(path)}: not a file name") from None
    temporary = goal.parent / f".imgtool-{os.urandom(8).hex()}.tmp"
    try:
        mode = _permissions(goal, path, overwrite=overwrite)
        # Not tempfile.mkstemp: its files are private, and only the kernel applies the umask without a race.
        stream: BinaryIO = temporary.open("x+b")
    except OSError as error:
        raise _refused(path, goal.parent, error) from None
    try:
        with stream:
            if mode is not None:
                with suppress(PermissionError):  # some file systems have no permissions to set
                    temporary.chmod(mode)
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        _publish(temporary, goal, overwrite=overwrite)
    except FileExistsError:
        raise _exists(path) from None
    except OSError as error:
        raise _refused(path, goal.parent, error) from None
    finally:
        with suppress(OSError):
            temporary.unlink()


def _permissions(goal: Path, path: PathLike, *, overwrite: bool) -> int | None:
    """The permissions of the file to be replaced, None if there is none."""
    try:
        kind = goal.lstat()
    except FileNotFoundError:
        return None
    if stat.S_ISDIR(kind.st_mode):
        raise ImgtoolError(f"{shown(path)}: a directory, not a file; name a file in it")
    if stat.S_ISLNK(kind.st_mode):
        raise OSError(errno.ELOOP, "")
    if not stat.S_ISREG(kind.st_mode):
        raise ImgtoolError(f"{shown(path)}: not a file but a device; imgtool writes files only")
    if not overwrite:
        raise _exists(path)
    if not os.access(goal, os.W_OK):
        raise OSError(errno.EACCES, "")
    return stat.S_IMODE(kind.st_mode)


def _publish(temporary: Path, goal: Path, *, overwrite: bool) -> None:
    if not overwrite:
        try:
            os.link(temporary, goal)  # fails if the goal has appeared meanwhile, which a rename does not
            return
        except FileExistsError:
            raise
        except OSError:
            # A file system without hard links: the name is claimed first, then replaced.
            os.close(os.open(goal, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
    temporary.replace(goal)


def _exists(path: PathLike) -> ImgtoolError:
    return ImgtoolError(f"{shown(path)}: the file exists; choose another name or allow it to be overwritten")


def _refused(path: PathLike, folder: Path, error: OSError) -> ImgtoolError:
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        return ImgtoolError(f"{shown(path)}: cannot be written: there is no directory {shown(folder)}; create it first")
    # NumPy raises an OSError without a number when it could write only a part of an array.
    why = reason(error) if error.errno else f"the disk may be full ({error})"
    return ImgtoolError(f"{shown(path)}: cannot be written: {why}")
