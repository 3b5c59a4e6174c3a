"""imgtool transform."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ..errors import ImgtoolError
from .command import HELP, Group
from .options import path_option
from .single import check_output_free, exists_option, quiet_option, warn
from .values import FILE, parsed
from .warp import load_transform, load_transforms

if TYPE_CHECKING:
    from .._check import Array
    from ..transforms import Transform

Function = TypeVar("Function", bound=Callable[..., Any])
Shape = tuple[int, int]

# An inverse that misses by more, in pixels, is one of a transform that folds or of a grid too coarse for it.
_LARGEST_RESIDUAL = 0.05


def _size(text: str) -> Shape:
    width, cross, height = text.lower().partition("x")
    if not (cross and all(part.isascii() and part.isdecimal() and 0 < len(part) < 8 for part in (width, height))):
        raise ImgtoolError(f"{text!r} is no size in pixels; write WIDTHxHEIGHT, such as 640x480")
    if not (int(width) and int(height)):
        raise ImgtoolError(f"{text!r} has no pixels; write WIDTHxHEIGHT, such as 640x480")
    return int(height), int(width)


transform_argument = click.argument("source", metavar="TRANSFORM", type=FILE)
output_option = path_option("-o", "--output", required=True, metavar="FILE", help="Write to this file.")


def size_option(name: str, text: str) -> Callable[[Function], Function]:
    """An option for the size of an image in pixels."""
    return click.option(name, metavar="WxH", callback=parsed(_size), help=text)


transforms_option = click.option(
    "-t",
    "--transform",
    "transforms",
    metavar="FILE",
    multiple=True,
    required=True,
    type=FILE,
    help="The transform; several are applied one after the other, the first to points of the fixed image.",
)
grid_option = size_option("--size", "The grid to take, where the file does not tell the size of the fixed image.")


@click.group(cls=Group, context_settings=HELP)
def transform() -> None:
    """Tell of transforms; compose, invert and convert them.

    \b
    imgtool transform info mr.json
    imgtool transform compose a_to_b.json b_to_c.json -o a_to_c.json
    imgtool transform convert mr.json -o mr.tfm

    Transforms are read and written as imgtool's JSON, which holds every kind, as ITK's text (.tfm, .txt), which holds
    matrices and B-splines, and as displacement fields: .npy, .npz, .tif, .nii and .nii.gz. They map pixel coordinates
    of a fixed image to those of a moving one.
    """


@transform.command(context_settings=HELP)
@transform_argument
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def info(source: str, as_json: bool) -> None:
    """Tell what a transform is and does.

    The determinant says how much larger an area of the fixed image becomes; where it is 0 or less the transform folds
    the image.
    """
    found = load_transform(source)
    facts = {"transform": source, **facts_of(found)}
    click.echo(json.dumps(facts) if as_json else "\n".join(_told(facts)))


@transform.command(context_settings=HELP)
@click.argument("sources", metavar="TRANSFORM...", nargs=-1, required=True, type=FILE)
@output_option
@click.option("--force", is_flag=True, help="Accept transforms that were made for images of other sizes.")
@exists_option
def compose(sources: tuple[str, ...], output: Path, force: bool, exists: str) -> None:
    """Make one transform of several, the first of which starts from the fixed image.

    \b
    imgtool transform compose day0_to_day1.json day1_to_day2.json -o day0_to_day2.json
    """
    _check_output(output, exists, *sources)
    write(output, load_transforms(sources, force=force), exists)


@transform.command(context_settings=HELP)
@transform_argument
@output_option
@exists_option
@quiet_option
def invert(source: str, output: Path, exists: str, quiet: int) -> None:
    """Write the transform back, from the moving image to the fixed one.

    That of a matrix is exact. That of a field or a B-spline is found for each pixel of the moving image; a line tells
    by how many pixels there and back misses the start at most.
    """
    _check_output(output, exists, source)
    inverse = load_transform(source).inverse()
    write(output, inverse, exists)
    residuals = list(residuals_of(inverse))
    if residuals:
        click.echo(f"{output}: largest residual {max(residuals):.4f} px")
        if max(residuals) > _LARGEST_RESIDUAL:
            warn(f"{source}: has no good inverse everywhere; see imgtool transform info for where it folds", quiet)


@transform.command(context_settings=HELP)
@transform_argument
@output_option
@exists_option
def convert(source: str, output: Path, exists: str) -> None:
    """Write a transform in another format, which the extension names."""
    _check_output(output, exists, source)
    write(output, load_transform(source), exists)


@transform.command(context_settings=HELP)
@transform_argument
@output_option
@grid_option
@exists_option
def field(source: str, output: Path, size: Shape | None, exists: str) -> None:
    """Write a transform as displacements x, y for each pixel of the fixed image."""
    from ..transforms import DisplacementField

    _check_output(output, exists, source)
    found = load_transform(source)
    write(output, DisplacementField(_on_grid(source, found.displacement, size), found.moving_shape), exists)


@transform.command(context_settings=HELP)
@transform_argument
@output_option
@grid_option
@exists_option
def jacobian(source: str, output: Path, size: Shape | None, exists: str) -> None:
    """Write the determinant of a transform's derivative for each pixel of the fixed image, as an image of float32.

    It says how much larger an area becomes; where it is 0 or less the transform folds the image. A line tells the range
    and the number of folded pixels.
    """
    import numpy as np

    from .. import io

    check_output_free(output, exists, [source])
    io.check_output(output, dtype=np.float32)
    determinant = _on_grid(source, load_transform(source).jacobian_determinant, size)
    io.write(output, io.Image(determinant.astype(np.float32)), overwrite=exists == "overwrite")
    click.echo(f"{output}: {_folding(_determinants(determinant))}")


@transform.command(context_settings=HELP)
@click.argument("landmarks", metavar="LANDMARKS.csv", type=FILE)
@output_option
@click.option(
    "-m",
    "--model",
    type=click.Choice(["translation", "rigid", "similarity", "affine", "projective"]),
    default="affine",
    help="What the transform may do.",
)
@size_option("--fixed-size", "Size of the fixed image, to be kept in the file.")
@size_option("--moving-size", "Size of the moving image, to be kept in the file.")
@exists_option
def fit(
    landmarks: str, output: Path, model: str, fixed_size: Shape | None, moving_size: Shape | None, exists: str
) -> None:
    """Make the transform that fits matched points best, by least squares.

    \b
    imgtool transform fit pairs.csv -m rigid -o start.json

    The columns are x_fixed, y_fixed, x_moving and y_moving, or just these four. A line tells how far the points are
    off.
    """
    import numpy as np

    from ..io.points import read_matches
    from ..landmarks import fit as fitted
    from ..transforms import MatrixTransform

    _check_output(output, exists, landmarks)
    fixed, moving = read_matches(landmarks)
    try:
        found = MatrixTransform(fitted(fixed, moving, model), model, fixed_size, moving_size)
    except ImgtoolError as error:
        raise ImgtoolError(f"{landmarks}: {error}") from error
    write(output, found, exists)
    errors = np.linalg.norm(found(fixed) - moving, axis=1)
    click.echo(
        f"{output}: {model} from {len(fixed)} pairs of points, off by {np.sqrt(np.mean(errors**2)):.3f} px "
        f"(root of the mean square), {errors.max():.3f} px at most"
    )


def write(output: Path, found: "Transform", exists: str) -> None:
    """Write a transform to its file."""
    from ..io.transforms import write_transform

    write_transform(output, found, overwrite=exists == "overwrite")


def _check_output(output: Path, exists: str, *inputs: str) -> None:
    from ..io.transforms import check_transform_name

    check_transform_name(output)
    check_output_free(output, exists, inputs)


def _on_grid(source: str, what: "Callable[[Shape | None], Array]", size: Shape | None) -> "Array":
    try:
        return what(size)
    except ImgtoolError as error:
        raise ImgtoolError(f"{source}: {error}: --size WxH") from error


def residuals_of(found: "Transform") -> Iterator[float]:
    """How far the parts of a transform that were found as inverses miss, in pixels."""
    from ..transforms import Composite, DisplacementField

    if isinstance(found, Composite):
        for part in found.transforms:
            yield from residuals_of(part)
    elif isinstance(found, DisplacementField) and found.residual is not None:
        yield found.residual


def facts_of(found: "Transform") -> dict[str, Any]:
    """What a transform is and does, as JSON types."""
    import numpy as np

    from ..transforms import Composite, MatrixTransform

    facts: dict[str, Any] = {
        "model": found.to_dict()["model"] if isinstance(found, MatrixTransform) else found.models[0]
    }
    for name in ("fixed_shape", "moving_shape"):
        facts[name] = getattr(found, name)
    if isinstance(found, MatrixTransform):
        motion = found.describe()
        facts |= {"matrix": found.matrix.tolist(), **motion._asdict()}
    if isinstance(found, Composite):
        facts["parts"] = [facts_of(part) for part in found.transforms]
    residuals = list(residuals_of(found))
    if residuals:
        facts["residual"] = max(residuals)
    if found.fixed_shape is not None:
        lengths = np.linalg.norm(found.displacement(), axis=-1)
        facts["displacement"] = {"mean": float(lengths.mean()), "max": float(lengths.max())}
        facts["determinant"] = _determinants(found.jacobian_determinant())
    return facts


def _determinants(values: "Array") -> dict[str, Any]:
    import numpy as np

    return {"min": float(values.min()), "max": float(values.max()), "folded": int(np.count_nonzero(values <= 0))}


def _folding(determinant: dict[str, Any]) -> str:
    return (
        f"determinant from {determinant['min']:.4g} to {determinant['max']:.4g}, {determinant['folded']} folded pixels"
    )


def _told(facts: dict[str, Any]) -> Iterator[str]:
    shapes = facts["fixed_shape"], facts["moving_shape"]
    sizes = ["of unknown size" if shape is None else f"{shape[1]}x{shape[0]}" for shape in shapes]
    what = f"{facts['model']} of {len(facts['parts'])} transforms" if "parts" in facts else facts["model"]
    yield f"{facts['transform']}: {what}, fixed image {sizes[0]}, moving image {sizes[1]}"
    for row in facts.get("matrix", ()):
        yield "  " + " ".join(f"{value:>14.8g}" for value in row)
    if "shift" in facts:
        (x, y), (larger, smaller) = facts["shift"], facts["scales"]
        yield f"  at the centre: shift {x:.3f}, {y:.3f} px, rotation {facts['rotation']:.3f} degrees"
        yield f"  scales {larger:.5f} and {smaller:.5f}"
    if "displacement" in facts:
        lengths = facts["displacement"]
        yield f"  displacement {lengths['mean']:.3f} px in the mean, {lengths['max']:.3f} at most"
        yield f"  {_folding(facts['determinant'])}"
    if "residual" in facts:
        yield f"  an inverse, with a largest residual of {facts['residual']:.4f} px"
