# Posterior summaries of every clear pixel of a tile-month, in parallel with Dask; of a model of seasons, of every
# pixel of a tile-year that was clear once, at fixed dates. It reads the months of its season and no others.


rule infer:
    input:
        bundle=BUNDLE,
        scenes=of_months(RESULTS / "scenes/{tile}/{window}.zarr/zarr.json"),
        masks=of_months(MASKS),
    output:
        PRODUCTS,
    log:
        LOGS / "products/{model}/{tile}/{window}.log",
    benchmark:
        BENCHMARKS / "products/{model}/{tile}/{window}.tsv"
    conda:
        ENVIRONMENT
    threads: campaign.inference.workers
    resources:
        runtime=minutes_of("infer"),
        # Each worker holds torch, a model and a batch; see canopyflow.inference.allocation.
        mem_mb=megabytes_of("infer"),
    params:
        code=lambda wildcards: code("infer.py", wildcards.model),
        options=lambda wildcards: campaign.mapping(wildcards.model),
        seed=campaign.seed,
        by=lambda wildcards: stages.maps_by(campaign, wildcards.model),
        window=season_window,
    message:
        "Mapping {wildcards.tile} {wildcards.window} with {wildcards.model}"
    script:
        "../../scripts/infer.py"
