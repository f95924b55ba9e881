"""What a job of each rule takes: seconds per unit of work, and memory; where each figure was measured.

A job takes ``start`` seconds and, for each kind of work in it, the amount times the seconds per unit.
:mod:`canopyflow.campaigns.work` says how much there is to do in a job; what a campaign's own jobs took comes
before these figures (:mod:`canopyflow.campaigns.estimates`). Seconds are those of one processor core with
nothing else to do; where the machine was not free they are too many, which is the safe side.

To correct a figure, measure it and edit its row. ``tests/unit/campaigns/test_estimates.py`` holds the rows to
the whole tiles of docs/scale.md.
"""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Rate:
    """One rule.

    Attributes:
        benchmark: where Snakemake writes what a job took, below ``results/{campaign}/benchmarks``.
        measured: where the figures come from.
        start: seconds that the smallest job takes: Python, libraries, opening of stores.
        work: seconds per unit and core, by the unit.
        parallel: whether the work is shared by the threads of a job.
        mb: memory of the smallest job.
        mb_thread: more for each thread.
        mb_megapixel: more for each million pixels of the tile's grid.
        least: minutes that the first attempt is given at least.
    """

    benchmark: str
    measured: str
    start: float = 2.0
    work: dict[str, float] = field(default_factory=dict)
    parallel: bool = False
    mb: float = 1500
    mb_thread: float = 0
    mb_megapixel: float = 0
    least: int = 15


TILES = "docs/scale.md, Whole tiles"
DEMO = "the demo campaign on two cores, 2026-11"
OF_TILE = "{tile}/{window}.tsv"
OF_SEED = "{model}/seed{seed}.tsv"

RATES: dict[str, Rate] = {
    # The archive.
    "demo_archive": Rate("demo_archive.tsv", DEMO, start=60),
    # Of each scene the catalogue's answer, and the sizes of eleven files where it does not state them.
    "search": Rate("search.tsv", "reckoned: 20 requests a second", start=5, work={"remote scenes": 0.5}),
    # Pixels of the grid and scene, ten bands; MB that come over the network (`NETWORK_MB`). An archive
    # may let a job wait: hence an hour.
    "fetch_scenes": Rate(
        f"scenes/{OF_TILE}",
        f"{TILES}; the network is assumed",
        start=4,
        work={"pixels": 1.15e-6, "remote MB": 0.1},
        mb=2000,
        mb_megapixel=10,
        least=60,
    ),
    "mask_clouds": Rate(f"masks/{OF_TILE}", TILES, work={"pixels": 2.9e-7}, mb=1300, mb_megapixel=12),
    "cut_patches": Rate(
        "patches/{split}.tsv", TILES, work={"pixels": 7e-8, "tile-months": 0.3}, mb=1500, mb_megapixel=5
    ),
    # As patches; of the seasons that are chosen every block is read, of every pass.
    "cut_seasons": Rate(
        "seasons/observed/{split}.tsv",
        "reckoned: cut_patches, and pixels read as by infer",
        work={"pixels": 5e-7, "tile-months": 0.3},
        mb=2000,
        mb_megapixel=5,
    ),
    "try_again": Rate("try_again.tsv", DEMO, start=5),
    "list_scenes": Rate("scenes.tsv", DEMO, work={"tile-months": 0.002}),
    "check_archive": Rate("checked/{goal}.tsv", DEMO),
    "draw_clouds": Rate("clouds.tsv", DEMO, work={"tile-months": 0.002}),
    # Training.
    "simulate": Rate("simulations/{split}.tsv", DEMO, start=3, work={"spectra": 1e-5}, mb=2000),
    "simulate_seasons": Rate(
        "seasons/drawn/{model}/{split}.tsv", "as simulate", start=5, work={"spectra": 2e-5}, mb=3000
    ),
    # Pixels that a step looks at, times passes; spectra with their gradients, for objectives that run the
    # physics; pixels whose summaries are learned, times passes, and the draws that they are learned from;
    # seasons times passes, and of their summaries dates and draws of dates.
    "train": Rate(
        f"models/{OF_SEED}",
        f"{DEMO} (nsf; FAMILY_COSTS says how much others take)",
        start=5,
        work={"pixels": 4e-5, "spectra": 3e-5, "summarised": 6.5e-5, "own draws": 3.6e-6, "seasons": 2e-3}
        | {"summarised dates": 1.2e-4, "own season draws": 1.3e-5},
        mb=8000,
    ),
    "track": Rate("tracking/{tracker}/{model}/seed{seed}.tsv", DEMO),
    # Maps. Pixels: clear or not, read and written. The others are clear pixels: summarised by the learned
    # network, or draws of them, or proposals that are weighted; of seasons all dates that are asked about.
    "infer": Rate(
        f"products/{{model}}/{OF_TILE}",
        "docs/scale.md, Maps (0.25 us per pixel, 400,000 learned pixels and 310,000 draws of nsf a second); "
        "docs/evaluation.md (proposals)",
        start=4,
        work={"pixels": 4e-7, "learned": 2.5e-6, "draws": 3.2e-6, "proposals": 3e-5}
        | {"learned dates": 8e-6, "season draws": 2e-5},
        parallel=True,
        mb=2000,
        mb_thread=2000,
    ),
    "publish": Rate(
        f"published/{{model}}/{OF_TILE}",
        f"{TILES}; clear values: 58 s for a whole tile of two variables with five statistics",
        work={"pixels": 2.1e-7, "values": 3e-7},
        mb=2000,
        mb_megapixel=5,
    ),
    # Reads every item of the campaign: some 25 KB each, six a tile-month.
    "catalog": Rate("catalog.tsv", DEMO, start=3, work={"tile-months": 0.02}),
    # Parcels: pixels that are read, and draws of the clear ones among `PARCEL_SHARE` of them.
    "check_parcels": Rate("parcels/parcels.tsv", DEMO),
    "correlate": Rate("parcels/{model}/correlation.tsv", f"{DEMO} (nsf)", start=20, mb=2000),
    "extract": Rate(
        f"parcels/{{model}}/{OF_TILE}",
        "benchmarks/parcel_intervals.py (nsf); reading: as infer",
        start=4,
        work={"pixels": 8e-7, "draws": 5e-6},
        mb=3000,
        mb_megapixel=10,
        least=60,
    ),
    "gather_parcels": Rate("parcels/{model}.tsv", DEMO, work={"tile-months": 0.2}, mb=2000),
    # What models are held against.
    "sample_reference": Rate(
        "reference/{source}.tsv",
        "docs/evaluation.md: 64 pixels of 1000 draws took 62 s; half more for those that mix badly",
        start=5,
        work={"pixels": 1.5},
        parallel=True,
        mb=2000,
        mb_thread=2000,
    ),
    "score_seed": Rate(
        f"evaluation/{OF_SEED}",
        f"{DEMO} (nsf)",
        start=5,
        work={"draws": 1e-5, "pixels": 0.4},
        parallel=True,
        mb=2000,
        mb_thread=2000,
    ),
    "check_plots": Rate("matchups/plots.tsv", DEMO),
    # These open every tile-month, or all of a few tiles. An hour, for whole tiles were not measured.
    "evaluate": Rate("evaluation/{model}.tsv", DEMO, work={"tile-months": 0.2}, mb=4000, least=60),
    "match_plots": Rate("matchups/{model}.tsv", DEMO, work={"tile-months": 0.2}, mb=4000, least=60),
    "match_areas": Rate(
        "matchups/areas/{model}.tsv", "as match_plots", start=10, work={"tile-months": 2}, mb=4000, least=60
    ),
    "match_spectra": Rate(
        "matchups/spectra.tsv", "as match_plots", work={"tile-months": 0.2}, mb=4000, least=60
    ),
    # As many spectra as there are measurements.
    "match_model": Rate("matchups/direct/{model}.tsv", DEMO, start=5),
    "draw_maps": Rate("maps/{model}.tsv", DEMO, start=3, work={"tile-months": 0.2}, mb=4000, least=60),
    "draw_trajectories": Rate(
        "trajectories/{model}.tsv", "as draw_maps", start=3, work={"tile-months": 0.2}, mb=4000, least=60
    ),
    "draw_model": Rate("figures/{model}.tsv", DEMO),
    "draw_corner": Rate("corner/{model}.tsv", DEMO, start=5),
    # All flags, and up to forty dates of six tiles.
    "report_page": Rate(
        "page.tsv", f"{DEMO}; whole tiles: assumed", start=10, work={"tile-months": 2.0}, mb=4000, least=60
    ),
    "compare": Rate("comparison.tsv", DEMO, start=3),
    # Copies of a few MB.
    "take_shipped": Rate(f"taken/{OF_SEED}", DEMO),
    "put_into_package": Rate("shipped/{model}.tsv", DEMO),
}

FAMILY_COSTS: dict[str, tuple[float, float]] = {
    "truncated_normal": (0.2, 0.3),
    "logit_normal": (0.2, 0.3),
    "kumaraswamy": (0.3, 0.3),
    "gev": (0.3, 0.4),
    "gaussian_copula": (0.2, 0.5),
    "multivariate_logit_normal": (0.2, 0.4),
    "truncated_mvn": (0.3, 0.7),
    "low_rank": (0.2, 0.4),
    "mixture": (0.5, 0.9),
    "planar": (0.2, 0.8),
    "radial": (0.2, 0.7),
    "realnvp": (0.6, 0.9),
    "maf": (2.6, 0.6),
    "iaf": (0.4, 2.3),
    "nsf": (1, 1),
    "nsf_ar": (1.8, 1.3),
    "bernstein": (1.3, 1.7),
    "auxiliary": (0.3, 0.5),
    "ladder": (0.5, 0.7),
    "hamiltonian": (30, 6),
    "riemannian": (40, 6),
}
"""Draws and training of each family, as multiples of those of `nsf`: docs/families.md, with the demo's times
of `truncated_normal` and `nsf` for what all of them share. Those that follow the target run the physics for
each draw. Families that are not here, those of other packages, count as `nsf`."""

BASELINE_PASSES = 6
"""Passes of the longest training of a baseline, `supervised`, at the rate of a family's pixels; others take
less."""

GRADIENTS = 5
"""Spectra of each draw of a family that follows the target, with the defaults of their options."""

MB_OF_TARGET = 8000
"""More memory for training a family that runs the physics for each draw (8.7 GB in all at most, in
config/campaigns/simulated_benchmark.yaml)."""

NETWORK_MB = 1e-5
"""MB per pixel and scene that an archive sends for ten bands and the classification, assumed: some 1 GB of a
whole tile at 10 m."""

CLEAR = 0.4
"""Share of pixels that are clear, where masks do not say it yet."""

PARCEL_SHARE = 0.01
"""Share of the pixels of a grid that parcels are drawn from, assumed: 5,000 parcels of 64 pixels in a tile at
20 m."""

PARCEL_PIXELS = 20_000
"""Of a small grid as many, or all."""

DRAWN = 0.02
"""Share of clear pixels that are drawn although summaries are learned, assumed: the network says which. Of
simulated pixels the bundle says it; real ground may be less like what the network has learned."""

DRAWN_AT_MOST = 0.1
"""The same where a job must not run out of time; the last attempt has enough for six times as many."""


def seconds(rule: str, work: dict[str, float], threads: int = 1) -> float:
    """Seconds of a job with this much work, on as many threads as are of use."""
    rate = RATES[rule]
    shared = threads if rate.parallel else 1
    return rate.start + sum(amount * rate.work[unit] for unit, amount in work.items()) / shared


def follows_target(family: str) -> bool:
    """Whether a family runs the physics for each of its draws."""
    return FAMILY_COSTS.get(family, (1, 1))[0] >= 10
