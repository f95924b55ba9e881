# What leaves the house: COGs and STAC items of a tile-month, with what they were made from.


rule publish:
    input:
        product=PRODUCTS,
        scenes=RESULTS / "scenes/{tile}/{window}.zarr/zarr.json",
        bundle=BUNDLE,
    output:
        PUBLISHED,
    log:
        LOGS / "published/{model}/{tile}/{window}.log",
    benchmark:
        BENCHMARKS / "published/{model}/{tile}/{window}.tsv"
    conda:
        ENVIRONMENT
    resources:
        runtime=minutes_of("publish"),
        mem_mb=megabytes_of("publish"),
    params:
        code=code("publish.py"),
        infer_code=lambda wildcards: code("infer.py", wildcards.model),
        campaign=campaign.campaign,
        variables=list(campaign.publication.variables),
    message:
        "Publishing {wildcards.tile} {wildcards.window} of {wildcards.model}"
    script:
        "../../scripts/publish.py"
