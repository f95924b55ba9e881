"""A model whose posterior is known in closed form, and simulations of it: its calibration must be perfect."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch

from canopyflow.cubes.simulations import write_simulations
from canopyflow.samplers.contract import Draws
from canopyflow.vocabulary import DERIVED, NAMES, PLATFORMS, VARIABLES

NOISE = 0.3


class LinearModel:
    """Reflectance = the first two variables + noise; all variables standard normal a priori.

    ``scale`` makes it dishonest. S2B sees variables with the opposite sign, so a wrong platform shows.
    """

    bands, platforms = ("B02", "B03"), ("S2B", "S2A")

    def __init__(self, scale=1.0):
        self.scale, self.has_state = scale, True
        self.estimates = (*VARIABLES, *DERIVED)
        self.outputs = self._outputs
        self.generative = SimpleNamespace(
            bands=self.bands, observe=self._observe, outputs=self._outputs, estimates=self.estimates
        )

    def _observe(self, sample, g):
        assert sample.noise_free.all()
        noise = NOISE * torch.randn(sample.seen.reflectance.shape, generator=g)
        sample.seen.reflectance.add_(noise)
        return sample.seen

    def _outputs(self, z, given, names):
        assert z.shape[-2] == len(given)
        column = {name: z[..., i] for i, name in enumerate(NAMES)}
        column |= dict.fromkeys((variable.name for variable in DERIVED), column["lai"] * column["cab"])
        return torch.stack([column[name] for name in names], dim=-1)

    def posterior(self, seen):
        assert seen.bands == self.bands
        n = len(seen)
        sign = torch.where(seen.platform == PLATFORMS.index("S2B"), -1.0, 1.0)[:, None]
        location, spread = torch.zeros(n, len(NAMES)), torch.ones(len(NAMES))
        location[:, :2] = sign * seen.reflectance / (1 + NOISE**2)
        spread[:2] = NOISE / np.sqrt(1 + NOISE**2)

        def draw(count, generator):
            noise = torch.randn(count, n, len(NAMES), generator=generator)
            return Draws(location + self.scale * spread * noise)

        return SimpleNamespace(draw=draw)


def write_linear(path: Path) -> Path:
    """Two thousand simulations, the bands in another order than the model's."""
    rng = np.random.default_rng(0)
    z = rng.standard_normal((2000, len(NAMES))).astype(np.float32)
    platform = rng.integers(0, 2, 2000)
    sign = np.where(platform == PLATFORMS.index("S2B"), -1.0, 1.0)[:, None]
    columns = {
        "variables": z,
        "angles": np.zeros((2000, 3), np.float32),
        "platform": platform,
        "reflectance": (z[:, :2] * sign)[:, ::-1].astype(np.float32),
    }
    write_simulations(path, columns, NAMES, ["B03", "B02"], {"platforms": ["S2A", "S2B"]})
    return path
