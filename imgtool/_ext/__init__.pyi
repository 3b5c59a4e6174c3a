from typing import Any

import numpy as np
import numpy.typing as npt

SUPPORTED: list[str]
ISA: str
CYTHON_VERSION: str
KERNELS: dict[str, tuple[str, ...]]
OUTSIDE_PLANE: int

class Block:
    def __init__(self, size: int) -> None: ...
    def __buffer__(self, flags: int, /) -> memoryview: ...

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
    top: int,
    left: int,
    begin: int,
    end: int,
) -> tuple[int, list[int]]: ...
def pair_count(plan: Spectrum, height: int, width: int, channels: int) -> int: ...
def tiles_in_pair(
    plan: Spectrum, height: int, width: int, channels: int, pair: int
) -> list[tuple[int, int, int, int, int]]: ...
