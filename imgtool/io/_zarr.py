"""OME-Zarr images, folders of chunks, through zarr, which is an extra: the planes of the largest level as pages.

https://ngff.openmicroscopy.org/0.4/ and /0.5/
"""

import json
import math
import os
import re
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..errors import ImgtoolError
from . import _ome
from ._files import shown
from ._image import Array, Image, Info, Metadata, Source, layout

_LARGEST_JSON = 1 << 24
_LARGEST_CHUNK = 1 << 31  # bytes, the limit of Blosc as well
_LARGEST_CACHE = 1 << 28  # bytes of planes that are kept because their chunks hold more planes than one
_TINY = 1024  # pixels; an image in many chunks smaller than that costs time without end
_MANY = 1 << 14
_TILE = 1024  # pixels on a side of the chunks that are written
_PATH = re.compile(r"[\w .+-]+(/[\w .+-]+)*", re.ASCII)
_NUMBER = re.compile(r"(bool|u?int(8|16|32|64)|float(16|32|64)|complex(64|128)|[<>|][biufc]\d{1,2})", re.ASCII)
# What stores numbers without running code or reading other files.
_CODECS = {"blosc", "zstd", "zlib", "gzip", "lz4", "bz2", "lzma", "delta", "shuffle", "bitround", "crc32", "crc32c"} | {
    "adler32",
    "fletcher32",
    "bytes",
    "transpose",
    "sharding_indexed",
}
_METRES = {
    "meter": 1.0,
    "decimeter": 1e-1,
    "centimeter": 1e-2,
    "millimeter": 1e-3,
    "micrometer": 1e-6,
    "nanometer": 1e-9,
    "angstrom": 1e-10,
    "picometer": 1e-12,
    "inch": 0.0254,
}
_TYPES = {"t": "time", "c": "channel", "z": "space", "y": "space", "x": "space"}


def check_installed() -> None:
    """Refuse OME-Zarr where its extra is missing, without the 0.4 s that it takes to load."""
    if find_spec("zarr") is None:
        raise ImgtoolError("OME-Zarr needs the extra zarr; pip install 'imgtool[zarr]'")


def _zarr() -> Any:
    check_installed()
    import zarr

    return zarr


class _Level(NamedTuple):
    """The array of the largest level, by its own metadata, which are checked before zarr sees them."""

    path: str
    format: int
    shape: tuple[int, ...]
    chunks: tuple[int, ...]
    stored: int  # the most bytes that a file of it may have


def open_image(folder: Path, _format: str) -> Source:
    """The metadata of an OME-Zarr folder."""
    root = Path(os.path.realpath(folder))
    image = _multiscale(root)
    level = _level(root, image["path"], image["format"])
    axes = image["axes"] or [{"name": name} for name in "tczyx"[-len(level.shape) :]]
    names = [axis["name"] for axis in axes]
    if not 2 <= len(level.shape) == len(names) or names[-2:] != ["y", "x"] or len(set(names)) < len(names):
        told = shown(", ".join(names)[:80])
        raise ImgtoolError(f"its axes are {told}, but those of its array should end in y, x")
    scale, translation = _placed(image["transformations"], len(names))
    *sizes, height, width = level.shape
    pages = math.prod(sizes)
    array = _zarr().open_array(_confined(root, level.stored), path=level.path, mode="r", zarr_format=level.format)
    shape, channel_axis = layout(height, width, 1, pages)
    kept: Metadata = {"version": image["version"], "name": image["name"], "axes": axes, "sizes": sizes, "scale": scale}
    if image["omero"]:
        kept["omero"] = image["omero"]
    metadata: Metadata = {"ome_zarr": kept}
    if any(translation):
        metadata["origin"] = {"size": (height, width), "translation": translation}
    if resolution := _resolution(axes, scale):
        metadata["resolution"] = resolution
    if image["others"]:
        metadata["further_images"] = image["others"]
    planes = _Planes(array, level.chunks)

    def decode() -> Array:
        return np.asarray(array[...]).reshape(shape)

    info = Info("OME-Zarr", shape, np.dtype(array.dtype).newbyteorder("="), channel_axis, pages)
    return Source(info, metadata, decode, planes.page)


class _Planes:
    """The planes of an array one by one, those that share chunks kept together where that is not too much."""

    def __init__(self, array: Any, chunks: tuple[int, ...]) -> None:
        self._array, self._sizes = array, array.shape[:-2]
        depth = chunks[-3] if len(chunks) > 2 else 1
        plane = math.prod(array.shape[-2:]) * array.dtype.itemsize
        self._depth = depth if depth * plane <= _LARGEST_CACHE else 1
        self._at: tuple[int, ...] = ()
        self._kept = np.empty(0)

    def page(self, number: int) -> Array:
        """The plane of this number."""
        if not self._sizes:
            return np.asarray(self._array[...])
        *before, place = (int(index) for index in np.unravel_index(number, self._sizes))
        start = place - place % self._depth
        if self._at != (*before, start):
            self._kept = np.asarray(self._array[(*before, slice(start, start + self._depth))])
            self._at = (*before, start)
        return np.array(self._kept[place - start])


def _confined(root: Path, largest: int) -> Any:
    """A store that reads regular files below `root`, none of which is larger than what it should hold."""
    _zarr()
    from zarr.storage import LocalStore

    class Confined(LocalStore):  # type: ignore[misc, unused-ignore]
        async def get(self, key: str, *args: Any, **options: Any) -> Any:
            _check_file(root, key, largest)
            return await super().get(key, *args, **options)

    return Confined(root, read_only=True)


def _check_file(root: Path, key: str, largest: int) -> None:
    path = root / key
    real = Path(os.path.realpath(path))
    if not real.is_relative_to(root):
        raise ImgtoolError(f"{shown(key)}: a link that leads out of it")
    try:
        kind = real.stat()
    except (FileNotFoundError, NotADirectoryError):
        return
    if not stat.S_ISDIR(kind.st_mode) and (not stat.S_ISREG(kind.st_mode) or kind.st_size > largest):
        raise ImgtoolError(f"{shown(key)}: no file, or larger than a chunk can be")


def _document(root: Path, *keys: str) -> tuple[str, dict[str, Any]]:
    """The first of these files that is there, and the object in it."""
    for key in keys:
        if (root / key).exists():
            _check_file(root, key, _LARGEST_JSON)
            try:
                found = json.loads((root / key).read_bytes())
            except (ValueError, RecursionError, IsADirectoryError):
                found = None
            if not isinstance(found, dict):
                raise ImgtoolError(f"{shown(key)}: holds no JSON object; copy or download it again")
            return key.rpartition("/")[2], found
    raise ImgtoolError(f"a folder without {' or '.join(key.rpartition('/')[2] for key in keys)} is no OME-Zarr image")


def _multiscale(root: Path) -> dict[str, Any]:
    """The first image that the attributes of a group tell of."""
    name, found = _document(root, "zarr.json", ".zattrs", ".zgroup", ".zarray")
    attributes = _dict(found.get("attributes")) if name == "zarr.json" else found
    attributes = _dict(attributes.get("ome")) if name == "zarr.json" else attributes
    images = [image for image in _list(attributes.get("multiscales")) if isinstance(image, dict)]
    if not images:
        inside = "a plate of wells" if "plate" in attributes else "no OME-Zarr image of its own"
        raise ImgtoolError(f"holds {inside}; name the folder of one image in it, such as {_example(root)}")
    image = images[0]
    datasets = [dataset for dataset in _list(image.get("datasets")) if isinstance(dataset, dict)]
    path = datasets[0].get("path") if datasets else None
    if not isinstance(path, str) or not _PATH.fullmatch(path) or {".", ".."} & set(path.split("/")):
        raise ImgtoolError(f"the path of its first level, {shown(str(path)[:80])}, leads to no array in it")
    axes = [{"name": axis} if isinstance(axis, str) else axis for axis in _list(image.get("axes"))]
    if not all(isinstance(axis, dict) and isinstance(axis.get("name"), str) for axis in axes):
        raise ImgtoolError("its axes have no names; it needs those of OME-Zarr 0.3 or later")
    labels = sum(1 for _ in (root / "labels").glob("*/")) if (root / "labels").is_dir() else 0
    version = attributes.get("version") if name == "zarr.json" else image.get("version")
    return {
        "format": 3 if name == "zarr.json" else 2,
        "version": version if isinstance(version, str) else "0.4",
        "name": image.get("name") if isinstance(image.get("name"), str) else "",
        "path": path,
        "axes": axes,
        "transformations": [datasets[0].get("coordinateTransformations"), image.get("coordinateTransformations")],
        "omero": _dict(attributes.get("omero")),
        "others": len(datasets) - 1 + len(images) - 1 + labels,
    }


def _example(root: Path) -> str:
    inner = sorted(path.parent.relative_to(root.parent) for path in root.glob("*/.zattrs"))
    inner += sorted(path.parent.relative_to(root.parent) for path in root.glob("*/zarr.json"))
    return shown(inner[0] if inner else f"{root.name}/A/1/0")


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _level(root: Path, path: str, version: int) -> _Level:
    """What the array's own metadata say; refused if zarr would do anything but read numbers."""
    _, found = _document(root, f"{path}/zarr.json" if version == 3 else f"{path}/.zarray")
    grid = _dict(_dict(found.get("chunk_grid")).get("configuration")) if version == 3 else found
    shape, chunks = _sizes(found.get("shape")), _sizes(grid.get("chunk_shape" if version == 3 else "chunks"))
    kind = found.get("data_type" if version == 3 else "dtype")
    if not shape or len(shape) != len(chunks):
        raise ImgtoolError("its array has no shape and chunks that make an image")
    if not isinstance(kind, str) or not _NUMBER.fullmatch(kind):
        raise ImgtoolError(f"arrays of {shown(str(kind)[:80])} are no images; it needs integers or floats")
    codecs = _list(found.get("codecs")) if version == 3 else [found.get("compressor"), *_list(found.get("filters"))]
    itemsize = np.dtype(kind).itemsize
    stored = math.prod(chunks) * itemsize
    chunks = _checked_codecs(codecs) or chunks
    if (length := math.prod(chunks) * itemsize) > _LARGEST_CHUNK:
        raise ImgtoolError(f"its chunks of {length} bytes are larger than {_LARGEST_CHUNK}; store it in smaller ones")
    pieces = math.prod(-(-size // chunk) for size, chunk in zip(shape, chunks, strict=False))
    if pieces > _MANY and math.prod(shape) / pieces < _TINY:
        raise ImgtoolError(f"it is stored in {pieces} chunks of less than {_TINY} pixels; store it in larger ones")
    # What does not become smaller may become a little larger, and what is small has a header.
    return _Level(path, version, shape, chunks, max(2 * stored, _LARGEST_JSON))


def _sizes(value: Any) -> tuple[int, ...]:
    sizes = _list(value)
    return tuple(sizes) if all(type(size) is int and 0 < size < 1 << 40 for size in sizes) else ()


def _checked_codecs(codecs: list[Any]) -> tuple[int, ...]:
    """The chunks within shards, if there are any; refused if a codec is not known to be safe."""
    inner: tuple[int, ...] = ()
    for codec in codecs:
        if codec is None:
            continue
        name = _dict(codec).get("name", _dict(codec).get("id"))
        if not isinstance(name, str) or name.removeprefix("numcodecs.") not in _CODECS:
            raise ImgtoolError(f"the codec {shown(str(name)[:80])} is not supported; store it with blosc, zstd or gzip")
        if name == "sharding_indexed":
            shards = _dict(_dict(codec).get("configuration"))
            inner = _sizes(shards.get("chunk_shape"))
            _checked_codecs(_list(shards.get("codecs")) + _list(shards.get("index_codecs")))
    return inner


def _placed(transformations: list[Any], count: int) -> tuple[list[float], list[float]]:
    """Scale and translation of the level and of the whole image, one after the other."""
    scale, translation = [1.0] * count, [0.0] * count
    for part in transformations:
        for step in _list(part):
            values = _numbers(_dict(step).get(str(_dict(step).get("type"))), count)
            if _dict(step).get("type") == "scale" and values and min(values) > 0:
                scale = [one * other for one, other in zip(scale, values, strict=True)]
                translation = [one * other for one, other in zip(translation, values, strict=True)]
            elif _dict(step).get("type") == "translation" and values:
                translation = [one + other for one, other in zip(translation, values, strict=True)]
    return scale, translation


def _numbers(value: Any, count: int) -> list[float]:
    numbers = [float(n) for n in _list(value) if isinstance(n, int | float) and abs(n) < 1e30]
    return numbers if len(numbers) == len(_list(value)) == count else []


def _resolution(axes: list[dict[str, Any]], scale: list[float]) -> tuple[float, float, str] | None:
    """Pixels in a centimetre, if the axes have units of length."""
    y, x = (
        _METRES.get(str(axis.get("unit")), 0.0) * step * 100 for axis, step in zip(axes[-2:], scale[-2:], strict=True)
    )
    return (1 / x, 1 / y, "cm") if min(x, y) > 1e-20 else None


def unfit(image: Image, pages: int) -> set[str]:
    """The entries that describe another array than this one, and so are left out."""
    metadata = image.metadata
    found = {"ome_zarr"} if "ome_zarr" in metadata and math.prod(metadata["ome_zarr"]["sizes"]) != pages else set()
    moved = "origin" in metadata and metadata["origin"]["size"] != image.pages[0].shape[:2]
    return found | ({"origin"} if moved or (found and "origin" in metadata) else set())


def _new(image: Image, pages: int) -> Metadata:
    """What is said of an image that comes from elsewhere: pages are a stack along z, or what its OME-XML says."""
    found = _ome.summary(image.metadata.get("ome_xml", ""))
    sizes = {name.lower(): size for name, size in found.get("axes", {}).items() if name not in "YX"}
    if math.prod(sizes.values()) != pages:
        sizes, found = {"z": pages} if pages > 1 else {}, {}
    x, y, unit = image.metadata.get("resolution", (1.0, 1.0, "none"))
    steps = {}
    if length := {"inch": 25_400.0, "cm": 10_000.0}.get(unit):
        steps = {"y": (length / y, "µm"), "x": (length / x, "µm")}
    steps |= {name: step for name, step in found.get("pixel_size", {}).items() if step[0] > 0}
    names = [*sorted(sizes, key="tcz".index), "y", "x"]
    axes: list[Metadata] = [{"name": name, "type": _TYPES[name]} for name in names]
    for axis in axes:
        if axis["name"] in steps and steps[axis["name"]][1] in _ome.LENGTHS:
            axis["unit"] = _ome.LENGTHS[steps[axis["name"]][1]]
    # Pages come in the order of `sizes`, which need not be that of the axes.
    return {
        "version": "0.4",
        "name": "",
        "axes": axes,
        "sizes": [sizes[name] for name in names[:-2]],
        "scale": [steps.get(name, (1.0, ""))[0] for name in names],
        "order": [list(sizes).index(name) for name in names[:-2]],
    }


def summary(said: Metadata) -> Metadata:
    """The slow axes with their sizes, and the sizes of pixels."""
    steps = zip(said["axes"], said["scale"], strict=True)
    found: Metadata = {
        "axes": {axis["name"]: size for axis, size in zip(said["axes"], said["sizes"], strict=False)},
        "pixel_size": {axis["name"]: (step, axis["unit"]) for axis, step in steps if isinstance(axis.get("unit"), str)},
    }
    labels = [_dict(channel).get("label") for channel in _list(said.get("omero", {}).get("channels"))]
    return found | ({"channels": labels} if labels and all(isinstance(label, str) for label in labels) else {})


@contextmanager
def page_writer(folder: Path, first: Image, pages: int, _format: str) -> Iterator[Callable[[Array], None]]:
    """What writes page after page into a folder that is there and empty."""
    zarr = _zarr()
    kept = first.metadata.keys() - unfit(first, pages)
    said = first.metadata["ome_zarr"] if "ome_zarr" in kept else _new(first, pages)
    height, width = first.pages[0].shape[:2]
    newer = said["version"] not in ("0.1", "0.2", "0.3", "0.4")
    steps: list[dict[str, Any]] = [{"type": "scale", "scale": said["scale"]}]
    if {"ome_zarr", "origin"} <= kept:
        steps.append({"type": "translation", "translation": first.metadata["origin"]["translation"]})
    image = {"axes": said["axes"], "datasets": [{"path": "0", "coordinateTransformations": steps}]}
    image |= {"name": said["name"]} if said["name"] else {}
    attributes = {"multiscales": [image if newer else {"version": "0.4"} | image]}
    attributes |= {"omero": said["omero"]} if "omero" in said else {}
    group = zarr.open_group(folder, mode="w", zarr_format=3 if newer else 2)
    group.attrs.update({"ome": {"version": "0.5"} | attributes} if newer else attributes)
    array = group.create_array(
        "0",
        shape=(*said["sizes"], height, width),
        chunks=(1,) * len(said["sizes"]) + (min(height, _TILE), min(width, _TILE)),
        dtype=first.data.dtype,
        compressors=_compressor(newer),
        fill_value=0,
        chunk_key_encoding={"name": "default" if newer else "v2", "separator": "/"},
        dimension_names=[axis["name"] for axis in said["axes"]] if newer else None,
    )
    order = said.get("order", range(len(said["sizes"])))
    places = np.ndindex(*(said["sizes"][list(order).index(axis)] for axis in range(len(order))))

    def write(page: Array) -> None:
        place = next(places)
        array[tuple(place[axis] for axis in order)] = np.ascontiguousarray(page, first.data.dtype)

    yield write


def _compressor(newer: bool) -> Any:
    """Zstandard at its fastest, of bytes sorted by their places in the numbers."""
    if newer:
        from zarr.codecs import BloscCodec

        return BloscCodec(cname="zstd", clevel=1, shuffle="shuffle")
    from numcodecs import Blosc

    return Blosc(cname="zstd", clevel=1, shuffle=Blosc.SHUFFLE)
