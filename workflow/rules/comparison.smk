# Set the models side by side: one table and one figure set for all of them.
#
# Input: the scores of every model. Output: CSV and HTML tables, one for the fields and maps and one that a
# paper could print (by seed, with the spread), and the figures.


rule compare:
    input:
        scores=expand(RESULTS / "evaluation/{model}/scores.json", model=models()),
        costs=[
            BENCHMARKS / f"cost/{model}/seed{seed}.json"
            for model in models()
            for seed in campaign.seeds_of(model)
        ],
    output:
        models=report(
            BENCHMARKS / "models.csv",
            caption="../report/models_table.rst",
            category=CATEGORIES["comparison"],
            labels={"figure": "models, with their cost"},
        ),
        models_page=report(
            BENCHMARKS / "models.html",
            caption="../report/models_table.rst",
            category=CATEGORIES["comparison"],
            labels={"figure": "models, with their cost"},
        ),
        table=report(
            RESULTS / "comparison/table.csv",
            caption="../report/table.rst",
            category=CATEGORIES["comparison"],
            labels={"figure": "all scores"},
        ),
        page=report(
            RESULTS / "comparison/table.html",
            caption="../report/table.rst",
            category=CATEGORIES["comparison"],
            labels={"figure": "main scores"},
        ),
        figure=report(
            RESULTS / "comparison/models.png",
            caption="../report/models.rst",
            category=CATEGORIES["comparison"],
            labels={"figure": "models side by side"},
        ),
    log:
        LOGS / "comparison.log",
    benchmark:
        BENCHMARKS / "comparison.tsv"
    # Seconds of work: not worth a job on a cluster.
    localrule: True
    conda:
        ENVIRONMENT
    params:
        code=code("compare.py"),
    message:
        "Comparing the models"
    script:
        "../../scripts/compare.py"
