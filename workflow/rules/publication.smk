# What leaves the house: COGs and STAC items of a tile-month, with what they were made from.


rule publish:
    input:
        product=PRODUCTS,
        scenes=RESULTS / "scenes/{tile}/{month}.zarr/zarr.json",
        bundle=BUNDLE,
    output:
        RESULTS / "published/{family}/{tile}/{month}/provenance.json",
    log:
        LOGS / "published/{family}/{tile}/{month}.log",
    benchmark:
        BENCHMARKS / "published/{family}/{tile}/{month}.tsv"
    conda:
        ENVIRONMENT
    params:
        code=code("publish.py"),
        infer_code=lambda wildcards: code("infer.py", FAMILIES.module(wildcards.family)),
        campaign=campaign.campaign,
        variables=list(campaign.publication.variables),
    message:
        "Publishing {wildcards.tile} {wildcards.month} of {wildcards.family}"
    script:
        "../../scripts/publish.py"
