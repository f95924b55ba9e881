# What leaves the house: COGs and STAC items of a tile-month, with what they were made from, and the catalogue of
# all of them.
#
# `publish` owns the folder of its tile-month and writes links to the collection above it. `catalog` writes that
# collection, one for each model, and the root, from the provenance of all tile-months: each holds digests of its
# items, so that an item that changed is noticed here.


rule publish:
    input:
        product=PRODUCTS,
        scenes=of_months(RESULTS / "scenes/{tile}/{window}.zarr/zarr.json"),
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
        simulated=campaign.uses_demo,
    message:
        "Publishing {wildcards.tile} {wildcards.window} of {wildcards.model}"
    script:
        "../../scripts/publish.py"


rule catalog:
    input:
        months=every(PUBLISHED),
        bundles=[str(BUNDLE).format(model=model) for model in campaign.mapped],
    output:
        root=RESULTS / "published/catalog.json",
        collections=expand(
            RESULTS / "published/{model}/collection.json", model=campaign.mapped
        ),
    log:
        LOGS / "catalog.log",
    benchmark:
        BENCHMARKS / "catalog.tsv"
    conda:
        ENVIRONMENT
    resources:
        runtime=minutes_of("catalog"),
        mem_mb=megabytes_of("catalog"),
    params:
        code=code("catalog.py"),
        campaign=campaign.campaign,
        models=list(campaign.mapped),
        start=str(campaign.period.start),
        end=str(campaign.period.end),
        simulated=campaign.uses_demo,
    message:
        "Cataloguing what is published"
    script:
        "../../scripts/catalog.py"
