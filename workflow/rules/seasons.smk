# Cut seasons of single pixels out of all scenes of their tile and year, for models that learn from real ones.
#
# Output: a cube per split; each season has every pass of its window, clear or not. Splits are those of the patches:
# spatial blocks, so that no pixel of a test block is ever trained on.


rule cut_seasons:
    input:
        scenes=for_all_tile_months(RESULTS / "scenes/{tile}/{window}.zarr/zarr.json"),
        masks=for_all_tile_months(MASKS),
    output:
        SEASONS_SEEN,
    log:
        LOGS / "seasons/observed/{split}.log",
    benchmark:
        BENCHMARKS / "seasons/observed/{split}.tsv"
    conda:
        ENVIRONMENT
    resources:
        runtime=minutes_of("cut_seasons"),
        mem_mb=megabytes_of("cut_seasons"),
    params:
        code=code("cut_seasons.py"),
        options=campaign.season_cut,
        seed=campaign.seed,
    message:
        "Cutting {wildcards.split} seasons"
    script:
        "../../scripts/cut_seasons.py"
