"""One pixel, one acquisition: PROSAIL as decoder, a prior over its variables, the ATBD's correlated noise."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from canopyflow.models.generative.contract import Generative, Space
from canopyflow.observations.observation import Given, Observation, Sample
from canopyflow.physics import Prosail
from canopyflow.physics.light import Fapar, fcover
from canopyflow.physics.noise import NoiseModel
from canopyflow.physics.priors import Prior
from canopyflow.physics.priors import prior as prior_named
from canopyflow.physics.sail import campbell
from canopyflow.vocabulary import CANOPY_TOTALS, DERIVED, NAMES, PLATFORMS, VARIABLES

NOT_HERE = ("lai_eff", "senescent")
"""What a canopy of green leaves that are not clumped does not have."""


class ProsailPixel(Generative):
    """The eleven variables of a canopy and its spectrum.

    Options: ``leaf`` model, ``prior`` by name, ``noise`` as standard deviations (see
    :class:`canopyflow.physics.noise.NoiseModel`). Raises ConfigError or DataError for a name that does not
    exist.
    """

    own: Tensor

    def __init__(
        self,
        bands: Sequence[str],
        platforms: Sequence[str],
        leaf: str = "prospect-d",
        prior: str = "atbd",
        noise: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__()
        self.bands, self.platforms = tuple(bands), tuple(platforms)
        self.variables = prior_named(prior)
        self.noise = NoiseModel(**(noise or {}), bands=self.bands)
        # Draws are inside the bounds by construction, and a check at every step costs time.
        self.decoder = Prosail(sensor=self.platforms, bands=self.bands, leaf=leaf, check=False)
        self.fapar = Fapar(leaf)
        self.space = Space(
            NAMES, tuple(v.unit for v in VARIABLES), self.variables.lower, self.variables.upper
        )
        self.estimates = (*VARIABLES, *(v for v in DERIVED if v.name not in NOT_HERE))
        places = [self.platforms.index(name) if name in self.platforms else -1 for name in PLATFORMS]
        self.register_buffer("own", torch.tensor(places), persistent=False)

    def prior(self, given: Given | None = None) -> Prior:
        return self.variables

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

    def log_likelihood(self, z: Tensor, seen: Observation) -> Tensor:
        return self.noise.log_prob(seen.reflectance, self.decode(z, seen), seen.partly)

    def distance2(self, z: Tensor, seen: Observation) -> Tensor:
        return self.noise.distance2(seen.reflectance, self.decode(z, seen), seen.partly)

    def observe(self, sample: Sample, generator: torch.Generator | None = None) -> Observation:
        noisy = self.noise.sample(sample.seen.reflectance, generator)
        reflectance = torch.where(sample.noise_free[:, None], noisy, sample.seen.reflectance)
        return replace(sample.seen, reflectance=reflectance)


GENERATIVE = ProsailPixel
