"""The compiled kernels and their types. Arrays named out, table, sums, value and along_* are written."""

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

_Real: TypeAlias = npt.NDArray[np.floating[Any]]  # float32 or float64, all of one call the same
_Bits: TypeAlias = npt.NDArray[np.unsignedinteger[Any]]
_Float32: TypeAlias = npt.NDArray[np.float32]
_Float64: TypeAlias = npt.NDArray[np.float64]
_Indices: TypeAlias = npt.NDArray[np.int32]

SUPPORTED: list[str]
ISA: str
CYTHON_VERSION: str
KERNELS: dict[str, tuple[str, ...]]
OUTSIDE_PLANE: int

class Block:
    def __init__(self, size: int) -> None: ...
    def __buffer__(self, flags: int, /) -> memoryview: ...

class Box:
    def __init__(
        self,
        height: int,
        width: int,
        weight: float,
        single: bool,
        border: int,
        outside: float,
        bias: float,
        alpha_one: float,
        top: int,
        left: int,
        word: int = 0,
        fits: bool = False,
    ) -> None: ...
    def slab(
        self,
        source: npt.NDArray[Any],
        out: npt.NDArray[Any],
        planes: npt.NDArray[np.intp] | None,
        begin: int,
        end: int,
    ) -> int: ...

class Correlation:
    def __init__(
        self,
        taps: npt.NDArray[np.float64] | npt.NDArray[np.int64],
        shape: tuple[int, int, int],
        across: int,
        kind: str,
        border: int,
        outside: float,
        bias: float,
        alpha_one: float,
        top: int,
        left: int,
    ) -> None: ...
    def slab(
        self,
        source: npt.NDArray[Any],
        out: npt.NDArray[Any],
        planes: npt.NDArray[np.intp] | None,
        begin: int,
        end: int,
    ) -> int: ...

class Places:
    def __init__(
        self,
        matrix: _Float64 | None,
        positions: _Float64 | None,
        row: int,
        column: int,
        top: int,
        left: int,
        height: int,
        width: int,
    ) -> None: ...

class Pairs:
    def __init__(
        self,
        halves: npt.NDArray[np.int16],
        point: int,
        shift: int,
        carry: int,
        start: int,
        border: int,
        outside: int,
        top: int,
        left: int,
    ) -> None: ...
    def slab(
        self,
        source: npt.NDArray[Any],
        out: npt.NDArray[Any],
        planes: npt.NDArray[np.intp] | None,
        begin: int,
        end: int,
    ) -> int: ...

class Spectrum:
    n: int
    height: int
    width: int
    single: bool
    def __init__(self, kernel: npt.NDArray[np.float64], n: int, single: bool) -> None: ...

class TilePair:
    def __init__(self, plan: Spectrum) -> None: ...
    def correlate(
        self,
        source: npt.NDArray[Any],
        out: npt.NDArray[Any],
        border: int,
        outside: float,
        bias: float,
        contrast: float,
        tolerance: float,
        top: int,
        left: int,
        begin: int,
        end: int,
    ) -> tuple[int, list[int]]: ...

def border_table(border: int, length: int, before: int, table: npt.NDArray[np.intp]) -> None: ...
def pairs_supported() -> bool: ...
def pair_count(plan: Spectrum, height: int, width: int, channels: int) -> int: ...
def tiles_in_pair(
    plan: Spectrum, height: int, width: int, channels: int, pair: int
) -> list[tuple[int, int, int, int, int]]: ...

class Alignment:
    height: int
    width: int
    joint: Any
    slopes: Any
    marginals: Any
    figures: Any
    def __init__(
        self,
        fixed: npt.NDArray[np.float32],
        moving: npt.NDArray[np.float32],
        offsets: npt.NDArray[np.float32],
        bins: int,
        low: float,
        high: float,
        per_bin: int,
        lanes: int,
        fineness: int,
    ) -> None: ...
    def add(self, matrix: _Float64, lane: int, start: int, stop: int) -> None: ...
    def tabulate(self, lanes: int) -> None: ...
    def differentiate(self, matrix: _Float64, projective: bool, out: _Float64, start: int, stop: int) -> None: ...

class Image:
    single: bool
    @property
    def size(self) -> int: ...
    def __init__(self, image: npt.NDArray[Any], mask: npt.NDArray[np.bool_] | None, single: bool) -> None: ...

class Workspace:
    joint: Any
    slopes: Any
    marginals: Any
    figures: Any
    def __init__(
        self, bins: int, low: float, high: float, method: int, fixed_per_bin: int, moving_per_bin: int, lanes: int
    ) -> None: ...
    def set_levels(self, image: int, one: float, step: float) -> None: ...
    def take(
        self,
        fixed: Image,
        fixed_origin: float,
        fixed_scale: float,
        moving: Image,
        moving_origin: float,
        moving_scale: float,
    ) -> None: ...
    def add(self, lane: int, start: int, stop: int) -> None: ...
    def tabulate(self, lanes: int) -> None: ...
    def fill_tables(self) -> None: ...
    def differentiate(self, field: npt.NDArray[Any] | None, out: _Real, start: int, stop: int) -> None: ...

def find_tails(
    image: Image, low: float, high: float, below: _Real, above: _Real, start: int, stop: int
) -> tuple[int, int, int, int, int] | None: ...
def score(table: _Float64) -> tuple[float, _Float64]: ...
def bin_coordinates(
    values: _Real, origin: float, scale: float, low: float, high: float, out: _Real, start: int, stop: int
) -> None: ...
def joint_histogram(fixed: _Real, warped: _Real, table: _Float64, start: int, stop: int) -> None: ...
def sample_slopes(
    fixed: _Real, warped: _Real, table: _Real, low: float, high: float, out: _Real, start: int, stop: int
) -> None: ...
def warp_nearest(image: _Bits, places: Places, fill: int, out: _Bits) -> None: ...
def warp_real(image: _Real, places: Places, taps: int, fill: float, out: _Real) -> None: ...
def fill_missing(values: _Real, before: int, after: int) -> int: ...
def round_into(values: _Real, out: npt.NDArray[np.integer[Any]]) -> None: ...
def mirror_border(window: _Real, before: int, after: int) -> None: ...
def spline_coefficients(image: _Real, window: _Real, before: int, after: int) -> int: ...
def extent(positions: _Float64) -> tuple[float, float, float, float]: ...
def displace(field: _Real, points: _Float64, out: _Float64) -> None: ...
def displace_pixels(field: _Real, row: int, column: int, out: _Float64) -> None: ...
def spline_axis(
    positions: _Float64, origin: float, spacing: float, cells: int, order: int, first: _Indices, weights: _Real
) -> None: ...
def spline_field(
    control: _Real, columns: _Indices, column_weights: _Real, rows: _Indices, row_weights: _Real, out: _Real
) -> None: ...
def spline_adjoint(
    field: _Real,
    columns: _Indices,
    column_weights: _Real,
    rows: _Indices,
    row_weights: _Real,
    out: _Float64,
    base: int,
) -> None: ...
def spline_points(
    control: _Real, columns: _Indices, column_weights: _Real, rows: _Indices, row_weights: _Real, out: _Real
) -> None: ...
def spline_refined(control: _Float64, out: _Float64) -> None: ...
def bending_product(control: _Float64, column_bands: _Float64, row_bands: _Float64, out: _Float64) -> None: ...
def sample_displaced(
    image: _Real,
    matrix: _Float64,
    columns: _Float64,
    rows: _Float64,
    shift_x: _Real,
    shift_y: _Real,
    low: float,
    high: float,
    value: _Real,
    along_x: _Real,
    along_y: _Real,
) -> None: ...
def window_information(
    fixed: _Real,
    warped: _Real,
    fixed_noise: float,
    warped_noise: float,
    start: int,
    stop: int,
    slopes: _Real,
    curvatures: _Real | None = None,
) -> float: ...
def banded_cholesky(rows: _Float64) -> float: ...
def banded_solve(factor: _Float64, vector: _Float64) -> None: ...

NONLOCAL_PAD: int

def nonlocal_means(padded: _Real, noise: float, tolerance: float, out: _Real) -> None: ...
def weigh_slopes(weights: npt.NDArray[np.int8], value: _Real, along_x: _Real, along_y: _Real) -> float: ...

class Shifts:
    n: int
    height: int
    width: int
    def __init__(self, real_part: _Float32, imaginary_part: _Float32, weight: _Float32, n: int) -> None: ...
    def scan(
        self,
        pixels: _Float32,
        noise: float,
        angles: _Float64,
        least: float,
        peaks: _Float64,
        start: int,
        stop: int,
    ) -> None: ...

def area_means(image: _Float32, means: _Float32, weights: _Float32) -> None: ...
def orientation_sums(samples: _Float32, pixels: _Float32, noise: float, matrix: _Float64, sums: _Float64) -> None: ...
