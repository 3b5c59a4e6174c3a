"""Kernels by name: what each is called and what it takes."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from ..errors import ImgtoolError
from . import _build
from ._arrays import shortened
from ._build import Arrays
from ._notation import parse_number


class Argument(NamedTuple):
    """Its default as text, what it must be in words, and its reader, which returns None for what it is not."""

    default: str
    wanted: str
    read: Callable[[str], Any]


class Entry(NamedTuple):
    """A named kernel: what it is in a line, its arguments in order, and whether it exists with three axes too."""

    summary: str
    build: Callable[..., Arrays]
    arguments: Mapping[str, Argument]
    volume: bool = False
    combine: str = "magnitude"


def _number(least: float, most: float, wanted: str, default: str, *, open_below: bool = False) -> Argument:
    def read(text: str) -> float | None:
        value = parse_number(text)
        good = value is not None and least <= value <= most and not (open_below and value == least)
        return value if good else None

    return Argument(default, wanted, read)


def _positive(default: str) -> Argument:
    return _number(0, 1e300, "a number above 0", default, open_below=True)


def _angle() -> Argument:
    return _number(-1e6, 1e6, "an angle in degrees", "0")


def _read_count(text: str) -> int | None:
    # More than nine digits are beyond every limit, and int() refuses thousands of them.
    digits = text.lstrip("0")
    return int(digits) if text.isascii() and digits.isdecimal() and len(digits) <= 9 else None


def _read_order(text: str) -> int | None:
    return int(text) if text in ("0", "1", "2", "3", "4") else None


def _per_axis(default: str, wanted: str, read: Callable[[str], Any]) -> Argument:
    """One value for all axes, or one for each, x first, with an x between them."""

    def read_all(text: str) -> tuple[Any, ...] | None:
        values = tuple(read(part) for part in text.lower().split("x"))
        return None if None in values or len(values) > 3 else values

    return Argument(default, wanted, read_all)


def _read_binomial_size(text: str) -> int | None:
    size = _read_count(text)
    return size if size is None or size <= 63 else None


def _one_of(default: str, *choices: str) -> Argument:
    words = f"{', '.join(choices[:-1])} or {choices[-1]}"
    return Argument(default, words, lambda text: text.lower() if text.lower() in choices else None)


_TRUNCATE = _positive("4")
_DIRECTION = {"direction": _one_of("magnitude", "x", "y", "magnitude")}
_SIZES = "a whole number such as 3, or WIDTHxHEIGHT such as 5x3"
_SIGMA = "a number above 0, or one for each axis such as 2x1.5"
_ORDERS = "0 to 4, or one for each axis such as 1x0"


def _sigma(default: str) -> Argument:
    return _per_axis(default, _SIGMA, _positive("").read)


#: Every named kernel. Sources: dog, log: Marr & Hildreth 1980; prewitt: Prewitt 1970; scharr: Scharr 2000, sec. 9.6;
#: roberts: Roberts 1965; sobel: Sobel & Feldman 1968; kirsch: Kirsch 1971; gabor: Daugman 1985;
#: motion, disk: as MATLAB's fspecial, the disk with exact areas.
CATALOGUE: dict[str, Entry] = {
    "identity": Entry("the image itself", _build.identity, {}, volume=True),
    "box": Entry("mean of a rectangle", _build.box, {"size": _per_axis("3", _SIZES, _read_count)}, volume=True),
    "disk": Entry("mean of a disk, pixels on its rim in part", _build.disk, {"radius": _positive("2")}),
    "gaussian": Entry(
        "Gaussian, or its derivative of an order along each axis (x first: order=1x0)",
        _build.gaussian,
        {"sigma": _sigma("1"), "truncate": _TRUNCATE, "order": _per_axis("0", _ORDERS, _read_order)},
        volume=True,
    ),
    "binomial": Entry(
        "rows of Pascal's triangle: a Gaussian in whole numbers",
        _build.binomial,
        {"size": Argument("3", "a whole number from 1 to 63", _read_binomial_size)},
        volume=True,
    ),
    "motion": Entry(
        "motion along a line of a length in pixels and an angle counter-clockwise from x, in degrees",
        _build.motion,
        {"length": _number(1, 1e300, "a number from 1 on", "9"), "angle": _angle()},
    ),
    "sharpen": Entry(
        "five times the pixel less its four neighbours", _build.fixed([[0, -1, 0], [-1, 5, -1], [0, -1, 0]]), {}
    ),
    "unsharp": Entry(
        "the image plus an amount of what a Gaussian removes",
        _build.unsharp,
        {"sigma": _sigma("1"), "amount": _number(-1e6, 1e6, "a number", "1"), "truncate": _TRUNCATE},
        volume=True,
    ),
    "emboss": Entry("relief lit from the top left", _build.fixed([[2, 1, 0], [1, 1, -1], [0, -1, -2]]), {}),
    "sobel": Entry("gradient, smoothed by 1 2 1", _build.directional((1, 2, 1)), _DIRECTION),
    "prewitt": Entry("gradient, smoothed by 1 1 1", _build.directional((1, 1, 1)), _DIRECTION),
    "scharr": Entry(
        "gradient, smoothed by 3 10 3: nearly alike for all angles", _build.directional((3, 10, 3)), _DIRECTION
    ),
    "roberts": Entry(
        "gradient along the diagonals, 2 x 2; x: to the lower right, y: to the lower left", _build.roberts, _DIRECTION
    ),
    "kirsch": Entry(
        "compass gradient; magnitude is the largest of the eight responses",
        _build.kirsch,
        {"direction": _one_of("magnitude", "x", "y", "magnitude", *_build.COMPASS)},
        combine="maximum",
    ),
    "laplacian": Entry(
        "second differences over 4 or 8 neighbours (of a volume 6 or 26)",
        _build.laplacian,
        {"neighbours": _one_of("4", "4", "8")},
        volume=True,
    ),
    "log": Entry("Laplacian of a Gaussian", _build.log, {"sigma": _sigma("1"), "truncate": _TRUNCATE}, volume=True),
    "dog": Entry(
        "difference of a Gaussian and one wider by a ratio",
        _build.dog,
        {
            "sigma": _sigma("1"),
            "ratio": _number(1, 1e6, "a number above 1", "1.6", open_below=True),
            "truncate": _TRUNCATE,
        },
        volume=True,
    ),
    "gabor": Entry(
        "wave of a wavelength, angle and phase (degrees) under a Gaussian that is 1/gamma as long along its crests",
        _build.gabor,
        {
            "sigma": _positive("2"),
            "wavelength": _positive("4"),
            "angle": _angle(),
            "gamma": _positive("0.5"),
            "phase": _angle(),
        },
    ),
}


def named(name: str, arguments: str | None, *, axes: int) -> tuple[Arrays, str]:
    """The arrays of a named kernel, and how the responses to several are combined.

    Raises
    ------
    ImgtoolError
        There is no such kernel, or it does not take these arguments.
    """
    if name not in CATALOGUE:
        from difflib import get_close_matches

        nearest = get_close_matches(name, CATALOGUE, n=1)
        suggestion = f"did you mean {nearest[0]}? Known are" if nearest else "known are"
        raise ImgtoolError(f"there is no kernel named {shortened(name)!r}; {suggestion} {', '.join(sorted(CATALOGUE))}")
    entry = CATALOGUE[name]
    if axes != 2 and not (axes == 3 and entry.volume):
        volumes = ", ".join(other for other, one in CATALOGUE.items() if one.volume)
        raise ImgtoolError(f"kernel {name} has no form with {axes} axes; with 3 there are {volumes}")
    known = entry.arguments
    texts: dict[str, str] = {}
    for place, part in enumerate([] if arguments is None else arguments.split(",")):
        key, equals, text = (piece.strip() for piece in part.partition("="))
        if not equals:  # a bare value is the first argument
            key, text = (next(iter(known), ""), key) if place == 0 else (key, "")
        if key not in known:
            takes = f"takes {_listed(list(known))}" if known else "takes no arguments"
            raise ImgtoolError(f"kernel {name} has no argument {shortened(part.strip())!r}; it {takes}")
        if key in texts:
            raise ImgtoolError(f"kernel {name} is given {key} twice; give it once")
        texts[key] = text
    values = {}
    for key, argument in known.items():
        text = texts.get(key, argument.default)
        values[key] = argument.read(text)
        if values[key] is None:
            raise ImgtoolError(f"kernel {name}: {key} must be {argument.wanted}, not {shortened(text)!r}")
    return entry.build(axes, **values), entry.combine


def _listed(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
