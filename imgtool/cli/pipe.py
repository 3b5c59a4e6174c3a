"""imgtool pipe."""

import shlex
from importlib import import_module
from itertools import takewhile

import click

from .command import command
from .options import Batch, batch_options, inputs_argument
from .steps import Step, apply_steps
from .words import advice

_STEPS = ("convolve", "warp", "register")


@command
@inputs_argument("words", "STEP... INPUT")
@batch_options
def pipe(words: tuple[str, ...], batch: Batch) -> int:
    """Take images through several operations, rounding once.

    \b
    imgtool pipe "convolve -k gaussian:sigma=2" "convolve -k laplacian" scans/*.png -O out/
    imgtool pipe "convolve -k gaussian:3" "convolve -k sobel --dtype float32" a.png -o edges.tif
    imgtool pipe "register ct.png -m rigid" "convolve -k sharpen" mr*.png -O out/

    A STEP is a command, convolve, warp or register (with its FIXED image), with its options in one word, but without
    inputs and outputs. Between steps values stay in floating point, float32 for 8-bit images and float64 for all
    others; the result has the type of the input, unless a --dtype asks for another. An integer --dtype before the last
    step rounds there.
    """
    texts = list(takewhile(_is_step, words))
    inputs = words[len(texts) :]
    if not texts:
        raise click.UsageError(f"{words[0]!r} is no step; {advice(words[0], _STEPS)}, with its options in one word")
    if not inputs and batch.files_from is None and not batch.found.failed:
        raise click.UsageError("there are steps but no input; name images after the steps, or give --files-from")
    steps = [_parsed(number, text, batch) for number, text in enumerate(texts, 1)]
    parameters = {
        "steps": [{"operation": _split(t)[0], **step.parameters} for t, step in zip(texts, steps, strict=True)]
    }
    return apply_steps("pipe", inputs, steps, batch, parameters=parameters)


def _is_step(text: str) -> bool:
    return bool(text) and _split(text)[:1] in [[name] for name in _STEPS]


def _split(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError:
        return text.split()  # an open quote: its command says what is wrong, if it is one


def _parsed(number: int, text: str, batch: Batch) -> Step:
    """The step that a text describes, by the options of its command."""
    name, *words = _split(text)
    command: click.Command = import_module(f".{name}", __package__).step
    program = click.get_current_context().find_root()  # its variables and its --config hold for steps, too
    try:
        with command.make_context(name, words, parent=program, obj=batch) as context:
            step: Step = command.invoke(context)
    except click.UsageError as error:
        raise click.UsageError(f"step {number} ({text}): {error.format_message().rstrip('.')}") from error
    return step
