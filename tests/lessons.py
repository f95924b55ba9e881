"""What baselines are fitted to in tests: few simulations, and a law whose posterior is known."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from canopyflow.models.baseline import Lesson
from canopyflow.models.generative.contract import Generative, Space
from canopyflow.models.simulate import Survey, draw
from canopyflow.observations.labels import Labels
from canopyflow.observations.observation import Given, Observation, Sample, complete_pixels
from canopyflow.physics.noise import NoiseModel
from canopyflow.registry import GENERATIVE
from canopyflow.vocabulary import Variable

BANDS = ("B02", "B03", "B04", "B05")
NOISE = 0.02


def law(bands: Sequence[str], platforms: Sequence[str] = ("S2A", "S2B"), **options: Any) -> Generative:
    made: Generative = GENERATIVE.build("prosail", tuple(bands), tuple(platforms), **options)
    return made


def lesson(own: Generative, n: int, held_back: int = 200, seed: int = 0) -> Lesson:
    """``n`` simulations to learn from, and some held back."""
    return Lesson(
        {"train": draw(own, Survey(), n, 10 + seed), "validation": draw(own, Survey(), held_back, 20 + seed)},
        seed=seed,
    )


def labels(
    seen: Observation, values: dict[str, Tensor], sites: Sequence[str], uncertainty: float = torch.nan
) -> Labels:
    """``values`` (n,) by variable of n spectra, each at one of the ``sites``."""
    n = len(seen)
    value = torch.cat(list(values.values())).double()
    return Labels(
        seen.rows(torch.arange(n).repeat(len(values))),
        tuple(name for name in values for _ in range(n)),
        tuple(sites) * len(values),
        value,
        torch.full_like(value, uncertainty),
    )


class Linear(Generative):
    """lai and cab are standard normal, give or take a shift; reflectance is linear in them, with independent
    normal noise: the posterior is normal, and known."""

    def __init__(self, bands: Sequence[str] = BANDS, noise: float = NOISE) -> None:
        super().__init__()
        self.bands, self.platforms = tuple(bands), ("S2A", "S2B")
        self.noise = NoiseModel(noise, 0.0, 0.0, 0.0)
        self.space = Space(("lai", "cab"), ("1", "1"), torch.tensor([-9.0, -9.0]), torch.tensor([9.0, 9.0]))
        g = torch.Generator().manual_seed(3)
        self.matrix = 0.03 * torch.randn(2, len(bands), generator=g)

    @property
    def estimates(self) -> tuple[Variable, ...]:
        return tuple(Variable(name, "1", -9.0, 9.0, name) for name in ("lai", "cab", "ccc"))

    def prior(self, given: Given | None = None) -> Any:
        raise NotImplementedError("its states are drawn by sample()")

    def sample(self, n: int, seed: int = 0) -> Sample:
        """``n`` simulations under one geometry, free of noise."""
        z = torch.randn(n, 2, generator=torch.Generator().manual_seed(seed))
        geometry, platform = torch.tensor([40.0, 5.0, 90.0]).expand(n, 3), torch.zeros(n, dtype=torch.long)
        given = Given(geometry=geometry, platform=platform, bands=self.bands)
        return self.render(z, given)

    def decode(self, z: Tensor, given: Given) -> Tensor:
        return 0.3 + z @ self.matrix

    def log_likelihood(self, z: Tensor, seen: Observation) -> Tensor:
        return self.noise.log_prob(seen.reflectance, self.decode(z, seen), seen.valid)

    def distance2(self, z: Tensor, seen: Observation) -> Tensor:
        return self.noise.distance2(seen.reflectance, self.decode(z, seen), seen.valid)

    def observe(self, sample: Sample, generator: torch.Generator | None = None) -> Observation:
        return replace(sample.seen, reflectance=self.noise.sample(sample.seen.reflectance, generator))

    def outputs(self, z: Tensor, given: Given, names: Sequence[str]) -> Tensor:
        known = {"lai": z[..., 0], "cab": z[..., 1], "ccc": z[..., 0] * z[..., 1]}
        return torch.stack([known[name] for name in names], dim=-1)

    def exact(self, seen: Observation) -> tuple[Tensor, Tensor]:
        """Mean (n, 2) and covariance (n, 2, 2) of the state given the valid entries."""
        weight = seen.valid.float() / self.noise.additive_independent**2
        precision = torch.eye(2) + torch.einsum("ib,nb,jb->nij", self.matrix, weight, self.matrix)
        pull = torch.einsum("ib,nb->ni", self.matrix, weight * (seen.reflectance - 0.3))
        covariance = torch.linalg.inv(precision)
        return (covariance @ pull.unsqueeze(-1)).squeeze(-1), covariance


def uniform_pixels(n: int, bands: Sequence[str] = BANDS, seed: int = 0) -> Observation:
    """Spectra without any law, under one geometry."""
    g = torch.Generator().manual_seed(seed)
    return complete_pixels(
        0.05 + 0.4 * torch.rand(n, len(bands), generator=g),
        torch.tensor([40.0, 5.0, 90.0]).expand(n, 3),
        torch.zeros(n, dtype=torch.long),
        bands,
    )
