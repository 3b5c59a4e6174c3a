"""imgtool kernels."""

import json
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import ImgtoolError
from .command import command
from .values import completing, kernel_from, kernel_names

if TYPE_CHECKING:
    from ..kernels import Entry, Kernel

_NUMBERS = (".npy", ".txt", ".csv", ".json")


@command
@click.argument(
    "kernel", metavar="[SPEC]", required=False, callback=kernel_from("axes"), shell_complete=completing(kernel_names)
)
@click.option(
    "--axes",
    type=click.Choice(["yx", "zyx"]),
    default="yx",
    is_eager=True,
    help="A kernel for images, or one for volumes.",
)
@click.option("--normalize", is_flag=True, help="Divide the kernel by its sum.")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help=f"Draw the kernel into this image, or write its numbers ({', '.join(_NUMBERS)}).",
)
@click.option("--exists", type=click.Choice(["error", "overwrite"]), default="error", help="When the output exists.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON: one object, or one for each named kernel.")
def kernels(
    kernel: "Kernel | None", axes: str, normalize: bool, output: Path | None, exists: str, as_json: bool
) -> int:
    """List the named kernels; print or draw one.

    \b
    imgtool kernels
    imgtool kernels gaussian:sigma=1.5
    imgtool kernels gabor:angle=30 -o gabor.png

    SPEC is what "imgtool convolve -k" takes. What is printed can be given back to it as @FILE.txt.
    """
    if kernel is None:
        if normalize or output is not None:
            raise click.UsageError("--normalize and -o need a kernel; name one, such as gaussian")
        _list(as_json, volumes=axes == "zyx")
        return 0
    if normalize:
        try:
            kernel = kernel.normalized()
        except ImgtoolError as error:
            raise click.BadParameter(f"{error}; leave the option out", param_hint="'--normalize'") from error
    if output is not None:
        _write(kernel, output, overwrite=exists == "overwrite")
    elif as_json:
        click.echo(json.dumps(_record(kernel)))
    else:
        click.echo(_page(kernel), nl=False)
    return 0


def _list(as_json: bool, *, volumes: bool) -> None:
    from ..kernels import CATALOGUE

    entries = {name: entry for name, entry in CATALOGUE.items() if entry.volume or not volumes}
    if as_json:
        for name, entry in entries.items():
            arguments = {key: {"default": a.default, "wanted": a.wanted} for key, a in entry.arguments.items()}
            click.echo(json.dumps({"name": name, "summary": entry.summary, "arguments": arguments}))
        return
    for name, entry in entries.items():
        click.echo(f"{_spelled(name, entry)}\n    {entry.summary}")
        for key, argument in entry.arguments.items():
            click.echo(f"        {key}: {argument.wanted}")


def _spelled(name: str, entry: "Entry") -> str:
    """The kernel with its arguments at their defaults, as it could be typed."""
    arguments = ",".join(f"{key}={argument.default}" for key, argument in entry.arguments.items())
    return f"{name}:{arguments}" if arguments else name


def _record(kernel: "Kernel") -> dict[str, Any]:
    from ..kernels import rank

    return {
        "kernel": kernel.name,
        "combine": kernel.combine if len(kernel.arrays) > 1 else None,
        "bias": kernel.bias,
        "arrays": [
            {"shape": array.shape, "sum": float(array.sum()), "rank": rank(array), "values": array.tolist()}
            for array in kernel.arrays
        ],
    }


def _page(kernel: "Kernel") -> str:
    """The numbers, under comments that a kernel file may have."""
    from ..kernels import rank, text

    parts = []
    for place, array in enumerate(kernel.arrays, 1):
        which = f" ({kernel.combine} of {len(kernel.arrays)}, number {place})" if len(kernel.arrays) > 1 else ""
        size = "x".join(map(str, reversed(array.shape)))
        bias = f", bias {kernel.bias:g}" if kernel.bias else ""
        about = f"{size}, sum {array.sum():.6g}, rank {rank(array)}{bias}"
        parts.append(f"# {' '.join(kernel.name.split())}{which}: {about}\n{text(array)}")
    return "\n".join(parts)


def _write(kernel: "Kernel", output: Path, *, overwrite: bool) -> None:
    import numpy as np

    from .. import io
    from ..kernels import picture, text

    kind = output.suffix.lower()
    if kind not in _NUMBERS:
        io.check_output(output, dtype="uint8", channels=3)
        io.write(output, io.Image(picture(kernel.arrays), -1), overwrite=overwrite)
        return
    if len(kernel.arrays) > 1:
        raise ImgtoolError(
            f"{output}: {kernel.name} is {len(kernel.arrays)} kernels and a file holds one; choose a direction, such "
            f"as {kernel.name.partition(':')[0]}:x"
        )
    (array,) = kernel.arrays
    if kind in (".txt", ".csv") and array.ndim > 2:
        raise ImgtoolError(f"{output}: a kernel of three axes cannot be text; use .npy or .json")
    if kind == ".npy":
        buffer = BytesIO()
        np.save(buffer, array)
        io.write_bytes(output, buffer.getvalue(), overwrite=overwrite)
    elif kind == ".json":
        io.write_text(output, json.dumps(array.tolist()) + "\n", overwrite=overwrite)
    else:
        io.write_text(output, text(array, "," if kind == ".csv" else " "), overwrite=overwrite)
