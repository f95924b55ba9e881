"""One pixel, one acquisition: PROSAIL as decoder, a prior over its variables, the ATBD's correlated noise."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from canopyflow.models.generative._spectrum import PixelSpectrum
from canopyflow.models.generative.contract import Space
from canopyflow.observations.observation import Given
from canopyflow.physics import Prosail
from canopyflow.physics.light import Fapar, fcover
from canopyflow.physics.noise import NoiseModel
from canopyflow.physics.priors import Prior
from canopyflow.physics.priors import prior as prior_named
from canopyflow.physics.sail import campbell
from canopyflow.vocabulary import CANOPY_TOTALS, DERIVED, NAMES, VARIABLES

NOT_HERE = ("lai_eff", "senescent")
"""What a canopy of green leaves that are not clumped does not have."""


class ProsailPixel(PixelSpectrum):
    """The eleven variables of a canopy and its spectrum.

    Options: ``leaf`` model, ``prior`` by name, ``noise`` as standard deviations (see
    :class:`canopyflow.physics.noise.NoiseModel`). Raises ConfigError or DataError for a name that does not
    exist.
    """

    def __init__(
        self,
        bands: Sequence[str],
        platforms: Sequence[str],
        leaf: str = "prospect-d",
        prior: str = "atbd",
        noise: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__(bands, platforms, NoiseModel(**(noise or {}), bands=tuple(bands)))
        self.variables = prior_named(prior)
        # Draws are inside the bounds by construction, and a check at every step costs time.
        self.decoder = Prosail(sensor=self.platforms, bands=self.bands, leaf=leaf, check=False)
        self.fapar = Fapar(leaf)
        self.space = Space(
            NAMES, tuple(v.unit for v in VARIABLES), self.variables.lower, self.variables.upper
        )
        self.estimates = (*VARIABLES, *(v for v in DERIVED if v.name not in NOT_HERE))

    def prior(self, given: Given | None = None) -> Prior:
        return self.variables

    def from_scores(self, w: Tensor) -> Tensor:
        return self.variables.from_scores(w)

    def to_scores(self, u: Tensor) -> Tensor:
        return self.variables.to_scores(u)

    def decode(self, z: Tensor, given: Given) -> Tensor:
        return self.decoder(z, given.geometry, platform=self.own[given.platform])

    def outputs(self, z: Tensor, given: Given, names: Sequence[str]) -> Tensor:
        """As the contract says. No leaf of this model is dead: gai is lai."""
        variables = z.movedim(-1, 0).contiguous()
        known = dict(zip(NAMES, variables, strict=True))
        known["gai"] = known["lai"]
        known |= {name: known["lai"] * known[leaf] for name, leaf in CANOPY_TOTALS.items() if name in names}
        if "fapar" in names or "fcover" in names:
            share = campbell(known["lidfa"])
            if "fcover" in names:
                known["fcover"] = fcover(known["lai"], share)
            if "fapar" in names:
                known["fapar"] = self.fapar(variables, share, given.geometry[..., 0])
        return torch.stack([known[name] for name in names], dim=-1)


GENERATIVE = ProsailPixel
