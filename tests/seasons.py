"""Seasons to try models on, and a model of them with random weights."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from untrained import META, PLATFORMS

from canopyflow.models.estimators.amortised import Amortised, ModelOptions
from canopyflow.models.generative._season import Season
from canopyflow.models.season_summaries import SeasonSummaries
from canopyflow.observations.observation import Given, Observation, Sample, View
from canopyflow.vocabulary import BANDS

SMALL = {"width": 32, "layers": 2}
NETWORK = {"width": 32, "layers": 2, "state": 32}
GEOMETRY = torch.tensor([40.0, 5.0, 100.0])


def untrained_seasons(family: str = "nsf", dynamics: str = "season_gp", **options: Any) -> Amortised:
    """A model of seasons of small width, in evaluation mode; the same weights at each call."""
    torch.manual_seed(0)
    changed = {"encoder_options": SMALL, "encoder": "season", "dynamics": dynamics} | options
    model = Amortised(ModelOptions(family, BANDS, PLATFORMS, **changed))
    model.encoder.standardise(some_seasons(model.generative, 40).seen)
    model.meta = dict(META)
    return model.requires_grad_(False).eval()


def learning_seasons(dynamics: str = "season_gp") -> Amortised:
    """A model as above whose learned summaries count as checked, trusted wherever it was normalised."""
    model = untrained_seasons("mixture", dynamics, summaries=NETWORK)
    sample = some_seasons(model.generative, 40)
    head = model.head
    assert isinstance(head, SeasonSummaries) and sample.truth is not None
    head.standardise(sample.seen, model.generative.outputs(sample.truth, sample.seen, head.names))
    head.limit(sample.seen)
    model.meta |= {"summaries": {"passed": True, "fit_trusted": 1e9}}
    return model


def circumstances(n: int, dates: int, seed: int = 0, bands: tuple[str, ...] = BANDS) -> Given:
    """Days in any order within a year, angles, and the first two platforms in turn, of ``n`` seasons."""
    g = torch.Generator().manual_seed(seed)
    days = torch.stack([torch.randperm(365, generator=g)[:dates] for _ in range(n)])
    angles = GEOMETRY * (0.8 + 0.4 * torch.rand(n, dates, 3, generator=g))
    return Given(
        geometry=angles,
        platform=(torch.arange(n * dates) % 2).reshape(n, dates),
        bands=bands,
        view=View.SEASON,
        day=days.float(),
    )


def some_seasons(model: Season, n: int, dates: int = 6, seed: int = 0) -> Sample:
    """Noisy seasons of prior draws with the trajectory behind each; every entry is valid."""
    g = torch.Generator().manual_seed(seed)
    clean = model.simulate(circumstances(n, dates, seed, model.bands), g)
    return replace(clean, seen=model.observe(clean, g))


def clouded(seen: Observation, dates: Tensor | list[int]) -> Observation:
    """``seen`` with nothing valid at ``dates`` of every season."""
    valid = seen.valid.clone()
    valid[:, dates] = False
    return replace(seen, valid=valid)


def spoiled(seen: Observation, nonsense: float = -7.0) -> Observation:
    """The same observation with ``nonsense`` under all that is invalid, and of no satellite there."""
    dates = seen.valid.any(-1)
    return replace(
        seen,
        reflectance=seen.reflectance.where(seen.valid, nonsense),
        geometry=seen.geometry.where(dates.unsqueeze(-1), nonsense),
        platform=seen.platform.where(dates, 99),
    )


def of_dates(seen: Observation, dates: Tensor | list[int]) -> Observation:
    """Only ``dates`` of every season, in this order."""
    return seen.each(lambda tensor: tensor[:, dates])
