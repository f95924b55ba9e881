"""What a model was trained on, as ranges: input beyond them is flagged."""

import numpy as np
from torch import Tensor


def reflectance_range(reflectance: Tensor, tail: float = 1e-4) -> dict[str, list[float]]:
    """Per band, the range of noisy simulated reflectance but for a share ``tail`` on either side."""
    values = np.quantile(reflectance.numpy().astype(np.float64), [tail, 1 - tail], axis=0)
    return {
        "lower": [round(v, 6) for v in values[0].tolist()],
        "upper": [round(v, 6) for v in values[1].tolist()],
    }


def angle_range(angles: Tensor) -> dict[str, list[float]]:
    """Range of each of the three ``angles`` (n, 3), degrees."""
    lower, upper = angles.amin(0), angles.amax(0)
    return {side: [round(v, 3) for v in a.tolist()] for side, a in (("lower", lower), ("upper", upper))}
