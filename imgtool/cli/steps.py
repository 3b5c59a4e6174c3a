"""Operations that make an image of an image: what they share, alone and one after another."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Protocol

from .common import CommonFile
from .options import Batch, Reading, Writing
from .plan import Item, image_outputs, make_plan
from .run import Done, change_image, check_holds, execute, size_of

if TYPE_CHECKING:
    import numpy as np

    from .._check import Array
    from ..io import Image, Info


class Step(Protocol):
    """An operation with all its options, ready for any image; picklable, for it may travel to a cluster."""

    @property
    def parameters(self) -> Mapping[str, Any]:
        """The options, for --json."""

    @property
    def files(self) -> Sequence[str]:
        """Files that the result depends on besides the image."""

    @property
    def common(self) -> Sequence[CommonFile]:
        """Those of them that are read wherever the work is done."""

    @property
    def dtype(self) -> str | None:
        """The type of the result, if it was asked for."""

    @property
    def together(self) -> bool:
        """Whether it needs all pages of a stack together; else it gets them one by one."""

    def fits(self, item: Item, info: "Info") -> "Info":
        """What the header of the result will say; an ImgtoolError if there can be none."""

    def memory(self, info: "Info") -> int:
        """About how many bytes the work takes beside an image with this header and the result."""

    def change(
        self, image: "Image", item: Item, done: Done, *, threads: int, dtype: "np.dtype[Any]", full: float
    ) -> "Array":
        """The pixels of the result in this type, where full intensity is `full`; what is to be said goes to `done`."""


def apply_steps(
    operation: str, inputs: Sequence[str], steps: Sequence[Step], batch: Batch, *, parameters: Mapping[str, Any]
) -> int:
    """Take every input through `steps`; the exit status."""
    items = [Item(name, {"output": output}) for name, output in zip(inputs, image_outputs(inputs, batch), strict=True)]
    others = [name for step in steps for name in step.files]
    common = [file for step in steps for file in step.common]
    fits = partial(_fits, steps=steps, reading=batch.reading)
    plan = make_plan(items, batch, fits=fits, others=others, common=common)
    work = partial(steps_on_file, steps=steps, reading=batch.reading, writing=batch.writing)
    return execute(operation, plan, work, batch, parameters=parameters)


def _fits(item: Item, *, steps: Sequence[Step], reading: Reading) -> int:
    from .. import io

    infos = [io.probe(item.input, auto_orient=reading.auto_orient)]
    for step in steps:
        infos.append(step.fits(item, infos[-1]))
    check_holds(item, infos[-1])
    if not any(step.together for step in steps):  # one page is in memory at a time
        infos = [info._replace(shape=info.shape[info.pages > 1 :], pages=1) for info in infos]
    work = [step.memory(info) for step, info in zip(steps, infos[:-1], strict=True)]
    if len(steps) > 1:
        between = [size_of(info._replace(dtype=_between(info.dtype))) for info in infos]
        work = [taken + given + more for (taken, given), more in zip(pairwise(between), work, strict=True)]
    # The result, and the file made of it.
    return item.encoded + size_of(infos[0]) + max(work) + 2 * size_of(infos[-1])


def steps_on_file(item: Item, threads: int, *, steps: Sequence[Step], reading: Reading, writing: Writing) -> Done:
    """Take the image in one file through `steps`."""
    change: Callable[[Image, Done], Array]
    if len(steps) == 1:
        change = partial(one_step, steps[0], item, threads)
    else:
        change = partial(many_steps, steps, item, threads)
    return change_image(item, change, reading=reading, writing=writing, together=any(step.together for step in steps))


def one_step(step: Step, item: Item, threads: int, image: "Image", done: Done) -> "Array":
    """The result of one operation, in the type asked for or that of the image."""
    import numpy as np

    dtype = np.dtype(step.dtype or image.data.dtype)
    return step.change(image, item, done, threads=threads, dtype=dtype, full=_full(image.data.dtype))


def many_steps(steps: Sequence[Step], item: Item, threads: int, image: "Image", done: Done) -> "Array":
    """The result of operations one after another, in floating point from the first to the last.

    It is rounded once, at the end; and before that only where a step says by its --dtype that it wants integers.
    Opacity is 0..1 in between, as in every image of floating point.
    """
    import numpy as np

    dtype = image.data.dtype
    opaque = _full(dtype) if image.has_alpha else 1.0
    full, data = _full(dtype), _scaled_alpha(image.data.astype(_between(dtype)), 1 / opaque)
    for step in steps:
        data = step.change(image.with_data(data), item, done, threads=threads, dtype=data.dtype, full=full)
        dtype = np.dtype(step.dtype or dtype)
        if step.dtype is not None and step is not steps[-1]:
            rounded = _rounded(_scaled_alpha(data, opaque), dtype, done)
            data = _scaled_alpha(rounded.astype(_between(dtype)), 1 / opaque)
    return _rounded(_scaled_alpha(data, opaque), dtype, done)


def _full(dtype: "np.dtype[Any]") -> float:
    """Full intensity, and opaque, in a type."""
    from .._check import alpha_one

    return alpha_one(dtype)


def _between(dtype: "np.dtype[Any]") -> "np.dtype[Any]":
    """The type that carries values of `dtype` from step to step: float32 where its 24 bits leave 16 for fractions."""
    import numpy as np

    if dtype.kind == "c":
        return np.dtype(np.complex128)
    small = dtype.itemsize == 1 or dtype in (np.float16, np.float32)
    return np.dtype(np.float32 if small else np.float64)


def _scaled_alpha(data: "Array", factor: float) -> "Array":
    if factor != 1:
        data[..., -1] *= data.dtype.type(factor)
    return data


def _rounded(data: "Array", dtype: "np.dtype[Any]", done: Done) -> "Array":
    from .._check import rounded_to, saturation

    if data.dtype == dtype or dtype.kind == "c":
        return data.astype(dtype, copy=False)
    told_saturation(saturation(data, dtype), dtype, done)
    return rounded_to(data, dtype)


def told_saturation(count: int, dtype: "np.dtype[Any]", done: Done) -> None:
    """Count values that did not fit into the type of the result, of all pages together."""
    if count:
        done.saturated[str(dtype)] = done.saturated.get(str(dtype), 0) + count
