# One page that a reader opens: the verdict, maps, trajectories, calibration, scenes, provenance.
#
# Input: all tables of the campaign, its products, and the tables of parcels where it has some. Output: the page, which
# needs no network, and the verdict for others who show it. The verdict holds times, which are never twice the same:
# it lies with the benchmarks.


rule report_page:
    input:
        scores=expand(RESULTS / "evaluation/{model}/scores.json", model=models()),
        models=BENCHMARKS / "models.csv",
        table=RESULTS / "comparison/table.csv",
        matchups=(
            expand(RESULTS / "matchups/{model}.parquet", model=models())
            if HAS_PLOTS
            else []
        ),
        scenes=RESULTS / "comparison/scenes.csv" if campaign.has_scenes else [],
        products=every(PRODUCTS),
        parcels=parcel_tables(),
    output:
        page=RESULTS / "index.html",
        flags=RESULTS / "comparison/flags.csv",
        verdict=report(
            BENCHMARKS / "verdict.csv",
            caption="../report/verdict.rst",
            category=CATEGORIES["verdict"],
            labels={"figure": "which posterior, and should it be believed"},
        ),
        told=BENCHMARKS / "verdict.rst",
    log:
        LOGS / "page.log",
    benchmark:
        BENCHMARKS / "page.tsv"
    conda:
        ENVIRONMENT
    resources:
        runtime=minutes_of("report_page"),
        mem_mb=megabytes_of("report_page"),
    params:
        code=code("report_page.py"),
        asked=asked(campaign),
        truth=campaign.evaluation.truth,
        # For the first page of the report; a Path, which reruns nothing.
        verdict=BENCHMARKS / "verdict.rst",
    message:
        "Writing the page of the campaign"
    script:
        "../../scripts/report_page.py"
