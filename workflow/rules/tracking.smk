# Hand curves of training to a tracker, where the campaign names one: `tracking: tensorboard` or `mlflow`.
#
# Input: the history of one training. Output: what was handed over; TensorBoard's file lies beside it, MLflow's runs in
# tracking/mlflow/store or on the server that the environment names (docs/tracking.md). No model depends on it.


rule track:
    input:
        RESULTS / "models/{model}/seed{seed}/history.jsonl",
    output:
        RESULTS / "tracking/{tracker}/{model}/seed{seed}/tracked.json",
    log:
        LOGS / "tracking/{tracker}/{model}/seed{seed}.log",
    benchmark:
        BENCHMARKS / "tracking/{tracker}/{model}/seed{seed}.tsv"
    wildcard_constraints:
        tracker="tensorboard|mlflow",
    # Seconds of work: not worth a job on a cluster. One at a time, for MLflow's folder has no lock.
    localrule: True
    conda:
        ENVIRONMENT
    resources:
        tracker=1,
    params:
        code=code("track.py"),
        campaign=campaign.campaign,
    message:
        "Tracking {wildcards.model}, seed {wildcards.seed}, with {wildcards.tracker}"
    script:
        "../../scripts/track.py"
