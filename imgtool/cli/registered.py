"""What becomes of one moving image: registered, judged, drawn, written and told of."""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from ..errors import ImgtoolError
from .common import CommonFile
from .options import Reading, Writing
from .plan import Item
from .planes import Look, Spacing, check_channels, plane_of, spacing_of
from .run import Done, write_image
from .warp import load_transform

if TYPE_CHECKING:
    import numpy as np

    from .._check import Array
    from ..io import Image, Info
    from ..registration import Registration
    from ..transforms import MatrixTransform

# Pictures of a result, as the functions of `imgtool.pictures` and the outputs of an item are called.
PICTURES = ("overlay", "checkerboard")
# Bytes for each pixel of both images that the search for a transform takes, as measured at 2048x2048 and 4096x4096.
_MATRIX_BYTES, _DENSE_BYTES = 8, 20
# What the file of a transform says beside it.
FIGURES = ("nmi_before", "nmi_after", "overlap", "confidence", "confident")


@dataclass(frozen=True)
class ReferenceFiles:
    """The files of what every moving image is registered to and by, and how they are looked at."""

    fixed: CommonFile
    fixed_mask: CommonFile | None
    moving_mask: CommonFile | None
    initial: CommonFile | None
    landmarks: CommonFile | None
    look: Look
    pixel_size: Spacing | str | None
    reading: Reading

    @property
    def given(self) -> list[CommonFile]:
        """Those that there are."""
        files = (self.fixed, self.fixed_mask, self.moving_mask, self.initial, self.landmarks)
        return [file for file in files if file is not None]

    @property
    def shape(self) -> tuple[int, ...]:
        """Height and width of the fixed image, by its header; an ImgtoolError if a header says that it will not do."""
        return _checked_shape(self)

    def read(self) -> "References":
        """What the files hold, read once."""
        return _references(self)


@dataclass(frozen=True)
class References:
    """What every moving image is registered to and by."""

    name: str
    fixed: "Array"
    spacing: Spacing | None
    masks: "dict[str, Array | None]"
    initial: "MatrixTransform | None"
    landmarks: "tuple[Array, Array] | None"
    landmarks_name: str


@lru_cache(maxsize=2)
def _checked_shape(files: ReferenceFiles) -> tuple[int, ...]:
    from .. import io

    for mask in (files.fixed_mask, files.moving_mask):
        if mask is not None:
            io.probe(mask.here)
    info = io.probe(files.fixed.here, auto_orient=files.reading.auto_orient)
    _check_single(files.fixed.here, info, files.look)
    return info.shape[:2]


def _check_single(name: str, info: "Info", look: Look) -> None:
    """Refuse an image of several pages, and one that has not the channels that are looked at."""
    if info.pages > 1:
        raise ImgtoolError(f"{name}: has {info.pages} pages; align them by imgtool stack, or extract one")
    check_channels(name, info, look)


@lru_cache(maxsize=2)
def _references(files: ReferenceFiles) -> References:
    import numpy as np

    from .. import io
    from ..io.points import read_matches

    def mask(file: CommonFile | None) -> "Array | None":
        if file is None:
            return None
        image = io.read(file.here, **files.reading._asdict())
        if image.channel_axis is None:
            return image.data
        # Masks get saved as RGB, too: a pixel counts where any colour is not 0.
        return np.asarray(image.data[..., : image.channels - image.has_alpha].any(axis=-1))

    fixed = files.fixed.here
    image = io.read(fixed, **files.reading._asdict())
    return References(
        files.fixed.name,
        plane_of(fixed, image, image.data, files.look),
        spacing_of(fixed, image, files.pixel_size),
        {"fixed_mask": mask(files.fixed_mask), "moving_mask": mask(files.moving_mask)},
        None if files.initial is None else _matrix(files.initial.here),
        None if files.landmarks is None else read_matches(files.landmarks.here),
        "" if files.landmarks is None else files.landmarks.name,
    )


def _matrix(initial: str) -> "MatrixTransform":
    from ..transforms import MatrixTransform

    found = load_transform(initial)
    if not isinstance(found, MatrixTransform):
        raise ImgtoolError(f"{initial}: a registration begins at a matrix, not at a {found.models[0]}")
    return found


@dataclass(frozen=True)
class Registering:
    """A registration with all its options; see `steps.Step`."""

    references: ReferenceFiles
    look: Look
    moving_spacing: Spacing | str | None
    settings: dict[str, Any]
    strict: bool
    sampling: dict[str, Any]
    parameters: dict[str, Any]
    dtype: None = None
    together: bool = False

    @property
    def files(self) -> list[str]:
        """Files that the result depends on besides the moving image."""
        return [file.name for file in self.common]

    @property
    def common(self) -> list[CommonFile]:
        """All of them are read wherever the work is done."""
        return self.references.given

    def fits(self, item: Item, info: "Info") -> "Info":
        """What the header of the warped image will say; an ImgtoolError if there can be none."""
        _check_single(item.input, info, self.look)
        return info._replace(shape=self.references.shape + info.shape[2:])

    def change(
        self, image: "Image", item: Item, done: Done, *, threads: int, dtype: "np.dtype[Any]", full: float
    ) -> "Array":
        """The image on the grid of the fixed one; see `steps.Step`."""
        return self.warped(image, self.result(image, self.plane(image, item), item, done, threads), threads)

    def memory(self, info: "Info") -> int:
        """About how many bytes the search for the transform takes; see `steps.Step`."""
        pixels = info.pixels + math.prod(self.references.shape)
        return pixels * (_DENSE_BYTES if self.settings["model"] == "bspline" else _MATRIX_BYTES)

    def plane(self, image: "Image", item: Item) -> "Array":
        """What is compared of a moving image."""
        return plane_of(item.input, image, image.data, self.look)

    def result(self, image: "Image", plane: "Array", item: Item, done: Done, threads: int) -> "Registration":
        """The registration of a moving image and its plane, judged and told of."""
        references = self.references.read()
        size = spacing_of(item.input, image, self.moving_spacing)
        try:
            result = _registered(references, plane, size, self.settings, threads)
        except ImgtoolError as error:
            raise ImgtoolError(f"{item.input} onto {references.name}: {error}") from error
        _judge(result, item, self.strict, done)
        _describe(result, item, done)
        done.moved = True
        return result

    def warped(self, image: "Image", result: "Registration", threads: int) -> "Array":
        """The image on the grid of the fixed one, by a result."""
        from ..transforms import warp

        axes: dict[str, Any] = {"channel_axis": image.channel_axis, "has_alpha": image.has_alpha}
        return warp(image.data, result.transform, **self.sampling, **axes, threads=threads)


def register_file(item: Item, threads: int, *, registering: Registering, reading: Reading, writing: Writing) -> Done:
    """Register the image in one file, and write what is wanted of it."""
    from .. import io
    from ..io.transforms import write_transform

    done = Done()
    with done.timed("read"):
        moving = io.read(item.input, **reading._asdict())
        plane = registering.plane(moving, item)
    with done.timed("register"):
        result = registering.result(moving, plane, item, done, threads)
    with done.timed("warp"):
        images = _pictures(registering.references.read().fixed, plane, result, item, threads)
        if "output" in item.outputs:
            images["output"] = moving.with_data(registering.warped(moving, result, threads))
    with done.timed("write"):
        for what, image in images.items():
            if what == "output":
                write_image(item, image, done, writing=writing)
            else:
                io.write(item.outputs[what], image, **writing.options)
        if "transform" in item.outputs:
            figures = {name: getattr(result, name) for name in FIGURES}
            write_transform(item.outputs["transform"], result.transform, figures=figures, overwrite=writing.overwrite)
    if "output" in images:
        done.saw(images["output"].data)
    return done


def _registered(
    references: References, moving: "Array", size: Spacing | None, settings: dict[str, Any], threads: int
) -> "Registration":
    from .. import registration

    options = settings | references.masks | {"threads": threads}
    options["initial"] = _initial(references, moving, settings["model"])
    if references.spacing is None or size is None:
        return registration.register(references.fixed, moving, **options)
    from .. import physical  # which imports filters

    return physical.register(references.fixed, moving, references.spacing, size, **options)


def _initial(references: References, moving: "Array", model: str) -> "MatrixTransform | None":
    from ..landmarks import fit, model_for
    from ..transforms import MatrixTransform

    shapes = references.fixed.shape, moving.shape
    initial = references.initial
    if references.landmarks is not None:
        pairs = len(references.landmarks[0])
        simplest = model_for(pairs, "affine" if model == "auto" else model)
        try:
            initial = MatrixTransform(fit(*references.landmarks, simplest), simplest, *shapes)
        except ImgtoolError as error:
            raise ImgtoolError(f"{references.landmarks_name}: {error}") from error
    elif initial is not None:
        for shape, made, which in zip(
            shapes, (initial.fixed_shape, initial.moving_shape), ("fixed", "moving"), strict=True
        ):
            if made not in (None, shape):
                what = f"a {which} image of {made[1]}x{made[0]} pixels, but this one has {shape[1]}x{shape[0]}"
                raise ImgtoolError(f"the initial transform is for {what}")
    return initial


def _judge(result: "Registration", item: Item, strict: bool, done: Done) -> None:
    """Refuse a result that is no better than the start, and doubt one that is not certain."""
    if not result.improved:
        raise ImgtoolError(
            f"{item.input}: NMI would fall from {result.nmi_before:.6f} to {result.nmi_after:.6f}, so nothing is "
            "written; try a simpler --model, or masks"
        )
    if result.confident:
        return
    doubt = f"the result is not certain (confidence {result.confidence:.2f})"
    if strict:
        raise ImgtoolError(f"{item.input}: {doubt}, so nothing is written; look at it by --overlay without --strict")
    done.warnings.append(f"{doubt}; look at it by --overlay or --checkerboard")


def _pictures(fixed: "Array", plane: "Array", result: "Registration", item: Item, threads: int) -> "dict[str, Image]":
    """The pictures that are wanted, by what they are called in the item's outputs."""
    import numpy as np

    from .. import pictures
    from ..io import Image
    from ..transforms import warp

    shown = [what for what in PICTURES if what in item.outputs]
    if not shown:
        return {}
    values = plane.astype(np.result_type(plane, np.float32), copy=False)
    warped = warp(values, result.transform, fill=np.nan, threads=threads)
    drawn = {what: getattr(pictures, what)(fixed, warped) for what in shown}
    return {what: Image(picture, -1 if picture.ndim == 3 else None) for what, picture in drawn.items()}


def _describe(result: "Registration", item: Item, done: Done) -> None:
    transform, motion = result.transform, result.transform.describe()
    scales = sorted({f"{scale:.4f}" for scale in motion.scales})
    done.line = (
        f"{item.input}: NMI {result.nmi_before:.4f} -> {result.nmi_after:.4f} in {result.iterations} iterations, "
        f"{result.seconds:.2f} s; {transform.model}: shift {motion.shift[0]:.2f}, {motion.shift[1]:.2f} px, "
        f"rotation {motion.rotation:.2f} degrees, scale {' and '.join(scales)}{', mirrored' * result.mirrored}"
    )
    done.details = {
        "nmi_before": result.nmi_before,
        "nmi_after": result.nmi_after,
        "iterations": result.iterations,
        "overlap": result.overlap,
        "confidence": result.confidence,
        "confident": result.confident,
        "search": result.search,
        "static_frame": result.static_frame,
        "model": transform.model,
        "reason": result.reason,
        "mirrored": result.mirrored,
        "matrix": transform.matrix.tolist(),
        "shift": motion.shift,
        "rotation": motion.rotation,
        "scales": motion.scales,
    }
