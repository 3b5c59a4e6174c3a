"""What of an image's metadata a file of some format will not hold."""

from ._image import STRUCTURE, Image
from .formats import Format

_TEXTS, _GAMMA, _SRGB = {b"tEXt", b"zTXt", b"iTXt"}, {b"gAMA", b"cHRM", b"cICP", b"mDCV", b"cLLI"}, b"sRGB"


def lost(target: Format, image: Image, pages: int) -> set[str]:
    """The entries that are not kept; of `png_chunks` it is told what they are."""
    found = set(image.metadata) - target.keeps - STRUCTURE
    if image.animated and not target.animation:
        found.add("frames")
    if image.metadata.get("orientation") == 1:  # as without it
        found.discard("orientation")
    if "png_chunks" in found:
        found.remove("png_chunks")
        found |= _of_chunks(image)
    if target.module == "_tiff":
        from ._tiff import unfit

        found |= unfit(image, pages)
    elif target.module == "_volume" and "nifti" in image.metadata:
        from ._volume import fits

        found |= set() if fits(image, pages) else {"nifti"}
    elif target.name == "OME-Zarr":
        from . import _zarr

        found |= _zarr.unfit(image, pages)
    elif target.name == "JPEG":
        from ._pillow import too_long

        found |= too_long(image.metadata)
    return found


def _of_chunks(image: Image) -> set[str]:
    names = {name for name, _ in image.metadata["png_chunks"]}
    # A description is an entry of its own; and what is not said otherwise is sRGB.
    described = "description" in image.metadata
    texts = sum(name in _TEXTS for name, _ in image.metadata["png_chunks"]) > described
    gamma = bool(names & _GAMMA) and _SRGB not in names
    others = bool(names - _TEXTS - _GAMMA - {_SRGB})
    return {word for word, is_there in (("texts", texts), ("gamma", gamma), ("private", others)) if is_there}
