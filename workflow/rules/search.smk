# Search the catalogue once and pin what it answered.
#
# Output: an index of the tile-months with a digest of each, which is all that planning reads, with what was
# asked, the grid of each tile, what was rejected and why. Beside it, search/{tile}/{month}.json holds the items of
# each tile-month as they were. A checkpoint: which tiles and months there are is known only afterwards. A remote archive is searched again when `archive.pin`, what is asked or
# the code of the search changes (or with `--forcerun search`), a local one also when its catalogue changes.
# Then only tile-months whose own items differ are fetched again.

# Snakemake records params that are plain values and compares them; a Path it does not. So a catalogue on
# this machine goes in as a Path, with a digest of its content beside it: it may be moved or mounted
# elsewhere without being another archive, and is searched again when its content changes.
REMOTE = campaign.archive.is_remote
if campaign.uses_demo:
    CATALOG = DEMO_CATALOG
elif REMOTE:
    # As it is written: what ${NAME} stands for may be secret, and Snakemake records params.
    CATALOG = without_secrets(campaign.archive.catalog)
else:
    CATALOG = Path(campaign.archive.address)
    CATALOG = CATALOG / "catalog.json" if CATALOG.is_dir() else CATALOG
    if not CATALOG.exists():
        raise WorkflowError(
            f"archive.catalog: there is no {CATALOG}; the known archives are {', '.join(PRESETS)}"
        )


# What serves the demo's catalogue has no part in the search of another.
SEARCH = "search_demo.py" if campaign.uses_demo else "search.py"


checkpoint search:
    input:
        [CATALOG] if campaign.uses_demo else [],
        campaign.area.file or [],
    output:
        RESULTS / "search/index.json",
    log:
        LOGS / "search.log",
    benchmark:
        BENCHMARKS / "search.tsv"
    # Seconds of work: not worth a job on a cluster.
    localrule: True
    conda:
        ENVIRONMENT
    resources:
        stac=1,
    params:
        code=code(SEARCH),
        catalog=CATALOG,
        content=static_content,
        pin=campaign.archive.pin,
        query=campaign.query,
    message:
        f"Searching the catalogue for {campaign.period.start} to {campaign.period.end}"
    script:
        f"../../scripts/{SEARCH}"
