"""Free-form deformation: a cubic B-spline displacement fitted to two images, from coarse to fine."""

from .levels import Deformation as Deformation
from .levels import deform as deform
