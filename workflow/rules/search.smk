# Search the catalogue once and pin what it answered.
#
# Output: the items as they were, the grid of each tile, what was rejected and why. A checkpoint: which
# tiles and months there are is known only afterwards. A remote archive is searched again when
# `archive.pin` changes (or with `--forcerun search`), a local one when its catalogue changes. Then only
# tile-months whose own items differ are fetched again.

# A catalogue on this machine is an input like any other; a remote one is watched through `archive.pin`.
if campaign.uses_demo:
    LOCAL_CATALOG = [DEMO / "items.json"]
elif campaign.archive.catalog.startswith(("http://", "https://")):
    LOCAL_CATALOG = []
elif Path(campaign.archive.catalog).is_dir():
    LOCAL_CATALOG = [Path(campaign.archive.catalog) / "catalog.json"]
else:
    LOCAL_CATALOG = [campaign.archive.catalog]


localrules:
    search,


checkpoint search:
    input:
        LOCAL_CATALOG,
    output:
        RESULTS / "search/items.json",
    log:
        LOGS / "search.log",
    benchmark:
        BENCHMARKS / "search.tsv"
    conda:
        ENVIRONMENT
    resources:
        stac=1,
    params:
        code=code("search.py"),
        # Snakemake records plain values and compares them, a Path it does not: a local catalogue may be
        # moved or mounted elsewhere without being another archive.
        catalog=Path(LOCAL_CATALOG[0]) if LOCAL_CATALOG else campaign.archive.catalog,
        is_demo=campaign.uses_demo,
        collection=campaign.archive.collection,
        pin=campaign.archive.pin,
        areas=campaign.area.boxes,
        start=str(campaign.period.start),
        end=str(campaign.period.end),
        max_cloud_cover=campaign.archive.max_cloud_cover,
        bands=BANDS,
        resolution=campaign.grid.resolution,
    message:
        "Searching the catalogue for {params.start} to {params.end}"
    script:
        "../../scripts/search.py"
