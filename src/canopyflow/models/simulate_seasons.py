"""Simulations of seasons as a store."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from canopyflow.cubes.simulations import write_simulations
from canopyflow.models.generative._season import Season
from canopyflow.models.generative.contract import Generative
from canopyflow.models.simulate import SeasonSurvey, columns_of, draw_seasons
from canopyflow.registry import GENERATIVE, SEASON_PRIORS


def simulate_seasons(
    out: str | Path,
    survey: SeasonSurvey,
    *,
    n: int,
    bands: Sequence[str],
    platforms: Sequence[str],
    seed: int,
    generative: Mapping[str, Any],
    dynamics: Mapping[str, Any],
) -> None:
    """Write ``n`` drawn seasons as a store.

    ``generative``, the model of a pixel, and ``dynamics``, the prior of trajectories: each a ``name`` and
    perhaps ``options``. Raises ConfigError for one that does not exist.
    """
    pixel: Generative = GENERATIVE.build(
        generative["name"], tuple(bands), tuple(platforms), **generative.get("options", {})
    )
    model = Season(pixel, SEASON_PRIORS.build(dynamics["name"], pixel, **dynamics.get("options", {})))
    circumstances = {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(survey).items()}
    attrs = {
        "platforms": list(platforms),
        "generative": {"name": generative["name"], "options": dict(generative.get("options", {}))},
        "dynamics": {"name": dynamics["name"], "options": dict(dynamics.get("options", {}))},
        **circumstances,
        "seed": seed,
    }
    drawn = draw_seasons(model, survey, n, seed)
    write_simulations(out, columns_of(drawn), model.space.names, bands, attrs)
