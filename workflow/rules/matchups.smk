# Match the maps of a model with field plots, and draw both.
#
# Output: the matchup table and the figures of maps and matchups. The table of field plots is checked
# before anything else runs: a wrong unit must not wait for the last map.
#
# Baselines have no maps: they are asked about the spectra of the plots' pixels, which are matched once for all. So
# are models that were fitted to the plots, each of them without the site that it is asked about.


rule check_plots:
    input:
        campaign.evaluation.plots if HAS_PLOTS else [],
    output:
        RESULTS / "matchups/plots.parquet",
    log:
        LOGS / "matchups/plots.log",
    benchmark:
        BENCHMARKS / "matchups/plots.tsv"
    priority: 1
    # Seconds of work: not worth a job on a cluster.
    localrule: True
    conda:
        ENVIRONMENT
    params:
        code=code("check_plots.py"),
        measurands=campaign.evaluation.measurands,
        area=campaign.area.asked if campaign.area else None,
    message:
        "Checking the field plots"
    script:
        "../../scripts/check_plots.py"


rule match_spectra:
    input:
        plots=RESULTS / "matchups/plots.parquet" if HAS_PLOTS else [],
        scenes=for_all_tile_months(RESULTS / "scenes/{tile}/{window}.zarr/zarr.json"),
        masks=for_all_tile_months(MASKS),
    output:
        SPECTRA,
    log:
        LOGS / "matchups/spectra.log",
    benchmark:
        BENCHMARKS / "matchups/spectra.tsv"
    conda:
        ENVIRONMENT
    resources:
        runtime=minutes_of("match_spectra"),
        mem_mb=megabytes_of("match_spectra"),
    params:
        code=code("match_spectra.py"),
        bands=BANDS,
        max_days=campaign.evaluation.max_days,
        label_error=list(campaign.evaluation.label_error),
    message:
        "Matching field plots with spectra"
    script:
        "../../scripts/match_spectra.py"


rule match_model:
    input:
        bundle=BUNDLE,
        spectra=SPECTRA,
    output:
        RESULTS / "matchups/{model}.parquet",
    log:
        LOGS / "matchups/{model}.log",
    benchmark:
        BENCHMARKS / "matchups/direct/{model}.tsv"
    wildcard_constraints:
        model=one_of(FROM_SPECTRA),
    conda:
        ENVIRONMENT
    resources:
        runtime=minutes_of("match_model"),
        mem_mb=megabytes_of("match_model"),
    params:
        code=lambda wildcards: code("match_model.py", wildcards.model),
        samples=campaign.inference.samples,
        seed=campaign.seed,
    message:
        "Asking {wildcards.model} about the field plots"
    script:
        "../../scripts/match_model.py"


rule match_plots:
    input:
        plots=RESULTS / "matchups/plots.parquet" if HAS_PLOTS else [],
        products=for_all_windows(PRODUCTS),
    output:
        RESULTS / "matchups/{model}.parquet",
    log:
        LOGS / "matchups/{model}.log",
    benchmark:
        BENCHMARKS / "matchups/{model}.tsv"
    wildcard_constraints:
        model=one_of([] if FOOTPRINTS else FROM_MAPS),
    conda:
        ENVIRONMENT
    resources:
        runtime=minutes_of("match_plots"),
        mem_mb=megabytes_of("match_plots"),
    params:
        code=code("match_plots.py"),
        max_days=campaign.evaluation.max_days,
        label_error=list(campaign.evaluation.label_error),
        time=campaign.evaluation.time,
    message:
        "Matching field plots with {wildcards.model}"
    script:
        "../../scripts/match_plots.py"


# With footprints: draws of their pixels are taken again, as those of parcels.
rule match_areas:
    input:
        plots=RESULTS / "matchups/plots.parquet" if HAS_PLOTS else [],
        bundle=BUNDLE,
        correlation=RESULTS / "parcels/{model}/correlation.json",
        products=for_all_tile_months(PRODUCTS),
        scenes=for_all_tile_months(RESULTS / "scenes/{tile}/{window}.zarr/zarr.json"),
        masks=for_all_tile_months(MASKS),
    output:
        RESULTS / "matchups/{model}.parquet",
    log:
        LOGS / "matchups/{model}.log",
    benchmark:
        BENCHMARKS / "matchups/areas/{model}.tsv"
    wildcard_constraints:
        model=one_of(FROM_MAPS if FOOTPRINTS else []),
    conda:
        ENVIRONMENT
    resources:
        runtime=minutes_of("match_areas"),
        mem_mb=megabytes_of("match_areas"),
    params:
        code=lambda wildcards: code("match_areas.py", wildcards.model),
        max_days=campaign.evaluation.max_days,
        label_error=list(campaign.evaluation.label_error),
        time=campaign.evaluation.time,
        footprint=campaign.evaluation.footprint,
        options=lambda wildcards: parcel_options(wildcards.model),
        seed=campaign.seed,
    message:
        "Matching the footprints of field plots with {wildcards.model}"
    script:
        "../../scripts/match_areas.py"


rule draw_maps:
    input:
        products=for_all_windows(PRODUCTS),
        matchups=MATCHUPS,
    output:
        maps=report(
            RESULTS / "evaluation/{model}/maps.png",
            **model_figure("maps", "Maps", "mean and interval width"),
        ),
        matchups=report(
            RESULTS / "evaluation/{model}/matchups.png",
            **model_figure("matchups", "Field plots", "matchups"),
        ),
    log:
        LOGS / "maps/{model}.log",
    benchmark:
        BENCHMARKS / "maps/{model}.tsv"
    conda:
        ENVIRONMENT
    resources:
        runtime=minutes_of("draw_maps"),
        mem_mb=megabytes_of("draw_maps"),
    params:
        code=code("draw_maps.py"),
        truth=campaign.evaluation.truth,
    message:
        "Drawing the maps of {wildcards.model}"
    script:
        "../../scripts/draw_maps.py"
