# Train one model from one seed.
#
# Input: simulations, and patches where a phase looks at real pixels; of a model of seasons, drawn and real seasons; of
# a baseline that is fitted to field plots, their spectra instead. Output: the model bundle. The checkpoint beside it survives a kill and is used by the next
# attempt; it is gone when the bundle is there.


rule train:
    input:
        simulations=training_simulations,
        patches=training_patches,
        labels=training_labels,
        seasons_drawn=training_seasons("seasons_drawn", SEASONS_DRAWN),
        seasons=training_seasons("seasons", SEASONS_SEEN),
    output:
        bundle=RESULTS / "models/{model}/seed{seed}/model.json",
        history=RESULTS / "models/{model}/seed{seed}/history.jsonl",
    log:
        LOGS / "models/{model}/seed{seed}.log",
    benchmark:
        BENCHMARKS / "models/{model}/seed{seed}.tsv"
    wildcard_constraints:
        model=one_of(campaign.trained),
    conda:
        ENVIRONMENT
    threads: campaign.training.threads
    resources:
        runtime=minutes_of("train"),
        mem_mb=megabytes_of("train"),
    params:
        code=lambda wildcards: code("train.py", wildcards.model),
        model=lambda wildcards: campaign.model_blocks[wildcards.model].built_from,
        bands=BANDS,
        platforms=list(campaign.simulations.platforms),
        encoder=training_encoder,
        generative=campaign.physics.generative,
        physics=campaign.physics.options,
        options=training_settings,
        seed=lambda wildcards: 1000 * campaign.seed + int(wildcards.seed),
    message:
        "Training {wildcards.model}, seed {wildcards.seed}"
    script:
        "../../scripts/train.py"
