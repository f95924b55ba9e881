#!/usr/bin/env bash
# The weekly update of a campaign: ask the catalogue again, then do what follows from new scenes.
#
#   config/schedules/weekly.sh config/campaigns/X.yaml [options of snakemake, such as --profile slurm]
#
# Cron, scrontab and the systemd timer beside this file call it. It ends with 0 when all is up to date and with 1 when
# a job failed or when the campaign is being run already; what it prints says which.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

campaign=${1:?"usage: $0 CAMPAIGN.yaml [options of snakemake]"}
shift

# SITE: where the environment is.
source .venv/bin/activate
export OMP_NUM_THREADS=1

canopyflow campaign run "$campaign" "$@" --forcerun search
canopyflow campaign status "$campaign"
