"""imgtool formats."""

import json
from typing import TYPE_CHECKING

import click

from .command import command

if TYPE_CHECKING:
    from ..io.formats import Format


@command
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per format.")
def formats(as_json: bool) -> int:
    """List the formats, and what each of them can hold.

    The format of an input is told by its first bytes, that of an output by its extension. An output that cannot hold
    the type, the channels or the pages of its image is refused before the work; of metadata that it cannot hold it is
    said so. GIF holds 256 colours for each frame: the best of more.
    OME-Zarr images are folders, and need the extra: pip install 'imgtool[zarr]'.
    """
    from ..io.formats import FORMATS

    for entry in FORMATS:
        if as_json:
            click.echo(json.dumps(_record(entry)))
        else:
            click.echo("\n".join(_lines(entry)))
    return 0


def _record(entry: "Format") -> dict[str, object]:
    holds = {layout: _ordered(entry.holds[layout]) for layout in entry.holds}
    return {
        "format": entry.name,
        "extensions": list(entry.extensions),
        "read": True,
        "write": True,
        "pages": entry.pages,
        "animation": entry.animation,
        "holds": holds,
        "keeps": sorted(entry.keeps),
    }


def _ordered(names: "frozenset[str] | set[str]") -> list[str]:
    from ..io.formats import DTYPES

    return [name for name in DTYPES if name in names]


def _lines(entry: "Format") -> list[str]:
    """A line for the format, one for each set of layouts that hold the same types, and one for what is kept."""
    pages = ", several pages" if entry.pages else ", animations" if entry.animation else ""
    lines = [f"{entry.name} ({' '.join(entry.extensions)}){pages}"]
    groups: dict[tuple[str, ...], list[str]] = {}
    for layout, names in entry.holds.items():
        groups.setdefault(tuple(_ordered(names)), []).append(layout)
    lines += [f"    {', '.join(layouts)}: {' '.join(names)}" for names, layouts in groups.items()]
    kept = ", ".join(sorted(key.replace("_", " ") for key in entry.keeps))
    return lines + [f"    metadata: {kept}"] * bool(kept)
