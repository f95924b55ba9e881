# The entry of a checkout. The table of contents is workflow/Snakefile, where the catalogue of Snakemake workflows and
# `snakefile: github(...)` look for it.


include: "workflow/Snakefile"


# An included file has no say about what is made by default.
rule everything:
    default_target: True
    input:
        rules.all.input,
