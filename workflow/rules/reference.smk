# The true posterior of a few pixels, by long Markov chains through the physics.
#
# Input: held-back simulations, or patches of the campaign. Output: draws of each pixel and whether its
# chains have converged. Depends on prior, physics and noise alone: no edit of a family or of training reruns it.


rule sample_reference:
    input:
        reference_source,
    output:
        RESULTS / "reference/{source}.zarr/zarr.json",
    log:
        LOGS / "reference/{source}.log",
    benchmark:
        BENCHMARKS / "reference/{source}.tsv"
    conda:
        ENVIRONMENT
    resources:
        runtime=minutes_of("sample_reference"),
        # Of each worker, where `set-threads` asks for several; see canopyflow.inference.allocation.
        mem_mb=megabytes_of("sample_reference"),
    params:
        code=lambda wildcards: code("reference.py", wildcards.source),
        n=lambda wildcards: getattr(campaign.reference, wildcards.source),
        draws=campaign.reference.draws,
        rounds=campaign.reference.rounds,
        bands=BANDS,
        platforms=list(campaign.simulations.platforms),
        generative=campaign.physics.generative,
        physics=campaign.physics.options,
        seed=campaign.seed,
    message:
        "Sampling the posterior of {params.n} {wildcards.source} pixels"
    script:
        "../../scripts/reference.py"
