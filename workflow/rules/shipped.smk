# Models that come with the package: taken from it instead of being trained, or put into it.
#
# `models: {ready: {shipped: s2}}` in a campaign takes one: it lies in the results like a trained one, so that all
# other rules need not ask. The goal `ship` of the two campaigns that train them puts a model with its scores into
# src/canopyflow/models/shipped/, from where it is committed.


rule take_shipped:
    output:
        bundle=RESULTS / "models/{model}/seed{seed}/model.json",
        history=RESULTS / "models/{model}/seed{seed}/history.jsonl",
    log:
        LOGS / "models/{model}/seed{seed}.log",
    benchmark:
        BENCHMARKS / "taken/{model}/seed{seed}.tsv"
    wildcard_constraints:
        model=one_of(TAKEN),
    # Seconds of work: not worth a job on a cluster.
    localrule: True
    conda:
        ENVIRONMENT
    params:
        code=code("take_shipped.py"),
        shipped=lambda wildcards: TAKEN[wildcards.model],
        # Another model under the same name is another model.
        digest=lambda wildcards: shipped.digest(TAKEN[wildcards.model]),
    message:
        "Taking {params.shipped} for {wildcards.model}"
    script:
        "../../scripts/take_shipped.py"


rule put_into_package:
    input:
        bundle=BUNDLE,
        scores=RESULTS / "evaluation/{model}/scores.json",
    output:
        shipped.folder() / "{model}/model.json",
    log:
        LOGS / "shipped/{model}.log",
    benchmark:
        BENCHMARKS / "shipped/{model}.tsv"
    wildcard_constraints:
        model=one_of(SHIPS),
    localrule: True
    conda:
        ENVIRONMENT
    params:
        code=code("ship.py"),
        made_by=lambda wildcards: made_by(campaign, wildcards.model, TOP / "scripts"),
    message:
        "Shipping {wildcards.model}"
    script:
        "../../scripts/ship.py"


if SHIPS:

    # The models of this campaign that come with the package.
    rule ship:
        input:
            expand(shipped.folder() / "{model}/model.json", model=SHIPS),
