"""OME-XML, which says what the pages of a TIFF file are: axes, sizes of pixels, channels.

https://docs.openmicroscopy.org/ome-model/latest/ome-tiff/specification.html
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import permutations
from math import prod
from typing import TYPE_CHECKING, Any

from .formats import OME_TYPES

if TYPE_CHECKING:
    from xml.etree import ElementTree

_ORDERS = ["XY" + "".join(slow) for slow in permutations("ZCT")]  # of the axes, the fastest first
# Units of length, as OME-XML writes them and as OME-Zarr names them.
LENGTHS = {"m": "meter", "cm": "centimeter", "mm": "millimeter", "µm": "micrometer", "nm": "nanometer"}
LARGEST = 1 << 26  # characters; that of a plate of wells has some ten million
_ATTRIBUTE = r"""\s+[\w:.-]+\s*=\s*(?:"[^"]*"|'[^']*')"""
_PIXELS = rf"<(?:\w+:)?Pixels(?:{_ATTRIBUTE})*"
# A file names itself by them, and the name has changed.
_UUID = rf"<(?:\w+:)?UUID(?:{_ATTRIBUTE})*\s*>[^<]*</(?:\w+:)?UUID\s*>"
_OWN_UUID = rf"(<(?:\w+:)?OME(?:{_ATTRIBUTE})*?)\s+UUID\s*=\s*(?:\"[^\"]*\"|'[^']*')"


def fitted(text: str, *, pages: int, height: int, width: int, channels: int, dtype: str) -> str | None:
    """The same text for pixels that have been worked on; None if it cannot describe them.

    Only what must change is changed: size, type, and the names of the file itself.
    """
    root = _root(text)
    elements = [] if root is None else list(_named(root, "Pixels"))
    if root is None or not elements or dtype not in OME_TYPES:
        return None
    files = {element.get("FileName") for element in _named(root, "UUID")} - {None}
    if len(files) > 1 or any(_samples(element) != channels for element in elements):
        return None
    if sum(_planes(element) for element in elements) != pages:
        return None
    changes = {"Type": OME_TYPES[dtype], "SizeX": str(width), "SizeY": str(height)}
    if any(name not in element.attrib for element in elements for name in changes):
        return None
    if any(element.get("DimensionOrder") not in _ORDERS for element in elements):
        return None
    # The bits that are in use are those of the type that was.
    dropped = set() if all(e.get("Type") == OME_TYPES[dtype] for e in elements) else {"SignificantBits"}
    text = re.sub(_PIXELS, lambda match: _changed(match[0], changes, dropped), text)
    return re.sub(_OWN_UUID, r"\1", re.sub(_UUID, "", text))


def _changed(tag: str, changes: dict[str, str], dropped: set[str]) -> str:
    def attribute(match: re.Match[str]) -> str:
        name = match[1]
        return "" if name in dropped else f' {name}="{changes[name]}"' if name in changes else match[0]

    return re.sub(r"""\s+([\w:.-]+)\s*=\s*(?:"[^"]*"|'[^']*')""", attribute, tag)


def made(
    *,
    pages: int,
    height: int,
    width: int,
    channels: int,
    dtype: str,
    axes: Mapping[str, int] | None = None,
    steps: Mapping[str, tuple[float, str]] | None = None,
    names: Sequence[str] = (),
) -> str:
    """The text for an image of which no text is known.

    Its pages are a stack along z, or have `axes`, the slowest first of T, C and Z; pixels have sizes `steps` in units,
    and channels have `names`.
    """
    space = "http://www.openmicroscopy.org/Schemas/OME/2016-06"
    sizes = {"T": 1, "C": 1, "Z": 1} | ({"Z": pages} if axes is None else dict(axes))
    physical = "".join(
        f' PhysicalSize{axis}="{step:.17g}" PhysicalSize{axis}Unit="{unit}"'
        for axis, (step, unit) in (steps or {}).items()
    )
    named = [f' Name="{_escaped(name)}"' for name in names] if len(names) == sizes["C"] else [""] * sizes["C"]
    parts = "".join(
        f'<Channel ID="Channel:0:{number}"{name} SamplesPerPixel="{channels}"/>' for number, name in enumerate(named)
    )
    return (
        f'<?xml version="1.0" encoding="UTF-8"?><OME xmlns="{space}"><Image ID="Image:0"><Pixels ID="Pixels:0" '
        f'DimensionOrder="{"XYZCT" if axes else "XYCZT"}" Type="{OME_TYPES[dtype]}" SizeX="{width}" SizeY="{height}" '
        f'SizeC="{sizes["C"] * channels}" SizeZ="{sizes["Z"]}" SizeT="{sizes["T"]}"{physical}>{parts}<TiffData/>'
        "</Pixels></Image></OME>"
    )


def _escaped(text: str) -> str:
    """Text as it may stand in an attribute: without what XML cannot say."""
    printable = "".join(letter for letter in text if letter.isprintable() and not 0xD800 <= ord(letter) < 0xE000)
    return printable.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;")


def of_zarr(said: Mapping[str, Any], pages: int) -> dict[str, Any] | None:
    """What `made` is told of an image whose axes are those of OME-Zarr; None if it cannot say them."""
    names = [axis["name"] for axis in said["axes"]]
    slow = names[:-2]
    if prod(said["sizes"]) != pages or slow != [name for name in "tcz" if name in slow]:
        return None
    units = {name: symbol for symbol, name in LENGTHS.items()}
    steps = {
        axis["name"].upper(): (step, units[axis["unit"]])
        for axis, step in zip(said["axes"], said["scale"], strict=True)
        if axis["name"] in ("z", "y", "x") and axis.get("unit") in tuple(units)
    }
    channels = said.get("omero", {}).get("channels")
    labels = (
        [channel.get("label") for channel in channels if isinstance(channel, dict)]
        if isinstance(channels, list)
        else []
    )
    return {
        "axes": {name.upper(): size for name, size in zip(slow, said["sizes"], strict=True)},
        "steps": steps,
        "names": labels if all(isinstance(label, str) for label in labels) else [],
    }


def _root(text: str) -> "ElementTree.Element | None":
    from xml.etree import ElementTree  # 5 ms, and only microscopes write such files

    # Declarations of entities have no place here, and can make a short text a very long one.
    if len(text) > LARGEST or "<!DOCTYPE" in text:
        return None
    try:
        # Whatever encoding it claims: that of a TIFF description is UTF-8.
        return ElementTree.fromstring(text.encode(), ElementTree.XMLParser(encoding="utf-8"))
    except (ElementTree.ParseError, UnicodeError):
        return None


def _named(root: "ElementTree.Element", name: str) -> "Iterator[ElementTree.Element]":
    return (element for element in root.iter() if element.tag.rpartition("}")[2] == name)


def _size(element: "ElementTree.Element", axis: str) -> int:
    value = element.get(f"Size{axis}", "1")
    return int(value) if value.isdecimal() and len(value) < 10 else 0


def _samples(element: "ElementTree.Element") -> int:
    """Samples of a pixel within a page."""
    given = {channel.get("SamplesPerPixel", "1") for channel in _named(element, "Channel")} or {"1"}
    value = given.pop()
    return int(value) if not given and value.isdecimal() and len(value) < 10 else 0


def _planes(element: "ElementTree.Element") -> int:
    return prod(_size(element, axis) for axis in "ZCT") // max(1, _samples(element))


def summary(text: str) -> dict[str, Any]:
    """What the first image is: axes with their sizes, the slowest first; sizes of pixels; names of channels."""
    root = _root(text)
    elements = [] if root is None else list(_named(root, "Pixels"))
    if not elements:
        return {}
    first = elements[0]
    order = first.get("DimensionOrder")
    order = (order if order in _ORDERS else "XYZCT")[::-1]
    axes = {axis: size for axis in order if (size := _size(first, axis)) > 1 or axis in "XY"}
    found: dict[str, Any] = {"axes": axes}
    sizes = {
        axis.lower(): (float(value), first.get(f"PhysicalSize{axis}Unit", "µm"))
        for axis in "XYZ"
        if _is_number(value := first.get(f"PhysicalSize{axis}", ""))
    }
    if sizes:
        found["pixel_size"] = sizes
    names = [channel.get("Name") for channel in _named(first, "Channel")]
    if any(names):
        found["channels"] = names
    if len(elements) > 1:
        found["images"] = len(elements)
    return found


def _is_number(text: str) -> bool:
    return re.fullmatch(r"\d+\.?\d*(?:[eE][-+]?\d+)?", text) is not None
