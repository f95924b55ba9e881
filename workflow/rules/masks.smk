# Decide for each pixel of a tile-month whether it can be believed, and why not.
#
# Output: the mask store, and one line of statistics a scene for the campaign manager.


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
