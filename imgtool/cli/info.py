"""imgtool info."""

import json
import sys
from typing import TYPE_CHECKING, Any

import click

from .. import batch as batches
from ..errors import one_line
from .command import command
from .inputs import gather
from .options import input_options, inputs_argument
from .plan import Item
from .report import sentence

if TYPE_CHECKING:
    from ..io import Info


@command
@inputs_argument("images", "IMAGE")
@input_options
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per image.")
def info(images: tuple[str, ...], recursive: bool, files_from: str | None, null: bool, as_json: bool) -> int:
    """Tell size, type, pages and metadata of images from their headers.

    \b
    imgtool info scan.tif
    imgtool info -r scans/ --json | jq -r 'select(.pages > 1) | .input'

    No pixels are decoded. An image that cannot be read is one line on standard error; the others are told all the same,
    and the exit status is 1.
    """
    found = gather(images, files_from=files_from, null=null, recursive=recursive)
    failed: list[tuple[str, Exception]] = [*found.failed]
    for name, result in batches.run(_described, found.names, None, window=1):
        if isinstance(result, Exception):
            failed.append((name, result))
        else:
            click.echo(json.dumps(result, allow_nan=False) if as_json else _line(result))
    for name, error in failed:
        problem = sentence(Item(name, {}), error)
        if as_json:
            click.echo(json.dumps({"input": name, "error": problem}))
        click.echo(f"Error: {problem}", file=sys.stderr)
    return 1 if failed else 0


def _described(name: str) -> dict[str, Any]:
    from .. import io
    from ..io.summary import summary

    header, metadata = io.describe(name)
    return {"input": name, **_told(header), "metadata": summary(metadata)}


def _told(header: "Info") -> dict[str, Any]:
    channels = 1 if header.channel_axis is None else header.shape[-1]
    height, width = header.shape[-2:] if header.channel_axis is None else header.shape[-3:-1]
    return {
        "format": header.format,
        "width": width,
        "height": height,
        "channels": channels,
        "alpha": header.has_alpha,
        "pages": header.pages,
        "animated": header.animated,
        "dtype": str(header.dtype),
        "shape": list(header.shape),
    }


def _line(record: dict[str, Any]) -> str:
    """The same in words, as one line."""
    channels = {(1, False): "gray", (2, True): "gray and alpha", (3, False): "RGB", (4, True): "RGBA"}
    what = channels.get((record["channels"], record["alpha"]), f"{record['channels']} channels")
    unit = "frames" if record["animated"] else "pages"
    pages = f", {record['pages']} {unit}" if record["pages"] > 1 else ""
    kept = ", ".join(sorted(_words(key, record["metadata"][key]) for key in record["metadata"] if key != "alpha"))
    size = f"{record['width']} x {record['height']}"
    text = f"{record['input']}: {record['format']}, {size}, {what}, {record['dtype']}{pages}"
    return one_line(text + (f"; {kept}" if kept else ""))


_VOLUMES = {"ome_xml": "OME-XML", "nifti": "nifti", "ome_zarr": "OME-Zarr"}
_NAMES = {
    "imagej": "ImageJ's notes",
    "imagej_tags": "ImageJ's labels and ranges",
    "pages": "entries of single pages",
    "tiff_tags": "further TIFF tags",
}


def _words(key: str, value: Any) -> str:
    """An entry of the metadata by its name, and what is short and worth knowing of it."""
    if key in _VOLUMES and value:
        axes = " ".join(f"{axis}={size}" for axis, size in value["axes"].items())
        sizes = [f"{axis} {size:g} {unit}" for axis, (size, unit) in value.get("pixel_size", {}).items()]
        return f"{_VOLUMES[key]} ({'; '.join(filter(None, [axes, *sizes]))})"
    if key == "frames":
        plays = f"{value['plays']} times" if value["plays"] else "for ever"
        return f"{sum(value['durations']) / 1000:g} s, {plays}"
    if key == "further_images":
        return f"{value} further images (reduced copies, labels)"
    if key == "private":
        return f"private entries ({', '.join(map(str, value))})"
    if key in _NAMES:
        return _NAMES[key]
    return f"{value} compression" if key == "compression" else key.replace("_", " ")
