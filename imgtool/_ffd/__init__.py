"""Free-form deformation: a cubic B-spline displacement fitted to two images, from coarse to fine."""

from .fit import GRID_SPACING as GRID_SPACING
from .fit import checked_spacing as checked_spacing
from .fit import fit_spline as fit_spline
from .levels import deform as deform
