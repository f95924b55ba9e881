# Posterior summaries of every clear pixel of a tile-month, in parallel with Dask.


rule infer:
    input:
        bundle=RESULTS
        / f"models/{{family}}/seed{campaign.training.seeds[0]}/model.json",
        scenes=RESULTS / "scenes/{tile}/{month}.zarr/zarr.json",
        masks=RESULTS / "masks/{tile}/{month}.zarr/zarr.json",
    output:
        RESULTS / "products/{family}/{tile}/{month}.zarr/zarr.json",
    log:
        LOGS / "products/{family}/{tile}/{month}.log",
    benchmark:
        BENCHMARKS / "products/{family}/{tile}/{month}.tsv"
    conda:
        ENVIRONMENT
    threads: campaign.inference.workers
    resources:
        # Each worker holds torch, a model and a batch; see canopyflow.inference.allocation.
        mem_mb=lambda wildcards, threads: 2000 + 2000 * threads,
    params:
        code=lambda wildcards: code("infer.py", FAMILIES.module(wildcards.family)),
        options=campaign.inference.model_dump(exclude={"workers"}),
        seed=campaign.seed,
    message:
        "Mapping {wildcards.tile} {wildcards.month} with {wildcards.family}"
    script:
        "../../scripts/infer.py"
