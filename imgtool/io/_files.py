"""Files opened and published: one sentence for whatever the system refuses, and never half a file."""

import errno
import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fcntl import LOCK_EX, LOCK_NB, flock
from io import BytesIO
from pathlib import Path
from time import time
from typing import BinaryIO

from ..errors import ImgtoolError, one_line

PathLike = str | os.PathLike[str]
STANDARD_OUTPUT = Path("/dev/stdout")
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
    return one_line(os.fspath(path))


def reason(error: OSError) -> str:
    """What the system says, in our words where those are clearer."""
    return _REASONS.get(error.errno or 0) or (error.strerror or str(error)).lower()


@contextmanager
def opened(path: PathLike) -> Iterator[BinaryIO]:
    """A seekable stream of the bytes of a file, or of standard input ("-"); what comes through a pipe is kept."""
    name = os.fspath(path)
    if not name:
        raise ImgtoolError("the name of the input file is empty")
    if "://" in name:
        raise ImgtoolError(f"{shown(path)}: imgtool fetches no URLs; download the file first")
    if (content := _known_pipe(name)) is not None:
        yield BytesIO(content)
        return
    if name == "-" and (sys.stdin is None or sys.stdin.isatty()):
        raise ImgtoolError("-: standard input is a terminal or closed; send an image into it")
    try:
        if name == "-":
            stream: BinaryIO = open(sys.stdin.fileno(), "rb", closefd=False)  # noqa: SIM115  no path
        else:
            stream = Path(name).open("rb")  # noqa: SIM115
    except OSError as error:
        raise ImgtoolError(f"{shown(path)}: {reason(error)}") from None
    except ValueError:
        raise ImgtoolError(f"{shown(path)}: not a file name") from None
    with stream:
        kind = os.fstat(stream.fileno())
        if stat.S_ISFIFO(kind.st_mode) or stat.S_ISSOCK(kind.st_mode) or name == "-":
            yield BytesIO(_piped(stream, kind))
        elif not stat.S_ISREG(kind.st_mode):
            raise ImgtoolError(f"{shown(path)}: not a file but a device")
        else:
            yield stream


# A pipe is read once, but looked at twice: for the header, and for the pixels.
_PIPES: dict[tuple[int, int], bytes] = {}


def _known_pipe(name: str) -> bytes | None:
    """What came through a pipe that has been read: to open it again would be to wait for another writer."""
    if not _PIPES or name == "-":
        return None
    try:
        kind = Path(name).stat()
    except (OSError, ValueError):
        return None
    return _PIPES.get((kind.st_dev, kind.st_ino)) if stat.S_ISFIFO(kind.st_mode) else None


def _piped(stream: BinaryIO, kind: os.stat_result) -> bytes:
    """All that comes through a pipe."""
    key = kind.st_dev, kind.st_ino
    _PIPES[key] = _PIPES.get(key, b"") + stream.read()
    return _PIPES[key]


@contextmanager
def published(path: PathLike, *, overwrite: bool) -> Iterator[BinaryIO]:
    """A stream whose bytes appear at `path` at once and whole when the block ends, and not at all if it fails.

    A symbolic link is written through. A new file gets the permissions that the umask leaves, a replaced one keeps
    its own. `STANDARD_OUTPUT` gets the bytes when the block ends.
    """
    if path == STANDARD_OUTPUT:
        buffer = BytesIO()
        yield buffer
        _send(memoryview(buffer.getvalue()))  # a view of the stream itself would forbid closing it after an error
        return
    try:
        goal = Path(os.path.realpath(path))
    except ValueError:
        raise ImgtoolError(f"{shown(path)}: not a file name") from None
    try:
        mode = _permissions(goal, path, overwrite=overwrite)
        draft = _Draft(goal)
    except OSError as error:
        raise refused(path, goal.parent, error) from None
    try:
        with draft.stream as stream:
            if mode is not None:
                with suppress(PermissionError):  # some file systems have no permissions to set
                    os.fchmod(stream.fileno(), mode)
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
            draft.publish(overwrite=overwrite)
    except FileExistsError:
        raise taken(path) from None
    except OSError as error:
        raise refused(path, goal.parent, error) from None
    finally:
        draft.discard()


def _send(content: memoryview) -> None:
    """Write to standard output, past Python's buffer: what that could not write it would try again at the end."""
    try:
        while content:
            content = content[os.write(sys.stdout.fileno(), content) :]
    except BrokenPipeError:
        raise  # nobody is left to tell
    except OSError as error:
        raise ImgtoolError(f"standard output: cannot be written: {reason(error)}") from None


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
        raise taken(path)
    if not os.access(goal, os.W_OK):
        raise OSError(errno.EACCES, "")
    return stat.S_IMODE(kind.st_mode)


class _Draft:
    """A file beside its goal that has no name until it is whole, where the system can do that: nothing can be left."""

    def __init__(self, goal: Path) -> None:
        self._goal = goal
        # Not tempfile.mkstemp: its files are private, and only the kernel applies the umask without a race.
        try:
            if not _HAS_NAMELESS:
                raise OSError(errno.EOPNOTSUPP, "")
            descriptor = os.open(goal.parent, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o666)
        except OSError as error:
            # EISDIR: a kernel that does not know the flag; the others: a file system that has no nameless files.
            if error.errno not in (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL):
                raise
            self._name: Path | None = odd_name(goal)
            self.stream: BinaryIO = self._name.open("x+b")
            with suppress(OSError):
                flock(self.stream, LOCK_EX | LOCK_NB)  # tells `sweep` that somebody is at work
        else:
            self._name = None
            # By its opener, so that it has the name that tifffile asks for.
            self.stream = open(goal, "w+b", opener=lambda *_: descriptor)  # noqa: SIM115

    def publish(self, *, overwrite: bool) -> None:
        """Give the file its name; FileExistsError if it is taken and may not be."""
        if not overwrite:
            try:
                self._link(self._goal)  # fails if the goal has appeared meanwhile, which a rename does not
                return
            except FileExistsError:
                raise
            except OSError:
                pass  # a file system without hard links: the name is claimed first, then replaced
        if self._name is None:
            self._name = self._named()
        if not overwrite:
            os.close(os.open(self._goal, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        self._name.replace(self._goal)

    def _link(self, name: Path) -> None:
        if self._name is not None:
            os.link(self._name, name)
            return
        folder = os.open(self._goal.parent, os.O_PATH | os.O_CLOEXEC)
        try:
            # A folder to start from makes Python call linkat, which alone can follow the link in /proc.
            os.link(f"/proc/self/fd/{self.stream.fileno()}", name.name, src_dir_fd=folder, dst_dir_fd=folder)
        finally:
            os.close(folder)

    def _named(self) -> Path:
        """The nameless file under an odd name."""
        name = odd_name(self._goal)
        try:
            self._link(name)
        except OSError:  # a system that has nameless files but cannot name them
            with name.open("xb") as copy:
                os.fchmod(copy.fileno(), stat.S_IMODE(os.fstat(self.stream.fileno()).st_mode))
                self.stream.seek(0)
                from shutil import copyfileobj  # 4 ms that files on disk do not spend

                copyfileobj(self.stream, copy)
                copy.flush()
                os.fsync(copy.fileno())
        return name

    def discard(self) -> None:
        """Take away what has not become the goal."""
        if self._name is not None:
            with suppress(OSError):
                self._name.unlink()


_HAS_NAMELESS = hasattr(os, "O_TMPFILE") and Path("/proc/self/fd").is_dir()


def sweep(folder: Path) -> None:
    """Take away the drafts of programs that were killed; there are none where files can be nameless.

    A draft that is locked or younger than a minute may still become a file.
    """
    for draft in folder.glob(f".imgtool-{'[0-9a-f]' * 16}.tmp"):
        if draft.is_dir():
            from ._folders import sweep_folder

            sweep_folder(draft)
            continue
        with suppress(OSError), draft.open("r+b") as stream:
            flock(stream, LOCK_EX | LOCK_NB)
            if time() - os.fstat(stream.fileno()).st_mtime > 60:
                draft.unlink()


@contextmanager
def scratch(folder: Path, content: bytes = b"") -> Iterator[Path]:
    """A file in `folder` for other processes to see, by a name that none can guess, for the block."""
    name = odd_name(folder / "any")
    try:
        stream = name.open("xb")
    except OSError as error:
        raise refused(folder, folder, error) from None
    with stream:
        try:
            with suppress(OSError):
                flock(stream, LOCK_EX | LOCK_NB)  # tells `sweep` that it is needed
            try:
                stream.write(content)
                stream.flush()
            except OSError as error:
                raise refused(folder, folder, error) from None
            yield name
        finally:
            with suppress(OSError):
                name.unlink()


def odd_name(goal: Path) -> Path:
    """A name beside the goal that nobody can guess."""
    return goal.parent / f".imgtool-{os.urandom(8).hex()}.tmp"


def taken(path: PathLike) -> ImgtoolError:
    """What is said where something has that name and may not be overwritten."""
    return ImgtoolError(f"{shown(path)}: the file exists; choose another name or allow it to be overwritten")


def refused(path: PathLike, folder: Path, error: OSError) -> ImgtoolError:
    """What is said where the system does not let one write."""
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        return ImgtoolError(f"{shown(path)}: cannot be written: there is no directory {shown(folder)}; create it first")
    # NumPy raises an OSError without a number when it could write only a part of an array.
    why = reason(error) if error.errno else f"the disk may be full ({error})"
    return ImgtoolError(f"{shown(path)}: cannot be written: {why}")
