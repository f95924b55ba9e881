# Draw variables from the prior and run them through the radiative transfer.
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
