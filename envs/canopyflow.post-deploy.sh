#!/usr/bin/env bash
# Snakemake runs this once in a new conda environment, from the working directory of the workflow: a checkout, whose
# code is the one that runs, or a folder of `canopyflow init`, which knows the version that it came with.
set -euo pipefail
if [[ -f pyproject.toml ]]; then
    python -m pip install --no-deps --editable .
else
    python -m pip install --no-deps "canopyflow==$(cat .canopyflow-version)"
fi
