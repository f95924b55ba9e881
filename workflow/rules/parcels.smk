# The posterior of the mean over each parcel of a file, for each acquisition.
#
# Input: parcels (a file of polygons), products, and what they were made from: draws of the pixels of a parcel
# are taken again. Output: a table for each model (CSV and GeoParquet). How alike the errors of neighbouring
# pixels are is a property of the model, and is learned once on parcels that it simulates.


rule check_parcels:
    input:
        campaign.parcels.path if HAS_PARCELS else [],
    output:
        PARCELS,
    log:
        LOGS / "parcels/parcels.log",
    benchmark:
        BENCHMARKS / "parcels/parcels.tsv"
    priority: 1
    # Seconds of work: not worth a job on a cluster.
    localrule: True
    conda:
        ENVIRONMENT
    params:
        code=code("check_parcels.py"),
        name=campaign.parcels.id,
        area=campaign.area.asked if campaign.area else None,
    message:
        "Checking the parcels"
    script:
        "../../scripts/check_parcels.py"


rule correlate:
    input:
        BUNDLE,
    output:
        RESULTS / "parcels/{model}/correlation.json",
    log:
        LOGS / "parcels/{model}/correlation.log",
    benchmark:
        BENCHMARKS / "parcels/{model}/correlation.tsv"
    conda:
        ENVIRONMENT
    resources:
        runtime=minutes_of("correlate"),
        mem_mb=megabytes_of("correlate"),
    params:
        code=lambda wildcards: code("correlate.py", wildcards.model),
        options=lambda wildcards: parcel_options(wildcards.model),
        seed=campaign.seed,
    message:
        "Simulating parcels with {wildcards.model}"
    script:
        "../../scripts/correlate.py"


rule extract:
    input:
        parcels=PARCELS,
        correlation=RESULTS / "parcels/{model}/correlation.json",
        bundle=BUNDLE,
        product=PRODUCTS,
        scenes=RESULTS / "scenes/{tile}/{window}.zarr/zarr.json",
        masks=MASKS,
    output:
        EXTRACTED,
    log:
        LOGS / "parcels/{model}/{tile}/{window}.log",
    benchmark:
        BENCHMARKS / "parcels/{model}/{tile}/{window}.tsv"
    conda:
        ENVIRONMENT
    resources:
        runtime=minutes_of("extract"),
        mem_mb=megabytes_of("extract"),
    params:
        code=lambda wildcards: code("extract.py", wildcards.model),
        options=lambda wildcards: parcel_options(wildcards.model),
        seed=campaign.seed,
    message:
        "Parcels of {wildcards.tile} {wildcards.window} with {wildcards.model}"
    script:
        "../../scripts/extract.py"


rule gather_parcels:
    input:
        parcels=PARCELS,
        parts=for_all_tile_months(EXTRACTED),
    output:
        table=RESULTS / "parcels/{model}.parquet",
        text=RESULTS / "parcels/{model}.csv",
    log:
        LOGS / "parcels/{model}.log",
    benchmark:
        BENCHMARKS / "parcels/{model}.tsv"
    conda:
        ENVIRONMENT
    resources:
        runtime=minutes_of("gather_parcels"),
        mem_mb=megabytes_of("gather_parcels"),
    params:
        code=code("gather_parcels.py"),
    message:
        "Gathering the parcels of {wildcards.model}"
    script:
        "../../scripts/gather_parcels.py"
