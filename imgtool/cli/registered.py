"""What becomes of one moving image: registered, judged, drawn, written and told of."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ..errors import ImgtoolError
from .plan import Item
from .planes import Look, Spacing, plane_of, spacing_of
from .run import Done, write_image
from .warp import load_transform

if TYPE_CHECKING:
    from .._check import Array
    from ..io import Image
    from ..registration import Registration
    from ..transforms import MatrixTransform

# Pictures of a result, as the functions of `imgtool.pictures` and the outputs of an item are called.
PICTURES = ("overlay", "checkerboard")
# What the file of a transform says beside it.
FIGURES = ("nmi_before", "nmi_after", "overlap", "confidence", "confident")


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


def read_references(
    fixed: str,
    fixed_mask: str | None,
    moving_mask: str | None,
    look: Look,
    pixel_size: Spacing | str | None,
    initial: str | None,
    landmarks: str | None,
    *,
    max_pixels: int,
) -> References:
    """Read the fixed image, the masks, and where to begin."""
    import numpy as np

    from .. import io

    def mask(name: str | None) -> "Array | None":
        if name is None:
            return None
        image = io.read(name, max_pixels=max_pixels)
        if image.channel_axis is None:
            return image.data
        # Masks get saved as RGB, too: a pixel counts where any colour is not 0.
        return np.asarray(image.data[..., : image.channels - image.has_alpha].any(axis=-1))

    image = io.read(fixed, max_pixels=max_pixels)
    return References(
        fixed,
        plane_of(fixed, image, image.data, look),
        spacing_of(fixed, image, pixel_size),
        {"fixed_mask": mask(fixed_mask), "moving_mask": mask(moving_mask)},
        None if initial is None else _matrix(initial),
        None if landmarks is None else io.read_matches(landmarks),
        landmarks or "",
    )


def _matrix(initial: str) -> "MatrixTransform":
    from ..transforms import MatrixTransform

    found = load_transform(initial)
    if not isinstance(found, MatrixTransform):
        raise ImgtoolError(f"{initial}: a registration begins at a matrix, not at a {found.models[0]}")
    return found


def register_file(
    item: Item,
    threads: int,
    *,
    references: References,
    look: Look,
    moving_spacing: Spacing | str | None,
    settings: dict[str, Any],
    strict: bool,
    sampling: dict[str, Any],
    max_pixels: int,
    overwrite: bool,
) -> Done:
    """Register the image in one file, and write what is wanted of it."""
    from .. import io
    from ..io.transforms import write_transform

    done = Done()
    with done.timed("read"):
        moving = io.read(item.input, max_pixels=max_pixels)
        plane = plane_of(item.input, moving, moving.data, look)
        size = spacing_of(item.input, moving, moving_spacing)
    with done.timed("register"):
        try:
            result = _registered(references, plane, size, settings, threads)
        except ImgtoolError as error:
            raise ImgtoolError(f"{item.input} onto {references.name}: {error}") from error
    _judge(result, item, strict, done)
    with done.timed("warp"):
        images = _images(result, references.fixed, moving, plane, item, sampling, threads)
    with done.timed("write"):
        for what, image in images.items():
            if what == "output":
                write_image(item, image, overwrite=overwrite)
            else:
                io.write(item.outputs[what], image, overwrite=overwrite)
        if "transform" in item.outputs:
            figures = {name: getattr(result, name) for name in FIGURES}
            write_transform(item.outputs["transform"], result.transform, figures=figures, overwrite=overwrite)
    if "output" in images:
        done.saw(images["output"].data)
    _describe(result, item, done)
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


def _images(
    result: "Registration",
    fixed: "Array",
    moving: "Image",
    plane: "Array",
    item: Item,
    sampling: dict[str, Any],
    threads: int,
) -> "dict[str, Image]":
    """The image and the pictures that are wanted, by what they are called in the item's outputs."""
    import numpy as np

    from .. import pictures
    from ..io import Image
    from ..transforms import warp

    images: dict[str, Image] = {}
    if "output" in item.outputs:
        axes: dict[str, Any] = {"channel_axis": moving.channel_axis, "has_alpha": moving.has_alpha}
        images["output"] = replace(
            moving, data=warp(moving.data, result.transform, **sampling, **axes, threads=threads)
        )
    shown = [what for what in PICTURES if what in item.outputs]
    if shown:
        values = plane.astype(np.result_type(plane, np.float32), copy=False)
        warped = warp(values, result.transform, fill=np.nan, threads=threads)
        for what in shown:
            picture = getattr(pictures, what)(fixed, warped)
            images[what] = Image(picture, -1 if picture.ndim == 3 else None)
    return images


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
