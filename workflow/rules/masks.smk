# Decide for each pixel of a tile-month whether it can be believed, and why not.
#
# Output: the mask store, and one line of statistics per scene for the campaign manager.


rule mask_clouds:
    input:
        RESULTS / "scenes/{tile}/{window}.zarr/zarr.json",
    output:
        store=RESULTS / "masks/{tile}/{window}.zarr/zarr.json",
        statistics=RESULTS / "masks/{tile}/{window}.csv",
    log:
        LOGS / "masks/{tile}/{window}.log",
    benchmark:
        BENCHMARKS / "masks/{tile}/{window}.tsv"
    wildcard_constraints:
        window=MONTH,
    conda:
        ENVIRONMENT
    resources:
        runtime=minutes_of("mask_clouds"),
        mem_mb=megabytes_of("mask_clouds"),
    params:
        code=code("mask_clouds.py"),
        options=campaign.masking.model_dump(),
    message:
        "Masking clouds of {wildcards.tile} {wildcards.window}"
    script:
        "../../scripts/mask_clouds.py"


rule draw_clouds:
    input:
        for_all_tile_months(RESULTS / "masks/{tile}/{window}.csv"),
    output:
        report(
            RESULTS / "comparison/clouds.png",
            caption="../report/clouds.rst",
            category=CATEGORIES["scenes"],
            labels={"figure": "cloud statistics"},
        ),
    log:
        LOGS / "clouds.log",
    benchmark:
        BENCHMARKS / "clouds.tsv"
    # Seconds of work: not worth a job on a cluster.
    localrule: True
    conda:
        ENVIRONMENT
    params:
        code=code("draw_clouds.py"),
    message:
        "Drawing the cloud statistics"
    script:
        "../../scripts/draw_clouds.py"
