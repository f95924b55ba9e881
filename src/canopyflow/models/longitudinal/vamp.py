"""The mean posterior of learned pseudo-inputs as the law of the first state (Tomczak & Welling,
arXiv:1705.07120)."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from canopyflow.models.longitudinal.guide import Law
from canopyflow.models.longitudinal.reader import Reader
from canopyflow.observations.observation import Observation, View

PSEUDO_INPUTS = 16


class Vamp(nn.Module):
    """Pseudo-inputs are spectra seen the day after the origin, seasons of one date.

    ``reader`` and ``anchor`` are those of the posterior, which therefore trains its own prior.
    """

    geometry: Tensor

    def __init__(self, reader: Reader, anchor: Law, origin: float) -> None:
        super().__init__()
        # In a tuple: they are the model's, and their weights are not listed twice.
        self._shared = (reader, anchor)
        self.origin = origin
        self.spectra = nn.Parameter(torch.full((PSEUDO_INPUTS, len(reader.bands)), 0.2))
        self.register_buffer("geometry", torch.tensor([45.0, 0.0, 0.0]).repeat(PSEUDO_INPUTS, 1))

    @torch.no_grad()
    def standardise(self, seen: Observation) -> None:
        """Start from the first complete spectra of ``seen``, repeated if there are few."""
        rows = seen.valid.all(-1).nonzero()
        if len(rows):
            chosen = rows[torch.arange(PSEUDO_INPUTS) % len(rows)].unbind(-1)
            self.spectra.copy_(seen.reflectance[chosen])
            self.geometry.copy_(seen.geometry[chosen])

    def log_prob(self, z: Tensor) -> Tensor:
        """Log density (...) of ``z`` (..., D)."""
        each = self._shared[1].log_prob(z.unsqueeze(-2), self._features())
        return torch.logsumexp(each, dim=-1) - math.log(PSEUDO_INPUTS)

    def sample(self, shape: Sequence[int], like: Tensor, generator: torch.Generator | None) -> Tensor:
        """Draws of ``shape``, the last of which is D."""
        features = self._features()
        count = math.prod(shape[:-1])
        which = torch.randint(PSEUDO_INPUTS, (count,), generator=generator, device=features.device)
        return self._shared[1].rsample(features[which], generator)[0].reshape(tuple(shape)).to(like)

    def _features(self) -> Tensor:
        """Features (pseudo-inputs, width) of the origin."""
        spectra = self.spectra[:, None]
        seen = Observation(
            reflectance=spectra,
            valid=torch.ones_like(spectra, dtype=torch.bool),
            geometry=self.geometry[:, None],
            platform=torch.zeros(spectra.shape[:2], dtype=torch.long, device=spectra.device),
            bands=self._shared[0].bands,
            view=View.SEASON,
            day=torch.full(spectra.shape[:2], self.origin + 1.0, device=spectra.device),
        )
        nodes, _ = self._shared[0](seen, self.origin)
        return nodes[:, 0]
