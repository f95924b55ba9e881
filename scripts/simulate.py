"""Simulate the spectra of one split. Output: variables, angles and noise-free reflectance."""

from pathlib import Path

from canopyflow.jobs import job
from canopyflow.models.simulate import Survey, simulate

params = snakemake.params
with job(snakemake.log[0], snakemake.params):
    simulate(
        Path(snakemake.output[0]).parent,
        Survey(params.sun_zenith, params.view_zenith),
        n=params.n,
        bands=params.bands,
        platforms=params.platforms,
        seed=params.seed,
        generative=params.generative,
        options=params.law,
    )
