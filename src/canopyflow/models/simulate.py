"""Simulations: states drawn from a prior, rendered by the physics, kept without noise."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import torch
from torch import Tensor

from canopyflow.atomic import atomic_file
from canopyflow.cubes.simulations import write_simulations
from canopyflow.models.generative.contract import Generative
from canopyflow.models.runtime import generator
from canopyflow.observations.observation import Given, Sample, View, concatenate
from canopyflow.progress import track
from canopyflow.registry import GENERATIVE
from canopyflow.vocabulary import ANGLES, BANDS, PLATFORMS

if TYPE_CHECKING:
    from canopyflow.models.generative._season import Season

_BATCH = 4096
"""Simulations per call of the physics; each batch has a generator of its own."""

Progress = Callable[[Sequence[int], str], Iterable[int]]


@dataclass(frozen=True)
class Survey:
    """Circumstances to simulate: ranges of the zenith angles in degrees; platforms are equally frequent.

    The defaults are those of a campaign that says nothing else.
    """

    sun_zenith: tuple[float, float] = (20.0, 65.0)
    view_zenith: tuple[float, float] = (0.0, 12.0)

    def angles(self, n: int, g: torch.Generator) -> Tensor:
        """(n, 3) degrees, uniform in the ranges; relative azimuth in [0, 180]."""
        lower = torch.tensor([self.sun_zenith[0], self.view_zenith[0], 0.0])
        upper = torch.tensor([self.sun_zenith[1], self.view_zenith[1], 180.0])
        return lower + (upper - lower) * torch.rand(n, 3, generator=g)


@dataclass(frozen=True)
class SeasonSurvey(Survey):
    """Circumstances of seasons: ``dates`` of each, within ``window`` (first and last day since 1 January).

    The dates of a season lie at random within a part of the window that is drawn anew: at least ``shortest``
    days of it, at most all. So passes are met that lie close together and far apart.
    """

    dates: int = 24
    window: tuple[float, float] = (0.0, 365.0)
    shortest: float = 60.0

    def given(self, model: Generative, n: int, g: torch.Generator) -> Given:
        """``n`` seasons (n, date) with angles as for pixels, drawn for each date by itself."""
        first, last = self.window
        length = last - first
        span = min(self.shortest, length) + max(0.0, length - self.shortest) * torch.rand(n, 1, generator=g)
        start = first + (length - span) * torch.rand(n, 1, generator=g)
        day = (start + span * torch.rand(n, self.dates, generator=g)).sort(-1).values
        angles = self.angles(n * self.dates, g).reshape(n, self.dates, 3)
        platform = _platforms(model, n * self.dates, g).reshape(n, self.dates)
        return Given(geometry=angles, platform=platform, bands=model.bands, view=View.SEASON, day=day)


def draw(model: Generative, survey: Survey, n: int, seed: int, progress: Progress = track) -> Sample:
    """Draw ``n`` noise-free simulations; deterministic in ``seed``."""
    sizes = [min(_BATCH, n - start) for start in range(0, n, _BATCH)]
    parts = []
    for batch in progress(range(len(sizes)), "simulating"):
        size, g = sizes[batch], generator("simulate", seed, batch)
        z, angles = model.prior().sample(size, g), survey.angles(size, g)
        platform = _platforms(model, size, g)
        parts.append(model.render(z, Given(geometry=angles, platform=platform, bands=model.bands)))
    return concatenate(parts)


def draw_seasons(
    model: Season, survey: SeasonSurvey, n: int, seed: int, progress: Progress = track
) -> Sample:
    """Draw ``n`` noise-free seasons with the trajectory behind each; deterministic in ``seed``."""
    most = max(1, _BATCH // survey.dates)
    sizes = [min(most, n - start) for start in range(0, n, most)]
    parts = []
    for batch in progress(range(len(sizes)), "simulating seasons"):
        g = generator("simulate seasons", seed, batch)
        parts.append(model.simulate(survey.given(model, sizes[batch], g), g))
    return concatenate(parts)


def _platforms(model: Generative, n: int, g: torch.Generator) -> Tensor:
    """(n,) satellites of the model, equally frequent."""
    own = torch.tensor([PLATFORMS.index(name) for name in model.platforms])
    return own[torch.randint(len(own), (n,), generator=g)]


def simulate(
    out: str | Path,
    survey: Survey,
    *,
    n: int,
    bands: Sequence[str],
    platforms: Sequence[str],
    seed: int,
    generative: str = "prosail",
    options: Mapping[str, Any] | None = None,
) -> None:
    """Write ``n`` simulations of the generative model of this name and ``options`` as a store."""
    model: Generative = GENERATIVE.build(generative, tuple(bands), tuple(platforms), **(options or {}))
    attrs = {
        "platforms": list(platforms),
        "generative": {"name": generative, "options": dict(options or {})},
        **{name: list(limits) for name, limits in asdict(survey).items()},
        "seed": seed,
    }
    write_simulations(out, columns_of(draw(model, survey, n, seed)), model.space.names, bands, attrs)


def simulate_table(out: str | Path, *, n: int, sensor: str, seed: int, prior: str = "field") -> None:
    """Write ``n`` simulations of one platform as Parquet, for other people's scripts.

    Columns: id, platform, the angles (degrees), the variables (physical units), each band with noise under
    its own name (what ``canopyflow predict`` reads) and without as ``{band}_noise_free``. Ranges of the
    angles are those of a campaign that says nothing else.
    """
    model: Generative = (
        GENERATIVE.build("field", BANDS, (sensor,))
        if prior == "field"
        else GENERATIVE.build("prosail", BANDS, (sensor,), prior=prior)
    )
    drawn = draw(model, Survey(), n, seed)
    clean = columns_of(drawn)
    noisy = model.observe(drawn, generator("table", seed)).reflectance.numpy()
    columns: dict[str, object] = {"id": [f"s{i}" for i in range(n)], "platform": [sensor] * n}
    columns |= dict(zip(ANGLES, clean["angles"].T, strict=True))
    columns |= dict(zip(model.space.names, clean["variables"].T, strict=True))
    columns |= dict(zip(BANDS, noisy.T, strict=True))
    columns |= {f"{b}_noise_free": c for b, c in zip(BANDS, clean["reflectance"].T, strict=True)}
    with atomic_file(out) as scratch:
        pd.DataFrame(columns).to_parquet(scratch, index=False)


def columns_of(drawn: Sample) -> dict[str, Any]:
    assert drawn.truth is not None
    days = {} if drawn.seen.day is None else {"day": drawn.seen.day.numpy()}
    return {
        **days,
        "variables": drawn.truth.numpy(),
        "angles": drawn.seen.geometry.numpy(),
        "platform": drawn.seen.platform.numpy(),
        "reflectance": drawn.seen.reflectance.numpy(),
    }
