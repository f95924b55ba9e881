# Cut clear patches of the whole campaign into one cube per split.
#
# Splits are spatial blocks on one global grid: overlapping tiles agree, and no pixel of a test block
# is ever trained on.


rule cut_patches:
    input:
        scenes=for_all_tile_months(RESULTS / "scenes/{tile}/{window}.zarr/zarr.json"),
        masks=for_all_tile_months(RESULTS / "masks/{tile}/{window}.zarr/zarr.json"),
    output:
        RESULTS / "patches/{split}.zarr/zarr.json",
    log:
        LOGS / "patches/{split}.log",
    benchmark:
        BENCHMARKS / "patches/{split}.tsv"
    conda:
        ENVIRONMENT
    resources:
        runtime=minutes_of("cut_patches"),
        mem_mb=megabytes_of("cut_patches"),
    params:
        code=code("cut_patches.py"),
        options=campaign.patches.model_dump(),
        seed=campaign.seed,
    message:
        "Cutting {wildcards.split} patches"
    script:
        "../../scripts/cut_patches.py"
