# Set the families side by side: one table and one figure set for all of them.
#
# Input: the scores of every family. Output: CSV and HTML tables, one for the fields and maps and one that a
# paper could print (by seed, with the spread), and the figures.


rule compare:
    input:
        scores=expand(RESULTS / "evaluation/{model}/scores.json", model=models()),
        costs=expand(
            BENCHMARKS / "cost/{model}/seed{seed}.json",
            model=models(),
            seed=campaign.training.seeds,
        ),
    output:
        families=report(
            BENCHMARKS / "families.csv",
            caption="../report/families_table.rst",
            category="Comparison",
            labels={"figure": "families, with their cost"},
        ),
        families_page=report(
            BENCHMARKS / "families.html",
            caption="../report/families_table.rst",
            category="Comparison",
            labels={"figure": "families, with their cost"},
        ),
        table=report(
            RESULTS / "comparison/table.csv",
            caption="../report/table.rst",
            category="Comparison",
            labels={"figure": "all scores"},
        ),
        page=report(
            RESULTS / "comparison/table.html",
            caption="../report/table.rst",
            category="Comparison",
            labels={"figure": "main scores"},
        ),
        figure=report(
            RESULTS / "comparison/families.png",
            caption="../report/families.rst",
            category="Comparison",
            labels={"figure": "families side by side"},
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
        "Comparing the families"
    script:
        "../../scripts/compare.py"
