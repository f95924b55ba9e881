# Hold each model against held-back simulations, the reference posterior, field plots and maps.
#
# Each seed is scored where the truth is known; a model's scores join its seeds (JSON and a long table);
# those of field plots also stand by site, class and month.


rule score_seed:
    input:
        bundle=RESULTS / "models/{model}/seed{seed}/model.json",
        simulations=held_back,
        references=references_of,
    output:
        scores=RESULTS / "evaluation/{model}/seed{seed}.json",
        # A time is never twice the same: apart from what is reproducible.
        cost=BENCHMARKS / "cost/{model}/seed{seed}.json",
    log:
        LOGS / "evaluation/{model}/seed{seed}.log",
    benchmark:
        BENCHMARKS / "evaluation/{model}/seed{seed}.tsv"
    conda:
        ENVIRONMENT
    resources:
        runtime=minutes_of("score_seed"),
        # Of each worker, where `set-threads` asks for several; see canopyflow.inference.allocation.
        mem_mb=megabytes_of("score_seed"),
    params:
        code=lambda wildcards: code("score_seed.py", wildcards.model),
        n=lambda wildcards: campaign.scored(wildcards.model),
        samples=campaign.evaluation.samples,
        seed=campaign.seed,
        by=lambda wildcards: stages.scored_by(campaign, wildcards.model),
    message:
        "Scoring {wildcards.model}, seed {wildcards.seed}"
    script:
        "../../scripts/score_seed.py"


rule evaluate:
    input:
        seeds=of_all_seeds(RESULTS / "evaluation/{model}/seed{seed}.json"),
        products=maps_of_model,
        matchups=MATCHUPS,
    output:
        scores=RESULTS / "evaluation/{model}/scores.json",
        table=RESULTS / "evaluation/{model}/scores.csv",
        groups=RESULTS / "evaluation/{model}/groups.csv",
    log:
        LOGS / "evaluation/{model}.log",
    benchmark:
        BENCHMARKS / "evaluation/{model}.tsv"
    conda:
        ENVIRONMENT
    resources:
        runtime=minutes_of("evaluate"),
        mem_mb=megabytes_of("evaluate"),
    params:
        code=code("evaluate.py"),
        truth=lambda wildcards: (
            campaign.evaluation.truth if wildcards.model in campaign.mapped else None
        ),
        corrections=campaign.evaluation.corrections,
    message:
        "Joining the scores of {wildcards.model}"
    script:
        "../../scripts/evaluate.py"


rule draw_corner:
    input:
        bundle=BUNDLE,
        reference=RESULTS / "reference/simulated.zarr/zarr.json",
    output:
        report(
            RESULTS / "evaluation/{model}/corner.png",
            **model_figure("corner", "Posteriors", "over the reference"),
        ),
    log:
        LOGS / "corner/{model}.log",
    benchmark:
        BENCHMARKS / "corner/{model}.tsv"
    conda:
        ENVIRONMENT
    resources:
        runtime=minutes_of("draw_corner"),
        mem_mb=megabytes_of("draw_corner"),
    params:
        code=lambda wildcards: code("draw_corner.py", wildcards.model),
        seed=campaign.seed,
    message:
        "Drawing posteriors of {wildcards.model} over the reference"
    script:
        "../../scripts/draw_corner.py"


rule draw_model:
    input:
        scores=RESULTS / "evaluation/{model}/scores.json",
        histories=of_all_seeds(RESULTS / "models/{model}/seed{seed}/history.jsonl"),
    output:
        coverage=report(
            RESULTS / "evaluation/{model}/coverage.png",
            **model_figure("coverage", "Calibration", "coverage"),
        ),
        ranks=report(
            RESULTS / "evaluation/{model}/ranks.png",
            **model_figure("ranks", "Calibration", "ranks"),
        ),
        learning=report(
            RESULTS / "evaluation/{model}/learning.png",
            **model_figure("learning", "Training", "learning curve"),
        ),
    log:
        LOGS / "figures/{model}.log",
    benchmark:
        BENCHMARKS / "figures/{model}.tsv"
    conda:
        ENVIRONMENT
    resources:
        runtime=minutes_of("draw_model"),
        mem_mb=megabytes_of("draw_model"),
    params:
        code=code("draw_model.py"),
    message:
        "Drawing the figures of {wildcards.model}"
    script:
        "../../scripts/draw_model.py"
