# The campaign, and the few functions that rules share.
#
# A campaign is read and checked once, before any job starts. Each rule hands its script plain values
# as params: Snakemake compares params, so a changed setting reruns exactly the rules that use it.
# Every rule also carries `code`, the fingerprint of its script and of the library modules behind it.
#
# Stores and model bundles are tracked by their one small metadata file (zarr.json, model.json), which
# holds a digest of the content: Snakemake compares small files by checksum, so neither a copy of the
# folder nor a touched file reruns anything, and a store that comes out the same stops a rerun there.

import os
import sys
import time
from functools import cache
from pathlib import Path

from canopyflow import shipped
from canopyflow.archive.addresses import without_secrets
from canopyflow.archive.pinned import read_index, static_digest, text_digest
from canopyflow.archive.presets import PRESETS
from canopyflow.campaigns import runs, stages
from canopyflow.campaigns import snakemake_internals as internals
from canopyflow.campaigns.asked import asked
from canopyflow.campaigns.cluster import all_done, settle
from canopyflow.campaigns.estimates import Limits
from canopyflow.config import documents_of, load_campaign
from canopyflow.config.archive import DEMO_CATALOG
from canopyflow.errors import CanopyflowError
from canopyflow.campaigns.failures import BY_SLURM, failures
from canopyflow.campaigns.fingerprint import fingerprint
from canopyflow.cubes.quarantine import scenes_of, set_aside
from canopyflow.jobs import configure_logging
from canopyflow.campaigns.lock import hold
from canopyflow.campaigns.shipping import made_by, ships
from canopyflow.campaigns.work import Work
from snakemake.exceptions import WorkflowError

try:
    # Snakemake keeps one of two keys of a name, and reads 010 as 8: the files are read once more, strictly.
    campaign = load_campaign(config, documents_of(internals.config_files(workflow)))
except CanopyflowError as error:
    raise WorkflowError(str(error))

RESULTS = campaign.results
LOGS = RESULTS / "logs"
BENCHMARKS = RESULTS / "benchmarks"
# Used with `--sdm conda`; without it, rules run in the environment Snakemake runs in.
ENVIRONMENT = "../../envs/canopyflow.yaml"
SPLITS = ["train", "validation", "test"]
# Of scenes and masks; other files are of a month, or of the season of a year.
MONTH = r"\d{4}-\d{2}"
MASKS = RESULTS / "masks/{tile}/{window}.zarr/zarr.json"
PRODUCTS = RESULTS / "products/{model}/{tile}/{window}.zarr/zarr.json"
PUBLISHED = RESULTS / "published/{model}/{tile}/{window}/provenance.json"
# The STAC catalogue above all that is published; none without scenes.
CATALOGUE = [RESULTS / "published/catalog.json"] if campaign.has_scenes else []
# Maps are those of the first seed.
BUNDLE = RESULTS / f"models/{{model}}/seed{campaign.training.seeds[0]}/model.json"
HAS_PLOTS = campaign.evaluation.plots is not None
MATCHUPS = [RESULTS / "matchups/{model}.parquet"] if HAS_PLOTS else []
# Whether plots are held against the mean over their footprint.
FOOTPRINTS = campaign.evaluation.footprint is not None
# Held-back, or to be learned from: seasons drawn for a model, and those cut from the scenes.
SEASONS_DRAWN = RESULTS / "seasons/drawn/{model}/{split}.zarr/zarr.json"
SEASONS_SEEN = RESULTS / "seasons/observed/{split}.zarr/zarr.json"
HAS_PARCELS = campaign.parcels.path is not None
# Parcels that have been checked, and the rows of a tile-month.
PARCELS = RESULTS / "parcels/parcels.parquet"
EXTRACTED = RESULTS / "parcels/{model}/{tile}/{window}.parquet"
SPECTRA = RESULTS / "matchups/spectra.parquet"
# Models that plots are compared with by the spectra of their pixels; all others by their maps.
FROM_SPECTRA = campaign.from_spectra
FROM_MAPS = [name for name in campaign.mapped if name not in FROM_SPECTRA]
OBSERVED = campaign.has_scenes and campaign.reference.observed > 0
REFERENCES = expand(
    RESULTS / "reference/{source}.zarr/zarr.json",
    source=["simulated", "observed"] if OBSERVED else ["simulated"],
)
BANDS = list(campaign.grid.bands)
# Models that are taken from the package, each with its name there; and those that this campaign puts into it.
TAKEN = campaign.taken
SHIPS = ships(campaign)
QUARANTINE = RESULTS / "quarantine"
SCENES = RESULTS / "comparison/scenes.txt"
CLOUDS_AND_SCENES = [
    RESULTS / "comparison/clouds.png",
    RESULTS / "comparison/scenes.csv",
]
# The report sorts its categories by name: numbers put them in the order in which they are read.
CATEGORIES = {
    name.lower(): f"{number} {name}"
    for number, name in enumerate(
        (
            "Verdict",
            "Comparison",
            "Maps",
            "Field plots",
            "Calibration",
            "Posteriors",
            "Training",
            "Scenes",
        ),
        start=1,
    )
}
# The demo is an archive like any other once it is written; only its catalogue has to be served.
DEMO = DEMO_CATALOG.parent
# As in profiles/slurm.
SLURM_LOGS = Path("slurm-logs")
STARTED = time.time()
# The checkout, wherever the workflow that uses these rules lies.
TOP = internals.checkout_of(workflow)
internals.forget_cores_of_this_machine(workflow)
# Set by `canopyflow campaign plan` alone.
SUPPOSED_INDEX = os.environ.get("CANOPYFLOW_SUPPOSED_INDEX")
RUN = []


def begin_run():
    """Take the campaign's lock, settle what an earlier run left on SLURM, and record that a run begins."""
    holder = hold(RESULTS)
    configure_logging()
    if settle(workflow, RESULTS):
        # What was planned is out of date: the same command again, by the same process.
        os.execv(sys.executable, [sys.executable, "-m", "snakemake", *sys.argv[1:]])
    internals.force_unfinished(workflow)
    snakefile = Path(workflow.source_path("../Snakefile"))
    RUN.append(runs.begin(campaign, TOP, snakefile, holder, runs.command_line()))


def end_run():
    """Record that the run ended well."""
    all_done(RESULTS)
    runs.end(RUN[0], campaign, runs.DONE)


def end_failed_run():
    """Record that jobs failed, and repeat their errors last on the screen: other jobs ran on after them."""
    problems = failures(LOGS, STARTED) + failures(SLURM_LOGS, STARTED, BY_SLURM)
    for line in problems:
        print(line, file=sys.stderr)
    runs.end(RUN[0], campaign, runs.FAILED, problems)


# Snakemake calls the handlers of the workflow that is run, not those of a module: a workflow that uses these rules
# calls the functions from its own (docs/campaigns.md).
onstart:
    begin_run()


onsuccess:
    end_run()


onerror:
    end_failed_run()


def one_of(names):
    """What a wildcard may be: one of these names. Of no names it can be nothing."""
    return "|".join(names) or "(?!)"


def models():
    """Names of the models that the campaign compares."""
    return list(campaign.model_blocks)


def with_states():
    """Names of those whose draws are states of the physics, which the reference posterior is about."""
    return [name for name, block in campaign.model_blocks.items() if block.has_state]


@cache
def code(script, of=None):
    """Fingerprint of a script of scripts/ and of what the campaign names for a model or a source of pixels."""
    path = workflow.source_path(f"../../scripts/{script}")
    return fingerprint(path, *stages.modules(campaign, script, of))


wildcard_constraints:
    tile=r"[0-9]{2}[A-Z]{3}(-\w+)?",
    # A month, or the year of a season.
    window=r"\d{4}(-\d{2})?",
    model="|".join(models()),
    seed=r"\d+",
    split="|".join(SPLITS),
    source="simulated|observed",
    goal=r"\w+",


def search_index(wildcards=None):
    """The index of tile-months; the checkpoint is resolved first, unless a plan supposes what it would find."""
    return SUPPOSED_INDEX or checkpoints.search.get().output[0]


@cache
def read_once(path, changed):
    return read_index(path)


def pinned_months():
    """Scenes and digest of each tile and month; read once, not once per job."""
    path = Path(search_index())
    return read_once(path, path.stat().st_mtime_ns)


@cache
def aside_at_start(path, changed):
    """Scenes that earlier runs had set aside when this one began to plan: what is set aside meanwhile waits."""
    return set_aside(QUARANTINE, read_once(path, changed).keys())


def to_try():
    """Tile-months with scenes that are tried again: none, unless more are set aside than accepted.

    None either for a plan that supposes another search, and where nothing is to be run, as for a report.
    """
    if SUPPOSED_INDEX or not internals.executes(workflow):
        return {}
    path = Path(search_index())
    found = aside_at_start(path, path.stat().st_mtime_ns)
    return found if len(scenes_of(found)) > campaign.archive.max_unreadable else {}


def stores_to_try(wildcards):
    return [
        RESULTS / f"scenes/{tile}/{window}.zarr/zarr.json" for tile, window in to_try()
    ]


def tile_months():
    """Tile-months of the campaign, for whatever follows the scenes: those set aside are tried again first."""
    if to_try():
        checkpoints.try_again.get()
    return pinned_months()


def for_all_tile_months(pattern):
    """Input function: `pattern` for every tile and month of the campaign that has a scene."""

    def expand_pattern(wildcards):
        if not campaign.has_scenes:
            return []
        return [
            str(pattern).format(tile=tile, window=window, **wildcards)
            for tile, window in tile_months()
        ]

    return expand_pattern


def comparison_files():
    """The page, tables and figures; those of maps and clouds where there are scenes."""
    figures = {"coverage": models(), "corner": with_states()}
    if campaign.has_scenes:
        figures |= {"maps": list(campaign.mapped), "trajectories": campaign.of_seasons}
    return [
        RESULTS / "index.html",
        RESULTS / "comparison/table.csv",
        *(
            RESULTS / f"evaluation/{model}/{figure}.png"
            for figure, of in figures.items()
            for model in of
        ),
        *(CLOUDS_AND_SCENES if campaign.has_scenes else []),
    ]


def tracked_trainings():
    """What says that curves of training went to the tracker, where the campaign names one."""
    return [
        RESULTS / f"tracking/{campaign.tracking}/{model}/seed{seed}/tracked.json"
        for model in (models() if campaign.tracking else ())
        for seed in campaign.seeds_of(model)
    ]


def parcel_tables():
    """The parcel table of each model that maps months, where the campaign names parcels."""
    return [
        RESULTS / f"parcels/{model}.parquet"
        for model in (campaign.mapped if HAS_PARCELS else ())
        if model not in campaign.of_seasons
    ]


def parcel_options(model):
    """How parcels are drawn from a model: a baseline is not refined."""
    how = campaign.inference
    baseline = campaign.model_blocks[model].is_baseline
    return dict(
        samples=campaign.parcels.samples,
        pixels=campaign.parcels.pixels,
        outputs=list(how.outputs),
        refine="none" if baseline else how.refine,
        proposals=how.proposals,
        least_ess=how.least_ess,
        device=how.device,
    )


def goal_files(goal):
    """What the named goal is about: files, and input functions."""
    return {
        "all": [
            *comparison_files(),
            *CATALOGUE,
            *of_all_models(PUBLISHED),
            *parcel_tables(),
        ],
        "comparison": comparison_files(),
        "reference": REFERENCES,
        "scenes": [for_all_tile_months(MASKS)],
        "maps": of_all_models(PRODUCTS),
        "published": [*CATALOGUE, *of_all_models(PUBLISHED)],
        "parcels": parcel_tables(),
    }[goal]


# What a goal is about is ancient to the check: it waits for that, but is not repeated for it.
def known_files(wildcards):
    """Input function: those files of a goal that are known before the search."""
    files = [entry for entry in goal_files(wildcards.goal) if not callable(entry)]
    return ancient([str(file) for file in files])


def found_files(wildcards):
    """Input function: those files of a goal that there are of each tile-month."""
    functions = [entry for entry in goal_files(wildcards.goal) if callable(entry)]
    return ancient([file for function in functions for file in function(wildcards)])


def wanted(goal):
    """What a goal asks for: what it is about and, where scenes are read, the check that comes after all of it."""
    reads_scenes = OBSERVED if goal == "reference" else campaign.has_scenes
    check = [RESULTS / f"checked/{goal}.txt"] if reads_scenes else []
    tracked = tracked_trainings() if goal == "all" else []
    return [*goal_files(goal), *tracked, *check]


def reference_source(wildcards):
    if wildcards.source == "observed":
        return RESULTS / "patches/test.zarr/zarr.json"
    return RESULTS / "simulations/test.zarr/zarr.json"


def static_content(wildcards):
    """Digest of a static catalogue; the demo's catalogue is an input file, a remote one is pinned."""
    if REMOTE:
        # Another archive behind the same ${NAME} is another archive; its address is not told.
        return text_digest(without_secrets(campaign.archive.address))
    return "" if campaign.uses_demo else static_digest(CATALOG)


def pinned_items(wildcards):
    """The pinned items of a tile-month. The checkpoint writes this file beside the index that it declares."""
    name = Path(wildcards.tile) / f"{wildcards.window}.json"
    path = RESULTS / "search" / name
    if SUPPOSED_INDEX:
        return ancient(path if path.exists() else Path(SUPPOSED_INDEX).parent / name)
    if (wildcards.tile, wildcards.window) in to_try():
        store = RESULTS / f"scenes/{wildcards.tile}/{wildcards.window}.zarr/zarr.json"
        internals.force(workflow, store)
    checkpoints.search.get()
    return ancient(path)


def items_digest(wildcards):
    return pinned_months()[wildcards.tile, wildcards.window]["digest"]


def training_simulations(wildcards):
    block = campaign.model_blocks[wildcards.model]
    if block.needs_labels or block.of_seasons:
        return []
    return expand(
        RESULTS / "simulations/{split}.zarr/zarr.json", split=["train", "validation"]
    )


def training_labels(wildcards):
    return SPECTRA if campaign.model_blocks[wildcards.model].needs_labels else []


def training_settings(wildcards):
    """How a model is trained: of a baseline, threads alone."""
    plan = campaign.training.plan
    if campaign.model_blocks[wildcards.model].is_baseline:
        return {"threads": plan["threads"]}
    return campaign.season_plan if wildcards.model in campaign.of_seasons else plan


def training_encoder(wildcards):
    """The encoder of a model; a baseline has none."""
    if campaign.model_blocks[wildcards.model].is_baseline:
        return {}
    if wildcards.model in campaign.of_seasons:
        return campaign.seasons.encoder_options
    return campaign.encoder.model_dump()


def of_all_seeds(pattern):
    """Input function: `pattern` for each seed of a model."""

    def expand_pattern(wildcards):
        seeds = campaign.seeds_of(wildcards.model)
        return expand(pattern, model=wildcards.model, seed=seeds)

    return expand_pattern


def training_patches(wildcards):
    block = campaign.model_blocks[wildcards.model]
    if "patches" not in campaign.training.sources:
        return []
    if block.is_baseline or block.of_seasons:
        return []
    return expand(
        RESULTS / "patches/{split}.zarr/zarr.json", split=["train", "validation"]
    )


# What a job may take follows its work. Resources are no params: other rates, or benchmarks of jobs that have finished
# meanwhile, rerun nothing. `set-resources` of a profile wins over both.
LIMITS = Limits(Work(campaign, Path(SUPPOSED_INDEX) if SUPPOSED_INDEX else None))


def minutes_of(rule):
    """Resource function: the time that an attempt of a job of `rule` may take."""

    def minutes(wildcards, threads, attempt):
        workers = threads * internals.nodes(workflow, rule)
        return LIMITS.minutes(rule, dict(wildcards.items()), workers, attempt)

    return minutes


def megabytes_of(rule):
    """Resource function: the memory that an attempt of a job of `rule` may hold, on each of its nodes."""

    def megabytes(wildcards, threads, attempt):
        return LIMITS.megabytes(rule, dict(wildcards.items()), threads, attempt)

    return megabytes


def model_figure(caption, category, title):
    """Report flags shared by the figures of one model."""
    return dict(
        caption=f"../report/{caption}.rst",
        category=CATEGORIES[category.lower()],
        labels={"model": "{model}", "figure": title},
    )
