# Decide for each pixel of a tile-month whether it can be believed, and why not.
#
# Output: the mask store, and one line of statistics a scene for the campaign manager.


# Seconds of work.
localrules:
    draw_clouds,


rule mask_clouds:
    input:
        RESULTS / "scenes/{tile}/{month}.zarr/zarr.json",
    output:
        store=RESULTS / "masks/{tile}/{month}.zarr/zarr.json",
        statistics=RESULTS / "masks/{tile}/{month}.csv",
    log:
        LOGS / "masks/{tile}/{month}.log",
    benchmark:
        BENCHMARKS / "masks/{tile}/{month}.tsv"
    conda:
        ENVIRONMENT
    params:
        code=code("mask_clouds.py"),
        options=campaign.masking.model_dump(),
    message:
        "Masking clouds of {wildcards.tile} {wildcards.month}"
    script:
        "../../scripts/mask_clouds.py"


rule draw_clouds:
    input:
        for_all_tile_months(RESULTS / "masks/{tile}/{month}.csv"),
    output:
        report(
            RESULTS / "comparison/clouds.png",
            caption="../report/clouds.rst",
            category="Scenes",
            labels={"figure": "cloud statistics"},
        ),
    log:
        LOGS / "clouds.log",
    benchmark:
        BENCHMARKS / "clouds.tsv"
    conda:
        ENVIRONMENT
    params:
        code=code("draw_clouds.py"),
    message:
        "Drawing the cloud statistics"
    script:
        "../../scripts/draw_clouds.py"
