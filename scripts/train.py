"""Train one model. Input: simulations, patches, seasons or labelled spectra. Output: the model bundle."""

from pathlib import Path

from canopyflow.jobs import job
from canopyflow.models.baseline import BaselineOptions
from canopyflow.models.estimators.amortised import ModelOptions
from canopyflow.training.baselines import train_baseline
from canopyflow.training.loop import network_of, plan, train


def by_split(paths):
    """Stores by the split their folder is named after."""
    return {Path(path).parent.stem: Path(path).parent for path in paths}


params = snakemake.params
bundle = Path(snakemake.output.bundle).parent
how = dict(params.options)
about = {
    **params.model,
    "generative": params.generative,
    "generative_options": params.physics,
    "bands": tuple(params.bands),
    "platforms": tuple(params.platforms),
}
stores = {
    source: by_split(stores)
    for source in ("simulations", "patches", "seasons_drawn", "seasons")
    if (stores := snakemake.input.get(source))
}
fingerprints = {"code": params.code}
with job(snakemake.log[0], snakemake.params):
    if "estimator" in about:
        labels = snakemake.input.get("labels") or None
        options = BaselineOptions(**about)
        train_baseline(
            bundle, options, stores, labels=labels, seed=params.seed, fingerprints=fingerprints, **how
        )
    else:
        where = {name: how.pop(name) for name in ("threads", "device")}
        encoder, summaries = dict(params.encoder), how.get("summaries")
        options = ModelOptions(
            **about,
            encoder=encoder.pop("kind"),
            encoder_options=encoder,
            learned_prior=how.pop("learned_prior"),
            summaries=summaries and network_of(summaries),
        )
        checkpoint = bundle.with_name(f".{bundle.name}.checkpoint")
        how = plan(**how, seed=params.seed)
        train(bundle, options, how, stores, checkpoint=checkpoint, fingerprints=fingerprints, **where)
