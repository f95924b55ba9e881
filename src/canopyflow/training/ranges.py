"""What a model was trained on, as ranges: input beyond them is flagged."""

import numpy as np
import torch
from torch import Tensor

from canopyflow.models.estimators.amortised import FIT_DRAWS
from canopyflow.models.estimators.contract import Estimator
from canopyflow.observations.observation import Observation


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


def fit_threshold(estimator: Estimator, seen: Observation, g: torch.Generator) -> float:
    """Fit that one in a thousand of the noisy simulated spectra ``seen`` exceeds, of as many draws as
    inference uses.

    Draws of a family without dependence between variables reconstruct less well, so the threshold has to be
    the model's own. Few draws scatter more: another number of them would need another threshold.
    """
    with torch.no_grad():
        fit = estimator.fit(estimator.posterior(seen).draw(FIT_DRAWS, g).z, seen)
    return round(float(torch.quantile(fit, 0.999)), 3)
