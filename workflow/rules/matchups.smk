# Match the maps of a model with field plots, and draw both.
#
# Output: the matchup table and the figures of maps and matchups. The table of field plots is checked
# before anything else runs: a wrong unit must not wait for the last map.


rule check_plots:
    input:
        campaign.evaluation.plots if HAS_PLOTS else [],
    output:
        RESULTS / "matchups/plots.parquet",
    log:
        LOGS / "matchups/plots.log",
    benchmark:
        BENCHMARKS / "matchups/plots.tsv"
    priority: 1
    # Seconds of work: not worth a job on a cluster.
    localrule: True
    conda:
        ENVIRONMENT
    params:
        code=code("check_plots.py"),
        measurands=campaign.evaluation.measurands,
    message:
        "Checking the field plots"
    script:
        "../../scripts/check_plots.py"


rule match_plots:
    input:
        plots=RESULTS / "matchups/plots.parquet" if HAS_PLOTS else [],
        products=for_all_tile_months(PRODUCTS),
    output:
        RESULTS / "matchups/{model}.parquet",
    log:
        LOGS / "matchups/{model}.log",
    benchmark:
        BENCHMARKS / "matchups/{model}.tsv"
    conda:
        ENVIRONMENT
    resources:
        runtime=minutes_of("match_plots"),
        mem_mb=megabytes_of("match_plots"),
    params:
        code=code("match_plots.py"),
        max_days=campaign.evaluation.max_days,
        label_error=list(campaign.evaluation.label_error),
    message:
        "Matching field plots with {wildcards.model}"
    script:
        "../../scripts/match_plots.py"


rule draw_maps:
    input:
        products=for_all_tile_months(PRODUCTS),
        matchups=MATCHUPS,
    output:
        maps=report(
            RESULTS / "evaluation/{model}/maps.png",
            **model_figure("maps", "Maps", "mean and interval width"),
        ),
        matchups=report(
            RESULTS / "evaluation/{model}/matchups.png",
            **model_figure("matchups", "Field plots", "matchups"),
        ),
    log:
        LOGS / "maps/{model}.log",
    benchmark:
        BENCHMARKS / "maps/{model}.tsv"
    conda:
        ENVIRONMENT
    resources:
        runtime=minutes_of("draw_maps"),
        mem_mb=megabytes_of("draw_maps"),
    params:
        code=code("draw_maps.py"),
    message:
        "Drawing the maps of {wildcards.model}"
    script:
        "../../scripts/draw_maps.py"
