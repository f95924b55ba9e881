"""Hand the curves of one training to a tracker. Input: its history. Output: what was done, as JSON."""

from pathlib import Path

from canopyflow.atomic import write_json
from canopyflow.evaluation.tracking import track
from canopyflow.jobs import job

places = snakemake.wildcards
done = Path(snakemake.output[0])
# TensorBoard reads a folder for each run, MLflow one for all.
folder = done.parent if places.tracker == "tensorboard" else done.parents[2] / "store"
with job(snakemake.log[0], snakemake.params):
    run = f"{places.model}/seed{places.seed}"
    said = track(snakemake.input[0], places.tracker, folder, experiment=snakemake.params.campaign, run=run)
    write_json(done, said)
