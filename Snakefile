from snakemake.utils import min_version

min_version("9.0")

if not workflow.config_settings.configfiles:

    configfile: "config/config.yaml"


# Used with `--sdm apptainer`; envs/Containerfile says how to build it.
container: "envs/canopyflow.sif"


include: "workflow/rules/common.smk"
include: "workflow/rules/simulations.smk"
include: "workflow/rules/training.smk"
include: "workflow/rules/reference.smk"
include: "workflow/rules/evaluation.smk"
include: "workflow/rules/comparison.smk"


# A campaign without an archive is one of simulations: models compared, nothing mapped.
if campaign.has_scenes:

    include: "workflow/rules/demo.smk"
    include: "workflow/rules/search.smk"
    include: "workflow/rules/scenes.smk"
    include: "workflow/rules/masks.smk"
    include: "workflow/rules/patches.smk"
    include: "workflow/rules/inference.smk"
    include: "workflow/rules/matchups.smk"
    include: "workflow/rules/publication.smk"


report: "workflow/report/workflow.rst"


# The goals: `snakemake` makes all of it, `snakemake comparison` a part.
rule all:
    default_target: True
    input:
        comparison_files(),
        of_all_models(PUBLISHED) if campaign.has_scenes else [],


# Tables and figures of all models side by side, and the figures of each.
rule comparison:
    input:
        comparison_files(),


# The true posterior of some pixels.
rule reference:
    input:
        REFERENCES,


if campaign.has_scenes:

    # All product stores.
    rule maps:
        input:
            of_all_models(PRODUCTS),

    # COGs and STAC items of all products.
    rule published:
        input:
            of_all_models(PUBLISHED),
