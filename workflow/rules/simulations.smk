# Draw variables from the prior and run them through the radiative transfer: of single dates, and of the seasons of
# each model that has dynamics.
#
# Output: variables, angles and noise-free reflectance; noise is drawn anew whenever they are used.


rule simulate:
    output:
        RESULTS / "simulations/{split}.zarr/zarr.json",
    log:
        LOGS / "simulations/{split}.log",
    benchmark:
        BENCHMARKS / "simulations/{split}.tsv"
    conda:
        ENVIRONMENT
    resources:
        runtime=minutes_of("simulate"),
        mem_mb=megabytes_of("simulate"),
    params:
        code=code("simulate.py"),
        n=lambda wildcards: getattr(campaign.simulations, wildcards.split),
        bands=BANDS,
        platforms=list(campaign.simulations.platforms),
        generative=campaign.physics.generative,
        law=campaign.physics.law,
        sun_zenith=campaign.simulations.sun_zenith,
        view_zenith=campaign.simulations.view_zenith,
        # Splits must not share their random numbers.
        seed=lambda wildcards: 3 * campaign.seed + SPLITS.index(wildcards.split),
    message:
        "Simulating {params.n} {wildcards.split} spectra"
    script:
        "../../scripts/simulate.py"


rule simulate_seasons:
    output:
        SEASONS_DRAWN,
    log:
        LOGS / "seasons/drawn/{model}/{split}.log",
    benchmark:
        BENCHMARKS / "seasons/drawn/{model}/{split}.tsv"
    wildcard_constraints:
        model=one_of(campaign.of_seasons),
    conda:
        ENVIRONMENT
    resources:
        runtime=minutes_of("simulate_seasons"),
        mem_mb=megabytes_of("simulate_seasons"),
    params:
        code=lambda wildcards: code("simulate_seasons.py", wildcards.model),
        n=lambda wildcards: getattr(campaign.seasons, wildcards.split),
        bands=BANDS,
        platforms=list(campaign.simulations.platforms),
        survey=season_survey,
        generative=dict(name=campaign.physics.generative, options=campaign.physics.law),
        dynamics=lambda wildcards: campaign.dynamics(wildcards.model),
        # Splits must not share their random numbers.
        seed=lambda wildcards: 3 * campaign.seed + SPLITS.index(wildcards.split),
    message:
        "Simulating {params.n} {wildcards.split} seasons for {wildcards.model}"
    script:
        "../../scripts/simulate_seasons.py"
