"""The compiled kernels and their types. Arrays named out, table, sums, value and along_* are written."""

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

_Real: TypeAlias = npt.NDArray[np.floating[Any]]  # float32 or float64, all of one call the same
_Bits: TypeAlias = npt.NDArray[np.unsignedinteger[Any]]
_Float64: TypeAlias = npt.NDArray[np.float64]

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

def border_table(border: int, length: int, before: int, table: npt.NDArray[np.intp]) -> None: ...
def correlate_tiles(
    plan: Spectrum,
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
def pairs_supported() -> bool: ...
def pair_count(plan: Spectrum, height: int, width: int, channels: int) -> int: ...
def tiles_in_pair(
    plan: Spectrum, height: int, width: int, channels: int, pair: int
) -> list[tuple[int, int, int, int, int]]: ...
def bin_coordinates(
    values: _Real, origin: float, scale: float, low: float, high: float, out: _Real, start: int, stop: int
) -> None: ...
def joint_histogram(fixed: _Real, warped: _Real, table: _Float64, start: int, stop: int) -> None: ...
def sample_slopes(
    fixed: _Real, warped: _Real, table: _Real, low: float, high: float, out: _Real, start: int, stop: int
) -> None: ...
def warp_nearest(image: _Bits, matrix: _Float64, fill: int, out: _Bits, start: int, stop: int) -> None: ...
def warp_linear(image: _Real, matrix: _Float64, fill: float, out: _Real, start: int, stop: int) -> None: ...
def warp_cubic(coefficients: _Real, matrix: _Float64, fill: float, out: _Real, start: int, stop: int) -> None: ...
def spline_columns(image: _Real, start: int, stop: int) -> None: ...
def sample_affine(
    image: _Real,
    matrix: _Float64,
    offsets: _Float64,
    value: _Real,
    along_x: _Real,
    along_y: _Real,
    start: int,
    stop: int,
) -> None: ...
def affine_sums(
    slope: _Real, along_x: _Real, along_y: _Real, offsets: _Float64, sums: _Float64, start: int, stop: int
) -> None: ...
