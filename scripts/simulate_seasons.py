"""Simulate the seasons of one model and split. Output: trajectories, days, angles, noise-free reflectance."""

from pathlib import Path

from canopyflow.jobs import job
from canopyflow.models.simulate import SeasonSurvey
from canopyflow.models.simulate_seasons import simulate_seasons

params = snakemake.params
with job(snakemake.log[0], snakemake.params):
    simulate_seasons(
        Path(snakemake.output[0]).parent,
        SeasonSurvey(**params.survey),
        n=params.n,
        bands=params.bands,
        platforms=params.platforms,
        seed=params.seed,
        generative=params.generative,
        dynamics=params.dynamics,
    )
