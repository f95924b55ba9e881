# The synthetic archive, written once when the campaign's catalogue is `demo`.
#
# Output: a folder like a real archive (COGs, granule metadata, STAC items), field plots and the truth.
# It belongs to no campaign and stays; only its catalogue is tracked.

if campaign.uses_demo:

    rule demo_archive:
        output:
            catalog=DEMO_CATALOG,
            plots=DEMO / "plots.csv",
            parcels=DEMO / "parcels.geojson",
            complete=DEMO / "demo.json",
        log:
            LOGS / "demo_archive.log",
        benchmark:
            BENCHMARKS / "demo_archive.tsv"
        conda:
            ENVIRONMENT
        params:
            code=code("demo_archive.py"),
        message:
            "Writing the synthetic archive to demo-archive/"
        script:
            "../../scripts/demo_archive.py"
