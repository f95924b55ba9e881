# Posterior summaries of every clear pixel of a tile-month, in parallel with Dask.


rule infer:
    input:
        bundle=BUNDLE,
        scenes=RESULTS / "scenes/{tile}/{window}.zarr/zarr.json",
        masks=RESULTS / "masks/{tile}/{window}.zarr/zarr.json",
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
        options=campaign.inference.model_dump(exclude={"workers"}),
        seed=campaign.seed,
    message:
        "Mapping {wildcards.tile} {wildcards.window} with {wildcards.model}"
    script:
        "../../scripts/infer.py"
