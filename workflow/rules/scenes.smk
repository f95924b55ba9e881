# Read the pinned scenes of one tile and month into a scene store.
#
# Input: the pinned items (their own digest decides about a rerun, not the age of the file).
# Output: surface reflectance with the baseline offset removed, scene classification, angles.
#
# Scenes are fetched one by one. A job that was killed, or that the archive left in the lurch, goes on with the
# scene it had come to; a month with a new scene fetches that one and takes the others from the store it replaces.
# A scene that cannot be read is set aside: the store says why (see quarantine.smk).

# Where the hrefs of a local archive start; hrefs of a remote one are complete. A Path, so that a moved
# archive is still the same one (see search.smk).
ASSET_BASE = None if REMOTE else CATALOG.parent


rule fetch_scenes:
    input:
        pinned_items,
    output:
        RESULTS / "scenes/{tile}/{window}.zarr/zarr.json",
    log:
        LOGS / "scenes/{tile}/{window}.log",
    benchmark:
        BENCHMARKS / "scenes/{tile}/{window}.tsv"
    wildcard_constraints:
        window=MONTH,
    conda:
        ENVIRONMENT
    resources:
        stac=1,
        runtime=minutes_of("fetch_scenes"),
        mem_mb=megabytes_of("fetch_scenes"),
    params:
        code=code("fetch_scenes.py"),
        pinned=items_digest,
        bands=BANDS,
        reader=campaign.archive.reader,
        asset_base=ASSET_BASE,
        quarantine=lambda wildcards: (
            QUARANTINE / f"{wildcards.tile}/{wildcards.window}.json"
        ),
        view_zenith_if_unknown=campaign.archive.view_zenith_if_unknown,
        offset_contradicted=campaign.archive.offset_contradicted,
    message:
        "Fetching scenes of {wildcards.tile} {wildcards.window}"
    script:
        "../../scripts/fetch_scenes.py"
