"""Transform files: imgtool's JSON, ITK's text, and displacement fields as .npy, .npz, .tif and .nii.gz."""

import json
from collections.abc import Callable, Mapping
from pathlib import PurePath
from typing import Any, BinaryIO

import numpy as np

from ..errors import ImgtoolError
from ..transforms import DisplacementField, Transform
from ..transforms.itk import SIGNATURE, from_itk, to_itk
from . import MAX_PIXELS, Image, read, read_json, write, write_text
from ._files import PathLike, opened, published, shown
from ._image import Array
from ._npy import header

_TEXT_LIMIT = 1 << 26
_DESCRIPTION = "imgtool displacement field: x, y in pixels"


def read_transform(path: PathLike, *, max_pixels: int = MAX_PIXELS) -> Transform:
    """Read a transform; the first bytes of the file tell its format.

    JSON is imgtool's own format and holds every kind of transform. ITK's text files (.tfm) hold matrices and B-splines.
    Displacement fields are .npy and .npz arrays or TIFF images (height, width, 2), or NIfTI files (.nii, .nii.gz), of
    x and y in pixels, the latter in ITK's physical units.

    Parameters
    ----------
    path : str or path-like
    max_pixels : int
        The most pixels of a displacement field, checked before they are decoded.

    Raises
    ------
    ImgtoolError
        If there is no such file, or it is damaged, or no transform.
    """
    with opened(path) as stream:
        head = stream.read(512)
    try:
        if head.lstrip().startswith(SIGNATURE[:8].encode()):
            return from_itk(_text(path))
        for magic, reader in _FIELDS.items():
            if head.startswith(magic):
                return reader(path, max_pixels)
        if head[344:348] == b"n+1\0":
            return _read_nifti(path, max_pixels)
        fields = read_json(path)
    except ImgtoolError as error:
        named = str(error).startswith(shown(path))
        raise error if named else ImgtoolError(f"{shown(path)}: {error}") from None
    try:
        return Transform.from_dict(fields)
    except ImgtoolError as error:
        raise ImgtoolError(f"{shown(path)}: {error}") from None


def write_transform(
    path: PathLike, transform: Transform, *, figures: Mapping[str, Any] | None = None, overwrite: bool = False
) -> None:
    """Write a transform, whole or not at all, in the format of the extension; see `read_transform`.

    Parameters
    ----------
    path : str or path-like
        .json, .tfm or .txt (ITK), .npy, .npz, .tif or .tiff, .nii or .nii.gz. All but the first two hold a displacement
        for each pixel of the fixed image, whatever the transform is. Of the sizes, .npy and .nii keep that of the fixed
        image only.
    transform : Transform
    figures : mapping, optional
        What else is to be said in JSON, as JSON types: how good it is, for example. Other formats have no place for it.
    overwrite : bool
        Whether a file of that name may be replaced.

    Raises
    ------
    ImgtoolError
        If the format cannot hold the transform, the file exists, or it cannot be written.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from imgtool.transforms import MatrixTransform
    >>> shift = MatrixTransform([[1, 0, 5], [0, 1, -2], [0, 0, 1]], "translation", (100, 80), (100, 80))
    >>> with TemporaryDirectory() as folder:
    ...     write_transform(f"{folder}/shift.tfm", shift)
    ...     read_transform(f"{folder}/shift.tfm")([[0, 0]])
    array([[ 5., -2.]])
    """
    check_transform_name(path)
    suffix = _suffix(path)
    try:
        if suffix == ".json":
            write_text(path, _json(transform.to_dict() | dict(figures or {})), overwrite=overwrite)
        elif suffix in (".tfm", ".txt"):
            write_text(path, to_itk(transform), overwrite=overwrite)
        else:
            field = transform.field if isinstance(transform, DisplacementField) else transform.displacement()
            _write_field(path, suffix, field, transform.moving_shape, overwrite)
    except ImgtoolError as error:
        named = str(error).startswith(shown(path))
        raise error if named else ImgtoolError(f"{shown(path)}: {error}") from None


def check_transform_name(path: PathLike) -> None:
    """Raise an ImgtoolError if no transform can be written under this name, before any work is done."""
    if _suffix(path) not in _SUFFIXES:
        raise ImgtoolError(f"{shown(path)}: a transform is written as one of {', '.join(_SUFFIXES)}")


_SUFFIXES = (".json", ".tfm", ".txt", ".npy", ".npz", ".tif", ".tiff", ".nii", ".nii.gz")


def _suffix(path: PathLike) -> str:
    name = PurePath(path).name.lower()
    return ".nii.gz" if name.endswith(".nii.gz") else PurePath(name).suffix


def _json(fields: Mapping[str, Any]) -> str:
    """JSON with a line for each field."""
    lines = (f"  {json.dumps(name)}: {json.dumps(value)}" for name, value in fields.items())
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _text(path: PathLike) -> str:
    with opened(path) as stream:
        content = stream.read(_TEXT_LIMIT + 1)
    if len(content) > _TEXT_LIMIT:
        raise ImgtoolError(f"larger than {_TEXT_LIMIT >> 20} MiB; not a transform for imgtool")
    return content.decode(errors="replace")


def _read_npy(path: PathLike, max_pixels: int) -> DisplacementField:
    with opened(path) as stream:
        return DisplacementField(_array(stream, max_pixels))


def _read_npz(path: PathLike, max_pixels: int) -> DisplacementField:
    import zipfile  # 10 ms at start for the one format that needs it
    import zlib

    try:
        with opened(path) as stream, zipfile.ZipFile(stream) as archive:
            names = archive.namelist()
            name = "displacement.npy" if "displacement.npy" in names else names[0] if len(names) == 1 else None
            if name is None:
                raise ImgtoolError(f"the .npz file holds no array called displacement, but {', '.join(names)[:200]}")
            with archive.open(name) as member:
                field = _array(member, max_pixels)
            if "moving_shape.npy" not in names:
                return DisplacementField(field)
            with archive.open("moving_shape.npy") as member:
                shape, _, dtype = header(member)
                if shape != (2,) or dtype.kind not in "iu":
                    raise ImgtoolError("moving_shape must be two whole numbers, height and width")
                return DisplacementField(field, np.frombuffer(member.read(2 * dtype.itemsize), dtype).tolist())
    except ImgtoolError:
        raise
    # The archive raises RuntimeError for what is encrypted, or packed in a way that it does not know.
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, ValueError, OSError):
        raise ImgtoolError("the .npz file is damaged or cut off") from None


def _array(stream: Any, max_pixels: int) -> Array:
    """The array of a .npy stream, whose header is read and judged first."""
    try:
        shape, fortran, dtype = header(stream)
    except ValueError:
        raise ImgtoolError("the array in the file is damaged") from None
    if dtype.kind not in "iuf" or len(shape) != 3 or shape[2] != 2:
        raise ImgtoolError(f"a displacement field has shape (height, width, 2), not {shape} of {dtype}")
    pixels = shape[0] * shape[1]
    if pixels > max_pixels:
        raise ImgtoolError(
            f"{shape[1]} x {shape[0]} is {pixels} pixels and the limit is {max_pixels}; raise max_pixels"
        )
    content = stream.read(2 * pixels * dtype.itemsize)
    if len(content) < 2 * pixels * dtype.itemsize:
        raise ImgtoolError("the file is cut off; copy or download it again")
    values = np.frombuffer(content, dtype)
    return values.reshape(shape[::-1]).T if fortran else values.reshape(shape)


def _read_tiff(path: PathLike, max_pixels: int) -> DisplacementField:
    image = read(path, max_pixels=2 * max_pixels)
    data = image.data
    if image.channel_axis is None and data.ndim == 3 and len(data) == 2:
        data = np.moveaxis(data, 0, -1)  # one page for x and one for y
    elif image.channel_axis is None or data.shape[2:] != (2,):
        raise ImgtoolError(f"a displacement field has 2 channels, or 2 pages, of floats, not an array of {data.shape}")
    if data.dtype.kind != "f":
        raise ImgtoolError(f"a displacement field consists of floating point numbers, not of {data.dtype}")
    _, found, sizes = image.metadata.get("description", "").partition(_DESCRIPTION)
    try:
        return DisplacementField(data, json.loads(sizes)["moving_shape"] if found else None)
    except ImgtoolError:
        raise
    except (KeyError, TypeError, ValueError):
        raise ImgtoolError("the description of the TIFF file is damaged") from None


def _read_nifti(path: PathLike, max_pixels: int) -> DisplacementField:
    from ._nifti import read_field

    with opened(path) as stream:
        return DisplacementField(read_field(stream, max_pixels))


_FIELDS: dict[bytes, Callable[[PathLike, int], DisplacementField]] = {
    b"\x93NUMPY": _read_npy,
    b"PK\x03\x04": _read_npz,
    b"II": _read_tiff,
    b"MM": _read_tiff,
    b"\x1f\x8b": _read_nifti,
}


def _write_field(
    path: PathLike, suffix: str, field: Array, moving_shape: tuple[int, int] | None, overwrite: bool
) -> None:
    if suffix in (".tif", ".tiff"):
        sizes = json.dumps({"moving_shape": moving_shape})
        write(path, Image(field, -1, {"alpha": False, "description": f"{_DESCRIPTION} {sizes}"}), overwrite=overwrite)
        return
    with published(path, overwrite=overwrite) as stream:
        _field_writers(stream, suffix, field, moving_shape)


def _field_writers(stream: BinaryIO, suffix: str, field: Array, moving_shape: tuple[int, int] | None) -> None:
    from ._nifti import write_field

    if suffix == ".npy":
        np.lib.format.write_array(stream, field, allow_pickle=False)
    elif suffix == ".npz":
        sizes = {} if moving_shape is None else {"moving_shape": np.array(moving_shape)}
        np.savez_compressed(stream, displacement=field, **sizes)  # type: ignore[arg-type]  # numpy's stubs mix them up
    else:
        write_field(stream, field, compressed=suffix == ".nii.gz")
