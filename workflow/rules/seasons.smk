# Cut seasons of single pixels out of all scenes of their tile and year, for models that learn from real ones.
#
# Output: a cube per split; each season has every pass of its window, clear or not. Splits are those of the patches:
# spatial blocks, so that no pixel of a test block is ever trained on. And of each model of seasons a figure of a few
# trajectories.


rule cut_seasons:
    input:
        scenes=for_all_season_months(RESULTS / "scenes/{tile}/{window}.zarr/zarr.json"),
        masks=for_all_season_months(MASKS),
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


rule draw_trajectories:
    input:
        products=for_all_windows(PRODUCTS),
        matchups=MATCHUPS,
    output:
        report(
            RESULTS / "evaluation/{model}/trajectories.png",
            **model_figure("trajectories", "Maps", "trajectories of twelve pixels"),
        ),
    log:
        LOGS / "trajectories/{model}.log",
    benchmark:
        BENCHMARKS / "trajectories/{model}.tsv"
    wildcard_constraints:
        model=one_of(campaign.of_seasons),
    conda:
        ENVIRONMENT
    resources:
        runtime=minutes_of("draw_trajectories"),
        mem_mb=megabytes_of("draw_trajectories"),
    params:
        code=code("draw_trajectories.py"),
        truth=campaign.evaluation.truth,
    message:
        "Drawing trajectories of {wildcards.model}"
    script:
        "../../scripts/draw_trajectories.py"
