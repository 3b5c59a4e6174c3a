"""Files that all items of a batch need: paths travel to wherever the work is done, and each is read there once."""

from pathlib import Path
from typing import NamedTuple


class CommonFile(NamedTuple):
    """A file by its path and age, which together are a key for what has been read of it."""

    name: str  # as it was given
    path: str  # for processes whose current folder is another
    changed: int

    @classmethod
    def found(cls, name: str) -> "CommonFile":
        """The file of this name, whether there is one or not: who reads it says so."""
        path = Path(name).absolute()
        try:
            changed = path.stat().st_mtime_ns
        except (OSError, ValueError):
            changed = 0
        return cls(name, str(path), changed)

    @property
    def here(self) -> str:
        """A name that leads to the file from this process: the given one, if it does."""
        return self.name if Path(self.name).absolute() == Path(self.path) else self.path
