# Hold each family against held-back simulations, the reference posterior, field plots and maps.
#
# Each seed is scored where the truth is known; the family's scores join its seeds (JSON and a long table).


rule score_seed:
    input:
        bundle=RESULTS / "models/{family}/seed{seed}/model.json",
        simulations=RESULTS / "simulations/test.zarr/zarr.json",
        references=expand(
            RESULTS / "reference/{source}.zarr/zarr.json", source=REFERENCES
        ),
    output:
        scores=RESULTS / "evaluation/{family}/seed{seed}.json",
        # A time is never twice the same: apart from what is reproducible.
        cost=BENCHMARKS / "cost/{family}/seed{seed}.json",
    log:
        LOGS / "evaluation/{family}/seed{seed}.log",
    benchmark:
        BENCHMARKS / "evaluation/{family}/seed{seed}.tsv"
    conda:
        ENVIRONMENT
    resources:
        # Of each worker, where `set-threads` asks for several; see canopyflow.inference.allocation.
        mem_mb=lambda wildcards, threads: 2000 + 2000 * threads,
    params:
        code=lambda wildcards: code("score_seed.py", FAMILIES.module(wildcards.family)),
        n=campaign.simulations.test,
        samples=campaign.evaluation.samples,
        seed=campaign.seed,
    message:
        "Scoring {wildcards.family}, seed {wildcards.seed}"
    script:
        "../../scripts/score_seed.py"


rule evaluate:
    input:
        seeds=expand(
            RESULTS / "evaluation/{{family}}/seed{seed}.json",
            seed=campaign.training.seeds,
        ),
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
        code=code("evaluate.py"),
        truth=campaign.evaluation.truth,
    message:
        "Joining the scores of {wildcards.family}"
    script:
        "../../scripts/evaluate.py"


rule draw_corner:
    input:
        bundle=BUNDLE,
        reference=RESULTS / "reference/simulated.zarr/zarr.json",
    output:
        report(
            RESULTS / "evaluation/{family}/corner.png",
            **family_figure("corner", "Posteriors", "over the reference"),
        ),
    log:
        LOGS / "corner/{family}.log",
    benchmark:
        BENCHMARKS / "corner/{family}.tsv"
    conda:
        ENVIRONMENT
    params:
        code=lambda wildcards: code("draw_corner.py", FAMILIES.module(wildcards.family)),
        seed=campaign.seed,
    message:
        "Drawing posteriors of {wildcards.family} over the reference"
    script:
        "../../scripts/draw_corner.py"


rule draw_family:
    input:
        scores=RESULTS / "evaluation/{family}/scores.json",
        histories=expand(
            RESULTS / "models/{{family}}/seed{seed}/history.jsonl",
            seed=campaign.training.seeds,
        ),
    output:
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
