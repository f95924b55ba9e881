# One table and one figure set for all families, and the cloud statistics of the campaign.


# Seconds of work each.
localrules:
    compare,
    draw_clouds,


rule compare:
    input:
        expand(RESULTS / "evaluation/{family}/scores.json", family=campaign.families),
    output:
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
    conda:
        ENVIRONMENT
    params:
        code=code("compare.py"),
    message:
        "Comparing the families"
    script:
        "../../scripts/compare.py"


rule draw_clouds:
    input:
        for_all_tile_months(RESULTS / "masks/{tile}/{month}.csv"),
    output:
        report(
            RESULTS / "comparison/clouds.png",
            caption="../report/clouds.rst",
            category="Scenes",
            labels={"figure": "cloud statistics"},
        ),
    log:
        LOGS / "clouds.log",
    benchmark:
        BENCHMARKS / "clouds.tsv"
    conda:
        ENVIRONMENT
    params:
        code=code("draw_clouds.py"),
    message:
        "Drawing the cloud statistics"
    script:
        "../../scripts/draw_clouds.py"
