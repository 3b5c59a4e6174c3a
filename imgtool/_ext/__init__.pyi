from typing import Any

import numpy as np
import numpy.typing as npt

SUPPORTED: list[str]
ISA: str
CYTHON_VERSION: str
OUTSIDE_PLANE: int
KERNELS: dict[str, tuple[str, ...]]

def border_table(border: int, length: int, table: npt.NDArray[np.intp]) -> None: ...
def correlate_slab_f32(
    source: npt.NDArray[Any],
    out: npt.NDArray[Any],
    planes: npt.NDArray[np.intp],
    kernel: npt.NDArray[np.float32],
    border: int,
    outside: npt.NDArray[np.float32],
    alpha_one: float,
    kernel_sum: float,
    begin: int,
    end: int,
) -> int: ...
def correlate_slab_f64(
    source: npt.NDArray[Any],
    out: npt.NDArray[Any],
    planes: npt.NDArray[np.intp],
    kernel: npt.NDArray[np.float64],
    border: int,
    outside: npt.NDArray[np.float64],
    alpha_one: float,
    kernel_sum: float,
    begin: int,
    end: int,
) -> int: ...
def correlate_slab_exact(
    source: npt.NDArray[Any],
    out: npt.NDArray[Any],
    planes: npt.NDArray[np.intp],
    kernel: npt.NDArray[np.int64],
    border: int,
    outside: int,
    begin: int,
    end: int,
) -> int: ...
