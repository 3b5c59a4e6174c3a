"""imgtool evaluate."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import ImgtoolError
from .command import command
from .single import check_output_free, one_output, write_result
from .transform import size_option, transforms_option
from .values import FILE
from .warp import load_transforms

if TYPE_CHECKING:
    from ..landmarks import Evaluation


@command
@transforms_option
@click.option(
    "--landmarks",
    nargs=2,
    metavar="FIXED.csv MOVING.csv",
    required=True,
    type=FILE,
    help="Points on the same spots of the fixed and of the moving image, line by line.",
)
@click.option(
    "--in",
    "frame",
    type=click.Choice(["fixed", "moving"]),
    default="fixed",
    help="The image in whose pixels distances are measured, to which the other's landmarks are brought.",
)
@size_option("--size", "The size of that image, where the file of the transform does not tell it.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of a table.")
@one_output
def evaluate(
    transforms: tuple[str, ...],
    landmarks: tuple[str, str],
    frame: str,
    size: tuple[int, int] | None,
    as_json: bool,
    output: Path | None,
    exists: str,
) -> None:
    """Measure how far a transform is from matched landmarks.

    \b
    imgtool evaluate -t transform.json --landmarks fixed.csv moving.csv
    imgtool evaluate -t transform.json --landmarks fixed.csv moving.csv --json | jq .rtre_after.median

    Prints the target registration error (TRE) of each landmark in pixels, before and after, and the relative one
    (rTRE), divided by the diagonal of the image, as in the ANHIR challenge. Before means pixel upon pixel, without any
    transform. Robustness is the share of the landmarks that came nearer.
    """
    from ..io.points import read_points
    from ..landmarks import evaluate as errors_of

    check_output_free(output, exists, [*transforms, *landmarks])
    transform = load_transforms(transforms, force=False)
    fixed, moving = (read_points(name).points for name in landmarks)
    shape = size or (transform.fixed_shape if frame == "fixed" else transform.moving_shape)
    if shape is None:
        raise ImgtoolError(f"{transforms[-1]}: does not tell the size of the {frame} image; give it: --size WxH")
    if len(fixed) != len(moving):
        raise ImgtoolError(
            f"{landmarks[0]} has {len(fixed)} points and {landmarks[1]} {len(moving)}; they must match line by line"
        )
    found = errors_of(transform, fixed, moving, shape, frame=frame)
    record = {
        "transform": transforms[0] if len(transforms) == 1 else transforms,
        "landmarks": landmarks,
        "frame": frame,
        "diagonal": found.diagonal,
    }
    write_result(json.dumps(record | as_fields(found)) + "\n" if as_json else as_table(found, frame), output, exists)


def as_fields(found: "Evaluation") -> dict[str, Any]:
    """The errors as JSON types."""
    points = [
        {"tre_before": b, "tre_after": a, "rtre_before": b / found.diagonal, "rtre_after": a / found.diagonal}
        for b, a in zip(found.before.tolist(), found.after.tolist(), strict=True)
    ]
    return {"count": len(points), **found.summary(), "robustness": found.robustness, "points": points}


def as_table(found: "Evaluation", frame: str) -> str:
    """The errors as text."""
    lines = [f"{'point':>8} {'TRE before':>12} {'TRE after':>12} {'rTRE after':>12}"]
    lines += [
        f"{number:>8} {before:>12.3f} {after:>12.3f} {after / found.diagonal:>12.5f}"
        for number, (before, after) in enumerate(zip(found.before, found.after, strict=True), 1)
    ]
    summary = found.summary()
    for name in ("median", "mean", "max"):
        before, after = summary["tre_before"][name], summary["tre_after"][name]
        lines.append(f"{name:>8} {before:>12.3f} {after:>12.3f} {summary['rtre_after'][name]:>12.5f}")
    lines.append(
        f"robustness {found.robustness:.3f}; {len(found.before)} landmarks, in pixels of the {frame} image, "
        f"diagonal {found.diagonal:.1f}"
    )
    return "\n".join(lines) + "\n"
