"""Convolution kernels: named ones, the notations in which users write their own, and how they are shown."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ..errors import ImgtoolError
from ._arrays import MAX_TAPS, Array, divided_by_sum, rank, shortened
from ._drawing import picture, text
from ._named import CATALOGUE, Entry, named
from ._notation import as_spec, parse_number, read_file, rows_of_text

__all__ = [
    "CATALOGUE",
    "MAX_TAPS",
    "Entry",
    "Kernel",
    "divided_by_sum",
    "parse_kernel",
    "parse_number",
    "picture",
    "rank",
    "text",
]


class Kernel(NamedTuple):
    """A kernel as `parse_kernel` returns it.

    Parameters
    ----------
    name : str
        The text it was made from.
    arrays : tuple of (h, w) or (d, h, w) float64 arrays
        One array is a linear filter; the responses to several are combined.
    combine : str
        How: ``magnitude`` (the root of the sum of squares) or ``maximum``.
    bias : float
        What is added to every response: the offset of a libvips matrix.
    """

    name: str
    arrays: tuple[Array, ...]
    combine: str = "magnitude"
    bias: float = 0.0

    @property
    def file(self) -> str | None:
        """The file that it was read from, if any."""
        return self.name[1:] if self.name.startswith("@") else None

    def normalized(self) -> "Kernel":
        """The kernel divided by its sum, so that it leaves a constant image as it is.

        Raises
        ------
        ImgtoolError
            The sum is 0, as it is for every edge detector.

        Examples
        --------
        >>> parse_kernel("1 2 1").normalized().arrays[0]
        array([[0.25, 0.5 , 0.25]])
        """
        what = f"kernel {shortened(self.name)!r}"
        return self._replace(arrays=tuple(divided_by_sum(array, what) for array in self.arrays))


def parse_kernel(
    spec: str, *, axes: int = 2, read_image: Callable[[str], npt.NDArray[np.generic]] | None = None
) -> Kernel:
    """The kernel that `spec` describes: a name with arguments, numbers, or @file.

    Parameters
    ----------
    spec : str
        A name (``"sobel"``), with one argument (``"gaussian:2"``) or several (``"gaussian:sigma=2,truncate=3"``), see
        `CATALOGUE`; rows of numbers separated by ``;`` or newlines, numbers by blanks or commas, fractions allowed
        (``"1/4 1/2 1/4"``); or ``"@FILE"``: such text in .txt or .csv, nested lists in .json, an array in .npy, a
        libvips matrix in .mat, or an image.
    axes : int
        2, or 3 for a kernel of planes, rows and columns: some named ones, .json and .npy files, stacks of images.
    read_image : callable, optional
        Makes an array of the image file of a name; kernel files that are images are refused without it.

    Returns
    -------
    Kernel
        Arrays for true convolution: element (i, j) weights the pixel i - (h - 1) // 2 rows above and j - (w - 1) // 2
        columns left of the output pixel. So ``sobel:x`` is positive where the image grows brighter to the right, and
        ``sobel:y`` where it grows brighter downwards.

    Raises
    ------
    ImgtoolError
        The text is not a kernel; the message names the place of the fault.

    Examples
    --------
    >>> parse_kernel("0 -1 0; -1 5 -1; 0 -1 0").arrays[0]
    array([[ 0., -1.,  0.],
           [-1.,  5., -1.],
           [ 0., -1.,  0.]])
    >>> parse_kernel("sobel:x").arrays[0]
    array([[ 1.,  0., -1.],
           [ 2.,  0., -2.],
           [ 1.,  0., -1.]])
    """
    words = spec.strip()
    call = as_spec(words)
    if words.startswith("@"):
        array, bias = read_file(words[1:], read_image)
        kernel = Kernel(words, (array,), bias=bias)
    elif call is not None:
        arrays, combine = named(*call, axes=axes)
        kernel = Kernel(words, arrays, combine)
    else:
        kernel = Kernel(words, (rows_of_text(words, f"kernel {shortened(words)!r}"),))
    found = kernel.arrays[0].ndim
    if found != axes:
        raise ImgtoolError(f"kernel {shortened(words)!r} has {found} axes where the images are filtered along {axes}")
    return kernel
