"""Metadata in a few words and numbers, for people and for JSON."""

import re
from collections.abc import Callable
from typing import Any

from . import _imagej, _ome
from ._exif import tags_of
from ._image import Metadata

_CAMERA = {271: "make", 272: "model", 305: "software", 306: "date", 315: "artist", 33432: "copyright"}


def summary(metadata: Metadata) -> dict[str, Any]:
    """Metadata as JSON can hold them: of binary blocks their size, of texts in a language of their own what they say.

    Parameters
    ----------
    metadata : dict
        That of an `Image`.

    Returns
    -------
    dict
        Of ``ome_xml`` axes, sizes of pixels and names of channels, of ``imagej`` its entries, of ``exif`` who took the
        picture, when, and with what; of ``pages`` the same for each page after the first.

    Examples
    --------
    >>> summary({"icc_profile": bytes(9), "imagej": "ImageJ=1.5\\nslices=3\\nunit=um"})
    {'icc_profile': {'bytes': 9}, 'imagej': {'ImageJ': '1.5', 'slices': '3', 'unit': 'um'}}
    """
    return {key: _READERS.get(key, _plain)(value) for key, value in metadata.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return {"bytes": len(value)}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items()}
    return value if isinstance(value, bool | int | float | str) else str(value)


def _exif(block: bytes) -> dict[str, Any]:
    tags = tags_of(block)
    texts = {name: tags[code].value for code, name in _CAMERA.items() if code in tags}
    found = {name: value.rstrip(b"\0 ").decode("latin-1") for name, value in texts.items() if isinstance(value, bytes)}
    return {"bytes": len(block), **found}


def _notes(text: str) -> dict[str, str]:
    return dict(re.findall(r"^([^=\n]+)=(.*)$", text, re.MULTILINE))


def _geo(found: dict[str, Any]) -> dict[str, Any]:
    return {"tags": sorted(found["tags"])}


def _tags(found: dict[int, Any]) -> list[int]:
    return sorted(found)


def _overlays(found: dict[str, Any]) -> dict[str, Any]:
    return _imagej.summary(found["entries"])


def _pages(own: list[Metadata]) -> list[dict[str, Any]]:
    return [summary(entries) for entries in own]


def _nifti(header: bytes) -> dict[str, Any]:
    from ._volume import spacing

    return spacing(header)


def _zarr(said: dict[str, Any]) -> dict[str, Any]:
    from ._zarr import summary

    return summary(said)


_READERS: dict[str, Callable[[Any], Any]] = {
    "exif": _exif,
    "imagej": _notes,
    "imagej_tags": _imagej.summary,
    "overlays": _overlays,
    "geo": _geo,
    "tiff_tags": _tags,
    "pages": _pages,
    "ome_xml": _ome.summary,
    "nifti": _nifti,
    "ome_zarr": _zarr,
}
