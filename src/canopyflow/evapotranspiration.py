"""What soil and plants give back to the air, for the demo's growth and for drivers of growth."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def evapotranspiration(temperature: Floats, radiation: Floats) -> Floats:
    """Reference evapotranspiration, mm a day, of degrees and MJ m⁻² d⁻¹ (Turc 1961, Ann. Agron. 12, 13)."""
    warm = np.maximum(temperature, 0.0)
    return np.asarray(0.013 * warm / (warm + 15.0) * (23.89 * radiation + 50.0))
