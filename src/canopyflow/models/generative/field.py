"""One pixel of a field, one acquisition: dead leaves, clumps, gaps and many soils beside PROSAIL's green
canopy.

All that the law adds is part of the state, not of the noise: the posterior, its reference by Markov chains,
its refinement and the fit of draws to the spectrum need no special case, and density and inverse are exact.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from canopyflow.models.generative._spectrum import PixelSpectrum
from canopyflow.models.generative.contract import Space
from canopyflow.observations.observation import Given
from canopyflow.physics.field import Fields
from canopyflow.physics.field_law import FieldLaw, Ingredients
from canopyflow.physics.noise import NoiseModel
from canopyflow.vocabulary import CANOPY_TOTALS, DERIVED, NAMES, Variable

SMOOTH = {"multiplicative_smooth": 0.08, "smooth_length": 250.0}
"""The smooth error that the law has unless ``noise`` says otherwise."""


class FieldPixel(PixelSpectrum):
    """The state of a pixel of a field (see :class:`canopyflow.physics.field_law.FieldLaw`) and its spectrum.

    Options: ``leaf`` model; ``ingredients``: switches by name, see
    :class:`canopyflow.physics.field_law.Ingredients`; ``noise`` as standard deviations (see
    :class:`canopyflow.physics.noise.NoiseModel`). Raises ConfigError or DataError for a name that does not
    exist.
    """

    def __init__(
        self,
        bands: Sequence[str],
        platforms: Sequence[str],
        leaf: str = "prospect-d",
        ingredients: Mapping[str, bool] | None = None,
        noise: Mapping[str, float] | None = None,
    ) -> None:
        chosen = Ingredients(**(ingredients or {}))
        smooth = SMOOTH if chosen.smooth_noise else {}
        super().__init__(bands, platforms, NoiseModel(**{**smooth, **(noise or {})}, bands=tuple(bands)))
        self.law = FieldLaw(chosen)
        self.decoder = Fields(self.platforms, self.bands, leaf)
        known = self.law.known
        self.space = Space(self.law.names, tuple(v.unit for v in known), self.law.lower, self.law.upper)
        # What is retrieved under other laws too; what this law alone has shows in what follows from it.
        self.estimates = tuple(v for v in known if v.name in NAMES) + tuple(
            _bounded(variable, self.law) for variable in DERIVED
        )

    def prior(self, given: Given | None = None) -> FieldLaw:
        return self.law

    def decode(self, z: Tensor, given: Given) -> Tensor:
        value: Tensor = self.decoder(self.state(z), given.geometry, self.own[given.platform])
        return value

    def state(self, z: Tensor) -> dict[str, Tensor]:
        """Variables (*sample, *batch) by name of states ``z`` (*sample, *batch, D)."""
        return dict(zip(self.law.names, z.movedim(-1, 0).contiguous(), strict=True))

    def outputs(self, z: Tensor, given: Given, names: Sequence[str]) -> Tensor:
        """As the contract says. ``ccc`` and ``cwc`` are what green leaves hold; dead ones hold next to
        nothing."""
        known = self.state(z)
        one = torch.ones_like(known["lai"])
        green = known.get("green", one)
        known["gai"] = known["lai"] * green
        known["senescent"] = 1.0 - green
        known["lai_eff"] = known["lai"] * known.get("clumping", one)
        known |= {name: known["gai"] * known[leaf] for name, leaf in CANOPY_TOTALS.items()}
        if "fcover" in names:
            known["fcover"] = self.decoder.fcover(known)
        if "fapar" in names:
            known["fapar"] = self.decoder.fapar(known, given.geometry[..., 0])
        return torch.stack([known[name] for name in names], dim=-1)


def _bounded(variable: Variable, law: FieldLaw) -> Variable:
    """A variable that follows from the state, with the bounds that the law gives it."""
    most = {v.name: v.upper for v in law.known}
    upper = {"gai": most["lai"], "lai_eff": most["lai"]}
    upper |= {name: most["lai"] * most[leaf] for name, leaf in CANOPY_TOTALS.items()}
    return replace(variable, upper=upper.get(variable.name, variable.upper))


GENERATIVE = FieldPixel
