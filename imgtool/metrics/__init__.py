"""Normalised mutual information and its gradient, on arrays.

The joint histogram has cubic B-spline Parzen windows on both images; value and gradient come from the same table. A
histogram is made of bin coordinates: an image's intensities, mapped once and affinely to [2, bins - 3].
"""

from typing import NamedTuple

import numpy.typing as npt

from .. import _ext
from .._check import Array
from ._alignment import Alignment as Alignment
from ._intensity import PERCENTILES as PERCENTILES
from ._intensity import Range as Range
from ._intensity import bin_count as bin_count
from ._intensity import bin_limits as bin_limits
from ._intensity import image_array as image_array
from ._intensity import intensity_range as intensity_range
from ._intensity import percentile_pair as percentile_pair
from ._intensity import pixel_mask as pixel_mask
from ._intensity import real_image as real_image
from ._intensity import to_bins as to_bins
from ._picture import picture as picture
from ._workspace import METHODS as METHODS
from ._workspace import Similarity as Similarity
from ._workspace import Table as Table
from ._workspace import Workspace as Workspace


class Score(NamedTuple):
    """NMI, and the table whose windowed sum is its derivative with respect to a warped value in bin coordinates."""

    nmi: float
    slopes: Table


def total(partial_sums: list[Table]) -> Table:
    """The sum over slabs, added in slab order: it does not depend on the number of threads."""
    out = partial_sums[0]
    for table in partial_sums[1:]:
        out += table
    return out


def score(table: Table) -> Score:
    """NMI of a joint histogram, and the slope table of Modat et al. (2010) with it; see `ext/tables.pxd`."""
    return Score(*_ext.score(table))


def nmi(
    fixed: npt.ArrayLike,
    moving: npt.ArrayLike,
    *,
    bins: int = 64,
    mask: npt.ArrayLike | None = None,
    percentiles: tuple[float, float] = PERCENTILES,
    threads: int | None = None,
) -> float:
    """Normalised mutual information of two images on one grid.

    NMI = (H(F) + H(M)) / H(F,M) lies in [1, 2] and is symmetric [1]_. Intensities are mapped affinely to `bins` bins,
    from one percentile of each image to another; what lies beyond shares the outermost bins. Pixels that are NaN or
    infinite in either image do not count.

    Parameters
    ----------
    fixed, moving : array_like of numbers, any shape, the same for both
    bins : int, 4 to 256
        Bins per image.
    mask : array_like, optional
        Of the same shape; pixels where it is zero do not count.
    percentiles : two floats
        Of the pixels that count. Where both are the same intensity, as in sparse images, the range is that from the
        least to the greatest.
    threads : int, optional
        Default: every processor. The result does not depend on it.

    Returns
    -------
    float

    Raises
    ------
    ImgtoolError
        If the shapes differ, an image is constant, or no pixel counts.

    References
    ----------
    .. [1] C. Studholme, D. L. G. Hill, D. J. Hawkes, "An overlap invariant entropy measure of 3D medical image
       alignment", Pattern Recognition 32, 71-86 (1999).

    Examples
    --------
    >>> import numpy as np, imgtool
    >>> ramp = np.arange(4096.0).reshape(64, 64)
    >>> bool(np.isclose(imgtool.nmi(ramp, 5 - 3 * ramp), imgtool.nmi(ramp, ramp)))
    True
    >>> shuffled = np.random.default_rng(0).permutation(ramp.ravel()).reshape(64, 64)
    >>> imgtool.nmi(ramp, shuffled) < 1.05 < 1.4 < imgtool.nmi(ramp, ramp)
    True
    """
    return similarity(fixed, moving, bins=bins, mask=mask, percentiles=percentiles, threads=threads).nmi


def similarity(
    fixed: npt.ArrayLike,
    moving: npt.ArrayLike,
    *,
    bins: int = 64,
    mask: npt.ArrayLike | None = None,
    percentiles: tuple[float, float] = PERCENTILES,
    threads: int | None = None,
) -> Similarity:
    """Normalised and plain mutual information of two images on one grid, their entropies, and how many pixels count.

    Parameters and errors are those of `imgtool.nmi`.

    Returns
    -------
    Similarity
        `nmi`, `mutual_information`, `fixed_entropy`, `moving_entropy` and `joint_entropy` in nats, `samples` and
        `overlap` (pixels that count, and their share), and the ranges of intensity that the bins cover.

    Examples
    --------
    >>> import numpy as np, imgtool
    >>> ramp = np.arange(4096.0).reshape(64, 64)
    >>> found = imgtool.similarity(ramp, -ramp, mask=ramp < 1024)
    >>> found.samples, found.overlap
    (1024, 0.25)
    """
    workspace = Workspace(bins=bins, percentiles=percentiles, threads=threads)
    workspace.set_fixed(fixed, mask=mask)
    workspace.set_moving(moving)
    return workspace.evaluate()


def nmi_gradient(
    fixed: npt.ArrayLike,
    warped: npt.ArrayLike,
    warped_gradient: npt.ArrayLike,
    *,
    bins: int = 64,
    mask: npt.ArrayLike | None = None,
    percentiles: tuple[float, float] = PERCENTILES,
    threads: int | None = None,
) -> tuple[float, Array]:
    """Normalised mutual information and its derivative with respect to a displacement of each pixel.

    The gradient of pixel i is dNMI/dw_i * warped_gradient[:, i]: moving the position at which pixel i is sampled along
    it makes NMI **rise**. The kernel of NiftyReg [1]_, from which this one descends, returns the negative. The
    derivative holds the intensity mapping fixed and is in NMI per unit of intensity; pixels that are masked, NaN,
    infinite, or at or beyond the ends of the intensity range get 0.

    Parameters
    ----------
    fixed, warped : array_like of numbers, any shape, the same for both
    warped_gradient : array_like, (components, *shape)
        The spatial gradient of `warped`, one component per axis, in any order.
    bins, mask, percentiles, threads
        As for `imgtool.nmi`.

    Returns
    -------
    value : float
        The same as `imgtool.nmi(fixed, warped)`.
    gradient : ndarray, shaped like `warped_gradient`
        float32 if no input needs more, else float64.

    Raises
    ------
    ImgtoolError
        As for `imgtool.nmi`, or if the shape of `warped_gradient` does not fit.

    References
    ----------
    .. [1] M. Modat et al., "Fast free-form deformation using graphics processing units", Computer Methods and Programs
       in Biomedicine 98, 278-284 (2010).

    Examples
    --------
    >>> import numpy as np, imgtool
    >>> y, x = np.mgrid[:64, :64]
    >>> fixed, warped = np.sin(x / 9) + np.cos(y / 7), np.sin((x + 2) / 9) + np.cos(y / 7)
    >>> value, gradient = imgtool.nmi_gradient(fixed, warped, np.gradient(warped))
    >>> gradient.shape
    (2, 64, 64)
    >>> bool(gradient[1].sum() < 0)  # sampling further to the left makes warped more like fixed
    True
    """
    workspace = Workspace(bins=bins, percentiles=percentiles, threads=threads)
    workspace.set_fixed(fixed, mask=mask)
    workspace.set_moving(warped, name="warped")
    value = workspace.evaluate().nmi
    return value, workspace.gradient(warped_gradient)
