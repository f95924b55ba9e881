#!/usr/bin/env bash
# Snakemake runs this once in a new conda environment, from the working directory of the workflow.
set -euo pipefail
python -m pip install --no-deps --editable .
