"""How much work there is in each job of a campaign: from its settings, its search and its masks.

The kinds of work are those of :data:`canopyflow.campaigns.rates.RATES`.
"""

import csv
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from functools import cache, cached_property
from pathlib import Path
from typing import NamedTuple

from canopyflow.archive.grid import Grid
from canopyflow.campaigns import rates
from canopyflow.config import Campaign
from canopyflow.config.training import Goal
from canopyflow.registry import OBJECTIVES

TILE_METRES = 109_800
"""Side of a Sentinel-2 tile."""

REFERENCE_TASK = 64
"""Pixels of the reference that are sampled together: further threads stand idle."""

SCORE_TASKS = 2
"""Threads that are of use to the scores of a seed (docs/cluster.md)."""


class Month(NamedTuple):
    """A tile-month: pixels of its grid, and scenes."""

    pixels: int
    scenes: int

    @property
    def seen(self) -> int:
        """Pixels of all scenes."""
        return self.pixels * self.scenes


class Work:
    """The work of one campaign.

    Args:
        campaign: the campaign.
        index: the index of its search; by default the one that is pinned.
    """

    def __init__(self, campaign: Campaign, index: Path | None = None) -> None:
        self.campaign = campaign
        self.index = index or campaign.results / "search/index.json"
        self._clear: dict[Path, float] = {}

    def of(
        self, rule: str, wildcards: Mapping[str, str], clear: float | None = None, drawn: float = rates.DRAWN
    ) -> dict[str, float] | None:
        """Amount of each kind of work in a job; None if it cannot be told yet.

        Args:
            rule: its name, one of :data:`canopyflow.campaigns.rates.RATES`.
            wildcards: those of the job.
            clear: share of clear pixels; by default what the masks say, or what is usual.
            drawn: share of them that is drawn at least although summaries are learned.
        """
        c = self.campaign
        if rule == "simulate":
            return {"spectra": getattr(c.simulations, wildcards["split"])}
        if rule == "simulate_seasons":
            return {"spectra": getattr(c.seasons, wildcards["split"]) * c.seasons.dates}
        if rule == "train":
            return self._training(wildcards["model"])
        if rule == "sample_reference":
            rounds = c.reference.draws * c.reference.rounds / 3000
            return {"pixels": getattr(c.reference, wildcards["source"]) * rounds}
        if rule == "score_seed":
            draws = c.scored(wildcards["model"]) * c.evaluation.samples * self._costs(wildcards["model"])[0]
            if wildcards["model"] in c.of_seasons:
                return {"draws": draws, "pixels": 0}
            referred = c.reference.simulated + (c.reference.observed if c.has_scenes else 0)
            return {"draws": draws, "pixels": referred}
        if not rates.RATES[rule].work or not c.has_scenes:
            return {}
        return self._of_scenes(rule, wildcards, clear, drawn) if self.index.exists() else None

    def _of_scenes(
        self, rule: str, wildcards: Mapping[str, str], clear: float | None, drawn: float
    ) -> dict[str, float] | None:
        months = self._months
        if "tile" not in wildcards:
            amounts = {
                "tile-months": len(months),
                "remote scenes": sum(month.scenes for month in months.values()) * self._is_remote,
                "pixels": sum(month.seen for month in months.values()),
            }
            return {unit: amounts[unit] for unit in rates.RATES[rule].work}
        place = wildcards["tile"], wildcards["window"]
        found = self._behind(*place)
        if not found:
            return None
        seen = sum(months[each].seen for each in found)
        if rule == "fetch_scenes":
            return {"pixels": seen, "remote MB": seen * rates.NETWORK_MB * self._is_remote}
        if rule == "mask_clouds":
            return {"pixels": seen}
        if "-" not in place[1]:
            return self._of_season(rule, found, wildcards, drawn)
        computed = seen * (self.clear(*place) if clear is None else clear)
        if rule == "publish":
            return {"pixels": seen, "values": computed * len(self.campaign.publication.variables)}
        if rule == "extract":
            cost = self._costs(wildcards["model"])[0]
            return {"pixels": seen, "draws": self._parcels(months[place].pixels, seen) * cost}
        return {"pixels": seen, **self._summaries(computed, wildcards["model"], drawn)}

    def _behind(self, tile: str, window: str) -> list[tuple[str, str]]:
        """Tile-months behind a map: one, or those of a season."""
        if "-" in window:
            return [(tile, window)] if (tile, window) in self._months else []
        first, last = self.campaign.seasons.window(int(window))
        return [place for place in self._months if place[0] == tile and first <= place[1] <= last]

    def _of_season(
        self, rule: str, found: Sequence[tuple[str, str]], wildcards: Mapping[str, str], least: float
    ) -> dict[str, float]:
        """The work on the map of a season: hardly any pixel is never seen, and every one has all dates. The
        share ``least`` of them is drawn in any case."""
        c, model = self.campaign, wildcards["model"]
        seen = sum(self._months[place].seen for place in found)
        pixels = self._months[found[0]].pixels
        start, end = c.season_windows[wildcards["window"]]
        dates = (end - start).days // c.seasons.every_days + 1
        if rule == "publish":
            return {"pixels": seen, "values": pixels * dates * len(c.publication.variables)}
        asked = pixels * (dates + sum(self._months[place].scenes * self.clear(*place) for place in found))
        draws, share = asked * c.inference.samples * self._costs(model)[0], self._drawn(model)
        if share == 1:
            return {"pixels": seen, "season draws": draws}
        return {"pixels": seen, "learned dates": asked, "season draws": draws * max(least, share)}

    def _parcels(self, pixels: int, seen: int) -> float:
        """Draws for the parcels of a tile-month: of a small grid it may be full of them."""
        c = self.campaign
        if c.parcels.path is None:
            return 0.0
        proposals = c.inference.proposals if c.inference.refine != "none" else 0
        share = min(1.0, max(rates.PARCEL_SHARE, rates.PARCEL_PIXELS / max(1, pixels)))
        return seen * share * max(c.parcels.samples, proposals)

    def _summaries(self, pixels: float, model: str, least: float) -> dict[str, float]:
        """What a map of as many clear pixels takes, of which the share ``least`` is drawn in any case."""
        how = self.campaign.inference
        draws = pixels * how.samples * self._costs(model)[0]
        if how.refine != "none" and not self.campaign.model_blocks[model].is_baseline:
            return {"proposals": pixels * how.proposals}
        share = self._drawn(model)
        return {"draws": draws} if share == 1 else {"learned": pixels, "draws": draws * max(least, share)}

    @property
    def _is_remote(self) -> bool:
        """Whether scenes come over a network."""
        return self.campaign.archive is not None and self.campaign.archive.is_remote

    def _drawn(self, model: str) -> float:
        """Share of clear pixels that is drawn, by the settings and by the bundle behind the maps: all if its
        network did not pass the check, none as long as there is no bundle."""
        c = self.campaign
        block = c.model_blocks[model]
        learned = (c.seasons if block.of_seasons else c.training).summaries
        if c.inference.summaries != "learned" or learned is None or block.is_baseline:
            return 1.0
        bundle = c.results / f"models/{model}/seed{c.training.seeds[0]}/model.json"
        return _drawn_share(bundle, bundle.stat().st_mtime_ns) if bundle.exists() else 0.0

    def _training(self, model: str) -> dict[str, float]:
        """Pixels and spectra of all steps, if no phase ends before its time; of a baseline, passes over the
        simulations."""
        c, out = self.campaign, {"pixels": 0.0, "spectra": 0.0}
        block = c.model_blocks[model]
        if block.is_baseline:
            return (
                {} if block.needs_labels else {"pixels": float(rates.BASELINE_PASSES * c.simulations.train)}
            )
        if block.of_seasons:
            return self._training_of_seasons(self._costs(model)[0])
        gradients = rates.GRADIENTS if rates.follows_target(self.models[model]) else 1
        for phase in c.training.phases:
            a_pass = c.training.batch_size * phase.steps if phase.steps else self._pass(phase.sources)
            goals = phase.cycle or (Goal(objective=str(phase.objective), options=phase.options),)
            pixels = phase.epochs * a_pass / len(goals)
            for goal in goals:
                out["pixels"] += pixels * self._costs(model)[1]
                if "truth" not in OBJECTIVES.setting(goal.objective, "needs", frozenset()):
                    options = OBJECTIVES.options(goal.objective) | goal.options
                    out["spectra"] += pixels * options.get("draws", c.training.samples) * gradients
        learned = c.training.summaries
        if learned is not None:
            sources = c.training.sources_of_summaries
            pixels = learned.epochs * (
                c.training.batch_size * learned.steps if learned.steps else self._pass(sources)
            )
            out |= {"summarised": pixels, "own draws": pixels * learned.draws * self._costs(model)[0]}
        return out

    def _training_of_seasons(self, a_draw: float) -> dict[str, float]:
        """Seasons of all steps, if no phase ends before its time, and what the summaries take: ``a_draw`` is
        the cost of a draw."""
        how = self.campaign.seasons
        sizes = {"seasons_drawn": how.train, "seasons": how.max_observed}

        def seasons(sources: Iterable[str], epochs: int, steps: int | None) -> float:
            return float(
                epochs * (how.batch_size * steps if steps else sum(sizes[source] for source in sources))
            )

        out = {"seasons": sum(seasons(phase.sources, phase.epochs, phase.steps) for phase in how.phases)}
        learned = how.summaries
        if learned is not None:
            dates = how.dates * seasons(how.sources_of_summaries, learned.epochs, learned.steps)
            out |= {"summarised dates": dates, "own season draws": dates * learned.draws * a_draw}
        return out

    def _pass(self, sources: Iterable[str]) -> int:
        """Pixels of one pass over the data."""
        sizes = {
            "simulations": self.campaign.simulations.train,
            "patches": self.campaign.patches.max_patches * self.campaign.patches.size**2,
        }
        return sum(sizes[source] for source in sources)

    def seconds(
        self,
        rule: str,
        wildcards: Mapping[str, str],
        threads: int = 1,
        clear: float | None = None,
        drawn: float = rates.DRAWN,
    ) -> float | None:
        """Seconds of a job by the shipped rates; None if its rule or its work is not known."""
        work = self.of(rule, wildcards, clear, drawn) if rule in rates.RATES else None
        if work is None:
            return None
        if rule == "sample_reference":
            pixels = getattr(self.campaign.reference, wildcards["source"])
            threads = min(threads, math.ceil(pixels / REFERENCE_TASK))
        elif rule == "score_seed":
            threads = min(threads, SCORE_TASKS)
        return rates.seconds(rule, work, threads)

    def megabytes(self, rule: str, wildcards: Mapping[str, str], threads: int = 1) -> float:
        """Memory of a job by the shipped rates; without a search, that of a whole tile."""
        rate = rates.RATES[rule]
        out = rate.mb + rate.mb_thread * threads
        if rate.mb_megapixel:
            months = self._months if self.index.exists() else {}
            place = wildcards.get("tile", ""), wildcards.get("window", "")
            largest = self._largest if "tile" not in wildcards else self._whole
            out += rate.mb_megapixel * (months[place].pixels if place in months else largest) / 1e6
        if rule == "train" and rates.follows_target(self.models[wildcards["model"]]):
            out += rates.MB_OF_TARGET
        return out

    def clear(self, tile: str, window: str) -> float:
        """Share of the pixels of a tile-month that are clear."""
        path = self.campaign.results / f"masks/{tile}/{window}.csv"
        if path not in self._clear and path.exists():
            self._clear[path] = _mean_share(path)
        return self._clear.get(path, rates.CLEAR)

    def _costs(self, model: str) -> tuple[float, float]:
        return rates.FAMILY_COSTS.get(self.models[model], (1, 1))

    @cached_property
    def models(self) -> dict[str, str]:
        """The family of each model, or the baseline that it is."""
        return {name: block.kind for name, block in self.campaign.model_blocks.items()}

    @property
    def _months(self) -> dict[tuple[str, str], Month]:
        """Tile-months of the index as it is now."""
        return _read(self.index, self.index.stat().st_mtime_ns, self._whole)

    @cached_property
    def _whole(self) -> int:
        """Pixels of a whole tile."""
        return round(TILE_METRES / self.campaign.grid.resolution) ** 2

    @property
    def _largest(self) -> int:
        months = self._months if self.index.exists() else {}
        return max((month.pixels for month in months.values()), default=self._whole)


@cache
def _read(index: Path, changed: int, whole: int) -> dict[tuple[str, str], Month]:
    """Tile-months of an index; the grid of a tile that it does not give is that of a ``whole`` one."""
    content = json.loads(index.read_text())
    grids = content.get("lock", {}).get("tiles", {})
    pixels = {tile: math.prod(Grid.from_dict(grid).shape) for tile, grid in grids.items()}
    return {
        (tile, window): Month(pixels.get(tile, whole), entry["scenes"])
        for tile, windows in content["tiles"].items()
        for window, entry in windows.items()
    }


@cache
def _drawn_share(bundle: Path, changed: int) -> float:
    """Share of held-back simulated pixels that would be drawn from a model, by its ``model.json``."""
    said = json.loads(bundle.read_text()).get("summaries", {})
    return float(said.get("drawn_share", 0.0)) if said.get("passed") else 1.0


def _mean_share(statistics: Path) -> float:
    """Mean share of valid pixels in the scenes of a tile-month, as its masks were written."""
    with statistics.open(newline="") as file:
        shares = [float(row["valid_share"]) for row in csv.DictReader(file) if row["valid_share"]]
    return sum(shares) / len(shares) if shares else 0.0
