"""Transforms of the plane, and images warped by them.

A transform maps fixed pixel coordinates to moving pixel coordinates, both (x, y) with x to the right, y down and (0, 0)
at the centre of the first pixel; the warped image is moving(transform(p)) at each pixel p of the fixed grid.
"""

from ._base import FORMAT as FORMAT
from ._base import VERSION as VERSION
from ._base import Transform as Transform
from .bspline import BSplineTransform as BSplineTransform
from .composite import Composite as Composite
from .field import DisplacementField as DisplacementField
from .inversion import inverse_field as inverse_field
from .matrix import MATRIX_MODELS as MATRIX_MODELS
from .matrix import MODELS as MODELS
from .matrix import MatrixTransform as MatrixTransform
from .matrix import Motion as Motion
from .warping import INTERPOLATIONS as INTERPOLATIONS
from .warping import warp as warp
