"""The one table of what imgtool reads and writes: formats by extension, by first bytes, and by what they can hold."""

import zlib
from collections.abc import Iterable, Mapping
from contextlib import suppress
from math import inf
from pathlib import PurePath
from typing import NamedTuple

from ..errors import ImgtoolError

_INTEGERS = "uint8 uint16 uint32 uint64 int8 int16 int32 int64"
_NUMBERS = f"{_INTEGERS} float16 float32 float64 complex64 complex128"
_EIGHT = {"uint8"}
_SIXTEEN = {"uint8", "uint16"}
_ANY = frozenset(_NUMBERS.split())
DTYPES = ("bool", *_NUMBERS.split())


class Format(NamedTuple):
    """A file format: the module that decodes and encodes it, and the dtypes it can hold for each layout of channels.

    `pages` and `animation` say whether it holds stacks and frames, `keeps` which entries of `Image.metadata`, `largest`
    the most pixels that its encoder allows on a side, `folder` whether an image is a folder of files.
    """

    name: str
    module: str
    extensions: tuple[str, ...]
    holds: Mapping[str, frozenset[str] | set[str]]
    pages: bool = False
    animation: bool = False
    keeps: frozenset[str] = frozenset()
    largest: float = inf
    folder: bool = False

    def can_hold(self, dtype: str, layout: str, pages: int, *, animated: bool = False) -> bool:
        """Whether an image can be written without loss of channels or pages, and in its type."""
        several = self.pages or (animated and self.animation)
        return dtype in self.holds.get(layout, ()) and (pages == 1 or several)


LIBPNG_LARGEST = 1_000_000
_COLOURS = ("RGB", "gray+alpha", "RGBA")
# What OME-XML calls them.
OME_TYPES = {
    "bool": "bit",
    "float32": "float",
    "float64": "double",
    "complex64": "complex",
    "complex128": "double-complex",
    **{name: name for name in ("int8", "int16", "int32", "uint8", "uint16", "uint32")},
}
_OME = frozenset(OME_TYPES) - {"bool"}
_PROFILED = frozenset({"icc_profile", "exif", "xmp", "orientation"})
_DESCRIBED = _PROFILED | {"resolution", "description"}
_IMAGEJ = frozenset({"imagej", "imagej_tags", "overlays"})
_TIFF_KEEPS = _DESCRIBED | _IMAGEJ | {"ome_xml", "geo", "photoshop", "tiff_tags", "pages", "compression"}
_VOLUMES: dict[str, frozenset[str] | set[str]] = {"gray": _ANY - {"float16"}, "RGB": _EIGHT, "RGBA": _EIGHT}
FORMATS = (
    Format(
        "PNG",
        "_png",
        (".png", ".apng"),
        {"gray": {"bool"} | _SIXTEEN} | dict.fromkeys(_COLOURS, _SIXTEEN),
        animation=True,
        keeps=_DESCRIBED | {"png_chunks", "frames"},
        largest=LIBPNG_LARGEST,
    ),
    Format(
        "TIFF",
        "_tiff",
        (".tif", ".tiff"),
        {"gray": {"bool"} | _ANY} | dict.fromkeys((*_COLOURS, "multichannel"), _ANY),
        pages=True,
        keeps=_TIFF_KEEPS,
    ),
    Format("NPY", "_npy", (".npy",), dict.fromkeys(("gray", *_COLOURS), {"bool"} | _ANY), pages=True),
    Format("NPZ", "_npy", (".npz",), dict.fromkeys(("gray", *_COLOURS), {"bool"} | _ANY), pages=True),
    Format(
        "JPEG",
        "_pillow",
        (".jpg", ".jpeg"),
        {"gray": _EIGHT, "RGB": _EIGHT},
        keeps=_DESCRIBED | {"photoshop"},
        largest=65_500,
    ),
    Format(
        "WebP",
        "_pillow",
        (".webp",),
        {"RGB": _EIGHT, "RGBA": _EIGHT},
        animation=True,
        keeps=_PROFILED | {"frames"},
        largest=16_383,
    ),
    Format(
        "GIF",
        "_gif",
        (".gif",),
        {"gray": _EIGHT, "RGB": _EIGHT, "RGBA": _EIGHT},
        animation=True,
        keeps=frozenset({"description", "frames"}),
        largest=65_535,
    ),
    Format("BMP", "_pillow", (".bmp",), {"gray": {"bool", "uint8"}, "RGB": _EIGHT}, keeps=frozenset({"resolution"})),
    Format("PBM", "_netpbm", (".pbm",), {"gray": {"bool"}}),
    Format("PGM", "_netpbm", (".pgm",), {"gray": _SIXTEEN}),
    Format("PPM", "_netpbm", (".ppm",), {"RGB": _SIXTEEN}),
    Format("PNM", "_netpbm", (".pnm",), {"gray": {"bool"} | _SIXTEEN, "RGB": _SIXTEEN}),
    Format("PFM", "_netpbm", (".pfm",), {"gray": {"float32"}, "RGB": {"float32"}}, keeps=frozenset({"scale"})),
    Format(
        "OME-TIFF",
        "_tiff",
        (".ome.tif", ".ome.tiff"),
        dict.fromkeys(("gray", *_COLOURS, "multichannel"), _OME),
        pages=True,
        keeps=(_TIFF_KEEPS | {"ome_zarr"}) - _IMAGEJ - {"description"},
    ),
    Format("NIfTI", "_volume", (".nii",), _VOLUMES, pages=True, keeps=frozenset({"nifti"})),
    Format("NIfTI.gz", "_volume", (".nii.gz",), _VOLUMES, pages=True, keeps=frozenset({"nifti"})),
    Format(
        "OME-Zarr",
        "_zarr",
        (".ome.zarr", ".zarr"),
        {"gray": {"bool"} | _ANY},
        pages=True,
        keeps=frozenset({"ome_zarr", "origin", "resolution"}),
        folder=True,
    ),
)
_BY_NAME = {entry.name: entry for entry in FORMATS}
_BY_EXTENSION = {extension: entry for entry in FORMATS for extension in entry.extensions}
EXTENSIONS = frozenset(_BY_EXTENSION)

_MAGIC = (
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"II+\0", "TIFF"),
    (b"MM\0+", "TIFF"),
    (b"\xff\xd8\xff", "JPEG"),
    (b"BM", "BMP"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"\x93NUMPY", "NPY"),
    *((b"P%d" % digit, name) for digit, name in enumerate(("PBM", "PGM", "PPM") * 2, 1)),
    (b"Pf", "PFM"),
    (b"PF", "PFM"),
)
# Formats met in the wild that imgtool does not read: (offset, bytes, name).
_FOREIGN = (
    (4, b"ftyp", "an AVIF, HEIF or video file"),
    (0, b"\0\0\0\x0cjP  ", "a JPEG 2000 image"),
    (0, b"\xff\x4f\xff\x51", "a JPEG 2000 image"),
    (0, b"\0\0\0\x0cJXL ", "a JPEG XL image"),
    (0, b"\xff\x0a", "a JPEG XL image"),
    (0, b"8BPS", "a Photoshop file"),
    (0, b"\x76\x2f\x31\x01", "an OpenEXR image"),
    (0, b"\x89HDF", "an HDF5 file"),
    (0, b"%PDF", "a PDF document"),
    (0, b"PK\x03\x04", "a zip archive; unpack it first"),
    (0, b"P7", "a PAM image"),
    (128, b"DICM", "a DICOM file"),
    (344, b"ni1\0", "a NIfTI header whose data are in another file; join the two as .nii"),
    (0, b"\x1f\x8b", "a gzip file; unpack it first"),
)
SNIFFED = 512


def recognised(head: bytes) -> Format:
    """The format of a file that starts with `head`.

    Raises
    ------
    ImgtoolError
        With what the file is instead, as far as that can be told.
    """
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return _BY_NAME["WebP"]
    plain = head
    with suppress(zlib.error):
        plain = zlib.decompressobj(31).decompress(head, SNIFFED) if head[:2] == b"\x1f\x8b" else head
    if plain[344:348] == b"n+1\0" or plain[4:8] == b"n+2\0":
        return _BY_NAME["NIfTI"]
    if head[:4] == b"PK\x03\x04" and head[30 : 30 + int.from_bytes(head[26:28], "little")].endswith(b".npy"):
        return _BY_NAME["NPZ"]
    for magic, name in _MAGIC:
        if head.startswith(magic):
            return _BY_NAME[name]
    foreign = next((name for offset, magic, name in _FOREIGN if head.startswith(magic, offset)), None)
    if foreign is None:
        printable = all(byte >= 32 or byte in b"\t\n\r\f\x1b" for byte in head)
        foreign = "a text file" if printable else "no known image format"
    raise ImgtoolError(f"not an image that imgtool can read ({foreign})")


def extension_of(name: str) -> str:
    """The end of a file's name that tells its format, in lower case: the longest that is known, or the last.

    >>> extension_of("cells.OME.tif"), extension_of("notes.old.txt"), extension_of(".png")
    ('.ome.tif', '.txt', '')
    """
    path = PurePath(name.lower())
    known = [extension for extension in _BY_EXTENSION if path.name.endswith(extension) and path.name != extension]
    return max(known, key=len, default="" if path.name in _BY_EXTENSION else path.suffix)


def named(path: str) -> Format:
    """The format that the extension of an output path names."""
    extension = extension_of(path)
    if extension in _BY_EXTENSION:
        return _BY_EXTENSION[extension]
    known = ", ".join(extension for entry in FORMATS for extension in entry.extensions)
    what = f"{extension} files are not written" if extension else "the name has no extension to tell the format by"
    raise ImgtoolError(f"{what}; use one of {known}")


def layout_name(channels: int, has_alpha: bool) -> str:
    """What a format must hold for an image of so many channels."""
    return {(1, False): "gray", (2, True): "gray+alpha", (3, False): "RGB", (4, True): "RGBA"}.get(
        (channels, has_alpha), "multichannel"
    )


def output_format(
    path: str, *, dtype: str, channels: int, has_alpha: bool, pages: int, animated: bool = False
) -> Format:
    """The format that `path` names, if it can hold such an image.

    Raises
    ------
    ImgtoolError
        With formats that can.
    """
    target, layout = named(path), layout_name(channels, has_alpha)
    if target.can_hold(dtype, layout, pages, animated=animated):
        return target
    others = [entry.extensions[0] for entry in FORMATS if entry.can_hold(dtype, layout, pages, animated=animated)][:2]
    ways = [" or ".join(others)] if others else []
    if dtype != "uint8" and target.can_hold("uint8", layout, pages, animated=animated):
        ways.append("--dtype uint8")
    if pages > 1 and not (target.pages or (animated and target.animation)):
        what = f"{pages} {'frames' if animated else 'pages'}"
    else:
        what = f"{channels} channels" if layout == "multichannel" else layout
        what = f"{dtype} {what}"
    raise ImgtoolError(f"{target.name} cannot hold {what}" + (f"; use {', or '.join(ways)}" if ways else ""))


# What an entry of `Image.metadata` is called, where it is told that a file cannot hold it.
_WORDS = {
    "icc_profile": "the ICC profile",
    "exif": "EXIF",
    "xmp": "XMP",
    "orientation": "the orientation",
    "resolution": "the resolution",
    "description": "the description",
    "texts": "the texts",
    "gamma": "gamma and primaries",
    "ome_xml": "OME-XML",
    "imagej": "ImageJ's notes",
    "imagej_tags": "ImageJ's labels and ranges",
    "overlays": "ImageJ's overlays",
    "photoshop": "Photoshop's resources",
    "tiff_tags": "further TIFF tags",
    "private": "private entries of other programs",
    "pages": "what single pages say",
    "further_images": "the file's further images (reduced copies, labels)",
    "geo": "the georeference",
    "nifti": "the NIfTI header",
    "ome_zarr": "the axes of OME-Zarr",
    "origin": "the origin",
    "frames": "the timing of the frames",
    "scale": "the scale of the values",
}


def in_words(keys: Iterable[str]) -> str:
    """Entries of metadata as they are listed in a sentence."""
    words = [_WORDS[key] for key in _WORDS if key in keys]
    return " and ".join([", ".join(words[:-1])] * (len(words) > 1) + words[-1:])
