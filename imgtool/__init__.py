"""imgtool: convolve and register images, fast and correct to the last bit.

>>> import numpy as np, imgtool
>>> imgtool.convolve(np.eye(3), [[1, 1, 1]], border="constant")
array([[1., 1., 0.],
       [1., 1., 1.],
       [0., 1., 1.]])
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .errors import ImgtoolError as ImgtoolError
    from .filters import convolve as convolve
    from .metrics import Similarity as Similarity
    from .metrics import Workspace as Workspace
    from .metrics import nmi as nmi
    from .metrics import nmi_gradient as nmi_gradient
    from .metrics import similarity as similarity
    from .registration import Registration as Registration
    from .registration import register as register
    from .transforms import warp as warp

__version__ = "0.1.0"

# The public functions load on first use, so that `imgtool --help` needs no NumPy.
_HOMES = {
    "ImgtoolError": "errors",
    "Registration": "registration",
    "Similarity": "metrics",
    "Workspace": "metrics",
    "convolve": "filters",
    "nmi": "metrics",
    "nmi_gradient": "metrics",
    "register": "registration",
    "similarity": "metrics",
    "warp": "transforms",
}
__all__ = [
    "ImgtoolError",
    "Registration",
    "Similarity",
    "Workspace",
    "convolve",
    "nmi",
    "nmi_gradient",
    "register",
    "similarity",
    "warp",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f".{_HOMES[name]}", __name__), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
