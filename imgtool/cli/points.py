"""imgtool points."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from .command import command
from .single import check_output_free, one_output, quiet_option, warn, write_result
from .transform import transforms_option
from .values import FILE
from .warp import load_transforms

if TYPE_CHECKING:
    from .._check import Array


@command
@click.argument("source", metavar="FILE.csv", type=FILE)
@transforms_option
@click.option(
    "--to",
    "goal",
    type=click.Choice(["moving", "fixed"]),
    required=True,
    help="The image to bring the points to; they lie in the other one.",
)
@one_output
@quiet_option
def points(source: str, transforms: tuple[str, ...], goal: str, output: Path | None, exists: str, quiet: int) -> None:
    """Bring points from the fixed image to the moving one, or back.

    \b
    imgtool points cells.csv -t mr.json --to moving -o cells_in_moving.csv
    imgtool points cells_in_moving.csv -t mr.json --to fixed

    The file is text with a point on each line. A header names the columns x and y, or they are the first two; all other
    columns are kept. Coordinates are pixels, x to the right and y down, (0, 0) at the centre of the first pixel.
    """
    from ..io.points import read_points

    check_output_free(output, exists, [source, *transforms])
    transform = load_transforms(transforms, force=False)
    table = read_points(source)
    there = transform(table.points) if goal == "moving" else transform.solve(table.points)
    shape = transform.moving_shape if goal == "moving" else transform.fixed_shape
    write_result(table.text(there), output, exists)
    outside = 0 if shape is None else count_outside(there, shape)
    if outside:
        warn(f"{source}: {outside} of {len(there)} points lie outside the {goal} image", quiet)


def count_outside(points: "Array", shape: tuple[int, int]) -> int:
    """How many points lie on no pixel of an image of this shape."""
    import numpy as np

    inside = (points >= -0.5) & (points <= np.array(shape[::-1]) - 0.5)
    return int(np.count_nonzero(~inside.all(axis=1)))
