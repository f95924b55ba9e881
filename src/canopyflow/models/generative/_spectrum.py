"""What all models of one pixel's spectrum share: satellites, noise, and what follows from both."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from canopyflow.models.generative.contract import Generative
from canopyflow.observations.observation import Observation, Sample
from canopyflow.physics.noise import NoiseModel
from canopyflow.vocabulary import PLATFORMS


class PixelSpectrum(Generative):
    """A state that decodes to the reflectance of one pixel in ``bands``, seen with normal ``noise``.

    ``own``: the place among ``platforms`` of each satellite of the vocabulary, −1 for one that the model
    does not know.
    """

    own: Tensor

    def __init__(self, bands: Sequence[str], platforms: Sequence[str], noise: NoiseModel) -> None:
        super().__init__()
        self.bands, self.platforms, self.noise = tuple(bands), tuple(platforms), noise
        places = [self.platforms.index(name) if name in self.platforms else -1 for name in PLATFORMS]
        self.register_buffer("own", torch.tensor(places), persistent=False)

    def log_likelihood(self, z: Tensor, seen: Observation) -> Tensor:
        return self.noise.log_prob(seen.reflectance, self.decode(z, seen), seen.partly)

    def distance2(self, z: Tensor, seen: Observation) -> Tensor:
        return self.noise.distance2(seen.reflectance, self.decode(z, seen), seen.partly)

    def noise_precision(self, value: Tensor, valid: Tensor | None = None) -> Tensor:
        covariance = self.noise.covariance(value)
        both = None
        if valid is not None:
            both = valid.unsqueeze(-1) & valid.unsqueeze(-2)
            covariance = torch.where(both, covariance, torch.eye(value.shape[-1]).to(covariance))
        precision = torch.cholesky_inverse(torch.linalg.cholesky(covariance))
        return precision if both is None else torch.where(both, precision, 0.0)

    def observe(self, sample: Sample, generator: torch.Generator | None = None) -> Observation:
        noisy = self.noise.sample(sample.seen.reflectance, generator)
        reflectance = torch.where(sample.noise_free[:, None], noisy, sample.seen.reflectance)
        return replace(sample.seen, reflectance=reflectance)
