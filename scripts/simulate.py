"""Simulate the spectra of one split. Output: variables, angles and noise-free reflectance."""

from pathlib import Path

from canopyflow.jobs import job
from canopyflow.training.data import simulate

params = snakemake.params
with job(snakemake.log[0], snakemake.params):
    simulate(
        Path(snakemake.output[0]).parent,
        n=params.n,
        bands=params.bands,
        platforms=params.platforms,
        leaf=params.leaf,
        prior_name=params.prior,
        seed=params.seed,
        sun_zenith=params.sun_zenith,
        view_zenith=params.view_zenith,
    )
