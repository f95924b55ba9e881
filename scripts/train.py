"""Train one model. Input: simulations, perhaps patches. Output: the model bundle."""

from pathlib import Path

from canopyflow.jobs import job
from canopyflow.models.estimators.amortised import ModelOptions
from canopyflow.training.loop import plan, train


def by_split(paths):
    """Stores by the split their folder is named after."""
    return {Path(path).parent.stem: Path(path).parent for path in paths}


params = snakemake.params
bundle = Path(snakemake.output.bundle).parent
how = dict(params.options)
where = {name: how.pop(name) for name in ("threads", "device")}
encoder = dict(params.encoder)
summaries = how.get("summaries")
with job(snakemake.log[0], snakemake.params):
    train(
        bundle,
        ModelOptions(
            **params.model,
            encoder=encoder.pop("kind"),
            encoder_options=encoder,
            generative=params.generative,
            generative_options=params.physics,
            learned_prior=how.pop("learned_prior"),
            summaries=summaries and {name: summaries[name] for name in ("width", "layers")},
            bands=tuple(params.bands),
            platforms=tuple(params.platforms),
        ),
        plan(**how, seed=params.seed),
        {
            source: by_split(stores)
            for source in ("simulations", "patches")
            if (stores := snakemake.input.get(source))
        },
        fingerprints={"code": params.code},
        checkpoint=bundle.with_name(f".{bundle.name}.checkpoint"),
        **where,
    )
