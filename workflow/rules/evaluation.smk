# Hold each family against field plots, held-back simulations and, where there are some, reference maps.
#
# Output: the matchup table, the family's scores (JSON and a long table) and its figures. The table of
# field plots is checked before anything else runs: a wrong unit must not wait for the last map.

PRODUCTS = RESULTS / "products/{family}/{tile}/{month}.zarr/zarr.json"
BUNDLE = RESULTS / f"models/{{family}}/seed{campaign.training.seeds[0]}/model.json"
HAS_PLOTS = campaign.evaluation.plots is not None
MATCHUPS = [RESULTS / "matchups/{family}.parquet"] if HAS_PLOTS else []


localrules:
    check_plots,


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
    conda:
        ENVIRONMENT
    params:
        code=code("check_plots.py"),
    message:
        "Checking the field plots"
    script:
        "../../scripts/check_plots.py"


rule match_plots:
    input:
        plots=RESULTS / "matchups/plots.parquet" if HAS_PLOTS else [],
        products=for_all_tile_months(PRODUCTS),
    output:
        RESULTS / "matchups/{family}.parquet",
    log:
        LOGS / "matchups/{family}.log",
    benchmark:
        BENCHMARKS / "matchups/{family}.tsv"
    conda:
        ENVIRONMENT
    params:
        code=code("match_plots.py"),
        max_days=campaign.evaluation.max_days,
    message:
        "Matching field plots with {wildcards.family}"
    script:
        "../../scripts/match_plots.py"


rule evaluate:
    input:
        bundle=BUNDLE,
        simulations=RESULTS / "simulations/test.zarr/zarr.json",
        products=for_all_tile_months(PRODUCTS),
        matchups=MATCHUPS,
    output:
        scores=RESULTS / "evaluation/{family}/scores.json",
        table=RESULTS / "evaluation/{family}/scores.csv",
    log:
        LOGS / "evaluation/{family}.log",
    benchmark:
        BENCHMARKS / "evaluation/{family}.tsv"
    conda:
        ENVIRONMENT
    params:
        code=lambda wildcards: code("evaluate.py", family_module(wildcards.family)),
        truth=campaign.evaluation.truth,
        n=campaign.simulations.test,
        samples=campaign.evaluation.samples,
        seed=campaign.seed,
    message:
        "Scoring {wildcards.family}"
    script:
        "../../scripts/evaluate.py"


rule draw_family:
    input:
        products=for_all_tile_months(PRODUCTS),
        matchups=MATCHUPS,
        scores=RESULTS / "evaluation/{family}/scores.json",
        histories=expand(
            RESULTS / "models/{{family}}/seed{seed}/history.jsonl",
            seed=campaign.training.seeds,
        ),
    output:
        maps=report(
            RESULTS / "evaluation/{family}/maps.png",
            **family_figure("maps", "Maps", "mean and interval width"),
        ),
        matchups=report(
            RESULTS / "evaluation/{family}/matchups.png",
            **family_figure("matchups", "Field plots", "matchups"),
        ),
        coverage=report(
            RESULTS / "evaluation/{family}/coverage.png",
            **family_figure("coverage", "Calibration", "coverage"),
        ),
        ranks=report(
            RESULTS / "evaluation/{family}/ranks.png",
            **family_figure("ranks", "Calibration", "ranks"),
        ),
        learning=report(
            RESULTS / "evaluation/{family}/learning.png",
            **family_figure("learning", "Training", "learning curve"),
        ),
    log:
        LOGS / "figures/{family}.log",
    benchmark:
        BENCHMARKS / "figures/{family}.tsv"
    conda:
        ENVIRONMENT
    params:
        code=code("draw_family.py"),
    message:
        "Drawing the figures of {wildcards.family}"
    script:
        "../../scripts/draw_family.py"
