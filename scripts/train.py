"""Train one posterior family. Input: simulations, perhaps patches. Output: the model bundle."""

from pathlib import Path

from canopyflow.jobs import job
from canopyflow.training.loop import train


def by_split(paths):
    """Stores by the split their folder is named after."""
    return {Path(path).parent.stem: Path(path).parent for path in paths} or None


params = snakemake.params
bundle = Path(snakemake.output.bundle).parent
with job(snakemake.log[0], snakemake.params):
    train(
        bundle,
        family=snakemake.wildcards.family,
        family_options=params.family_options,
        encoder=params.encoder,
        prior=params.prior,
        noise=params.noise,
        leaf=params.leaf,
        bands=params.bands,
        simulations=by_split(snakemake.input.simulations),
        patches=by_split(snakemake.input.patches),
        seed=params.seed,
        fingerprints={"code": params.code},
        checkpoint=bundle.with_name(f".{bundle.name}.checkpoint"),
        **params.options,
    )
