"""Names of outputs made of those of the inputs: `--template '{dir}/{stem}{suffix}{ext}'`."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePath
from string import Formatter

from ..errors import ImgtoolError

FIELDS = ("dir", "name", "stem", "suffix", "ext", "index")
_WIDTH = re.compile(r"0?[1-9]?d?")


@dataclass(frozen=True)
class Template:
    """A path below the output folder, with fields in braces."""

    text: str

    def path(self, values: Mapping[str, str | int]) -> PurePath:
        """The path for one input; an ImgtoolError if it would not lie below the output folder."""
        made = self.text.format_map(values)
        path = PurePath(made)
        if path.is_absolute() or ".." in path.parts or path.name == "" or "\0" in made:
            raise ImgtoolError(f"template {self.text!r} gives {made!r}, which is no file below the folder of -O")
        return path


def parse_template(text: str) -> Template:
    """Read a template; an ImgtoolError says what is wrong with it.

    Examples
    --------
    >>> names = {"dir": "scans", "name": "a.tif", "stem": "a", "suffix": "", "ext": ".png", "index": 7}
    >>> str(parse_template("{dir}/{stem}-{index:04}{ext}").path(names))
    'scans/a-0007.png'
    """
    try:
        parts = list(Formatter().parse(text))
    except ValueError as error:
        raise ImgtoolError(f"template {text!r} is no template ({error}); a brace itself is written twice") from None
    for _, name, width, conversion in parts:
        if name is None:
            continue
        if name not in FIELDS or conversion:
            braced = ", ".join(f"{{{known}}}" for known in FIELDS)
            raise ImgtoolError(f"template {text!r} has a field {{{name}}}; there are {braced}")
        if width and not (name == "index" and _WIDTH.fullmatch(width)):
            raise ImgtoolError(f"template {text!r}: only {{index}} can have a width, such as {{index:04}}")
    if not any(name in ("name", "stem", "index") for _, name, _, _ in parts):
        raise ImgtoolError(f"template {text!r} gives every input one name; use {{stem}}, {{name}} or {{index}}")
    return Template(text)
