"""The posterior of the mean over each parcel, for every acquisition of a tile and month.

Draws of every clear pixel of a parcel are taken again from the model and the scene, jointly over variables
(so that the chlorophyll of a canopy is leaf area times chlorophyll in each draw), by a seed that belongs to
the acquisition and to the pixels: neither the other parcels nor their order matter. They are coupled over the
pixels (:mod:`canopyflow.inference.parcels.coupling`) and averaged with the share of each pixel that lies
within the parcel.

Spectra are gathered strip by strip, of few million pixels at a time: a whole tile never is in memory.
"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import torch
import xarray as xr
from numpy.typing import NDArray

from canopyflow.archive.grid import Grid, grid_of_product
from canopyflow.errors import DataError
from canopyflow.inference.blocks import SIDE, STRIP, Scenes
from canopyflow.inference.encoding import ABOUT
from canopyflow.inference.parcels.columns import COLUMNS, NAIVE, STATISTICS
from canopyflow.inference.parcels.coupling import area_mean, own_scores
from canopyflow.inference.parcels.footprints import WHOLE, Footprint, footprint_of, near_grid, projected
from canopyflow.inference.parcels.law import Correlations
from canopyflow.inference.stored import open_product, statistics_of
from canopyflow.models.estimators.contract import Estimator
from canopyflow.models.runtime import generator, one_thread
from canopyflow.observations.observation import Observation
from canopyflow.progress import track
from canopyflow.seeds import seed_of
from canopyflow.vocabulary import MASKED, QUANTILES

log = logging.getLogger("canopyflow")

_PIXELS = 2_000_000
"""Pixels of parcels that are in memory at a time: some 100 MB of spectra."""

_EVALUATIONS = 65_536
"""Spectra that are decoded at a time where an estimator decodes some per pixel."""


@dataclass(frozen=True)
class ExtractOptions:
    """``samples``: draws of each pixel and of the mean; ``most_pixels``: of a parcel with more clear pixels
    as many are drawn from, evenly spaced, and their mean is moved by as much as the map's mean over all of
    them differs from that over these; ``seed``: root of the draws."""

    samples: int = 100
    most_pixels: int = 64
    seed: int = 0


@dataclass(frozen=True)
class Month:
    """The stores of one tile and month."""

    product: Path
    scenes: Path
    masks: Path


def extract(
    estimator: Estimator,
    month: Month,
    parcels: gpd.GeoDataFrame,
    correlations: Correlations,
    options: ExtractOptions | None = None,
    times: Sequence[int] | None = None,
) -> pd.DataFrame:
    """Rows of :data:`COLUMNS` for all parcels that have a clear pixel in the stores, in order of the parcels,
    acquisitions and variables.

    Parameters
    ----------
    estimator: the model of the product; of a refined product the refined one.
    parcels: ``parcel`` and ``geometry`` (EPSG:4326), as
        :func:`canopyflow.inference.parcels.files.read_parcels` gives them.
    correlations: of the outputs of the product, see :mod:`canopyflow.inference.parcels.law`.
    times: numbers of the acquisitions that are looked at; by default all.

    ``pixels`` counts those that the mean is of: clear ones wholly within the parcel, or, of a small or narrow
    one, all clear ones (:meth:`canopyflow.inference.parcels.footprints.Footprint.used`), of whose weight
    ``edge_share`` lies in pixels that reach beyond the outline. ``clear_share`` is the share of the parcel's
    area that is clear: the mean stands for the parcel as far as the rest is like it. ``flags`` joins the
    flags of the pixels, ``flagged_share`` is the share of their weight with any.

    Raises DataError if product, scenes and masks do not belong together.
    """
    options = options or ExtractOptions()
    scenes = Scenes(month.scenes, month.masks, estimator.generative.bands)
    with open_product(month.product) as product, one_thread():
        if [str(item) for item in product["item"].values] != scenes.items:
            raise DataError(
                f"{month.product} is not of the scenes {month.scenes}", "name the folders of one campaign"
            )
        grid = grid_of_product(product.attrs, product.sizes)
        prints = _prints(parcels, grid)
        wanted = range(product.sizes["time"]) if times is None else times
        tasks = [(batch, time) for batch in _batches(prints) for time in wanted]
        work = _Work(estimator, product, scenes, correlations, options)
        rows = [row for batch, time in track(tasks, "parcels") for row in work.rows(batch, time)]
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    order = pd.Series(range(len(work.names)), index=work.names)
    table["order"] = table["variable"].map(order)
    table = table.sort_values(["parcel", "time", "item", "order"], kind="stable", ignore_index=True)
    table = table.drop(columns="order").astype(
        {"pixels": "int32", "flags": "uint8", "time": "datetime64[us]"}
    )
    log.info(
        "%s: %d rows of %d of %d parcels", month.product, len(table), table["parcel"].nunique(), len(parcels)
    )
    return table


def outputs_of(product: xr.Dataset) -> tuple[str, ...]:
    """The variables of a product in the order of the vocabulary: a store lists its arrays in any order."""
    return tuple(name for name in ABOUT if name in product.data_vars)


def _prints(parcels: gpd.GeoDataFrame, grid: Grid) -> list[tuple[str, Footprint]]:
    """Footprints of the parcels that have a part in the grid, from north to south."""
    shapes, names = parcels.geometry.to_numpy(), parcels["parcel"].to_numpy()
    found = [(str(names[i]), footprint_of(projected(shapes[i], grid), grid)) for i in near_grid(shapes, grid)]
    return sorted((each for each in found if len(each[1])), key=lambda each: (each[1].rows[0], each[0]))


def _batches(prints: Sequence[tuple[str, Footprint]]) -> Iterator[list[tuple[str, Footprint]]]:
    """Parcels that lie near each other, of about :data:`_PIXELS` pixels at most."""
    batch: list[tuple[str, Footprint]] = []
    for each in prints:
        if batch and sum(len(other) for _, other in batch) + len(each[1]) > _PIXELS:
            yield batch
            batch = []
        batch.append(each)
    if batch:
        yield batch


class _Work:
    """Does acquisitions of a store, one after the other."""

    def __init__(
        self,
        estimator: Estimator,
        product: xr.Dataset,
        scenes: Scenes,
        correlations: Correlations,
        options: ExtractOptions,
    ) -> None:
        self.names = outputs_of(product)
        self._estimator, self._product, self._scenes, self._options = estimator, product, scenes, options
        self._rho = [correlations.of(name) for name in self.names]
        self._has_mean = "mean" in statistics_of(product)

    def rows(self, batch: Sequence[tuple[str, Footprint]], time: int) -> Iterator[dict[str, Any]]:
        """Rows of the parcels of ``batch`` that have a clear pixel in the acquisition ``time``."""
        width = self._scenes.shape[1]
        of_parcels = [shape.rows * width + shape.columns for _, shape in batch]
        places: NDArray[np.intp] = np.unique(np.concatenate(of_parcels))
        flags, means = self._mapped(time, places)
        clear = (flags & MASKED) == 0
        if not clear.any():
            return
        seen = self._seen(time, places[clear])
        number = np.cumsum(clear) - 1
        about = {
            "time": self._product["time"].values[time],
            "tile": str(self._product.attrs["tile"]),
            "item": self._scenes.items[time],
        }
        for (name, shape), own in zip(batch, of_parcels, strict=True):
            at = np.searchsorted(places, own)
            kept = shape.used(clear[at])
            if kept.any():
                some, weights = at[kept], shape.weights[kept]
                told = self._told(flags[some], weights) | {
                    "clear_share": min(1.0, float(shape.weights[clear[at]].sum() / shape.area))
                }
                drawn = self._drawn(seen, number[some], weights, means[:, some], places[some], about["item"])
                for variable, statistics in zip(self.names, drawn, strict=True):
                    yield {"parcel": name, "variable": variable} | about | statistics | told

    def _mapped(self, time: int, places: NDArray[np.intp]) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """Flags (n,) and means (names, n) of the product at ``places``, counted along rows."""
        width = self._scenes.shape[1]
        flags = np.empty(len(places), np.uint8)
        means = np.zeros((len(self.names), len(places)), np.float32)
        for rows, some in _strips(places, self._scenes.shape, SIDE):
            part = self._product.isel(time=time, y=rows)
            local = places[some] - rows.start * width
            flags[some] = part["flags"].values.ravel()[local]
            if self._has_mean and len(places) > self._options.most_pixels:
                for k, name in enumerate(self.names):
                    means[k, some] = part[name].sel(statistic="mean").values.ravel()[local]
        return flags, means

    def _seen(self, time: int, places: NDArray[np.intp]) -> Observation:
        """What was seen at ``places``, all of which are clear."""
        width = self._scenes.shape[1]
        tall, wide = (max(1, min(SIDE, size)) for size in self._scenes.shape)
        parts: list[Observation] = []
        found: list[NDArray[np.intp]] = []
        for rows, some in _strips(places, self._scenes.shape, STRIP):
            own = places[some]
            for piece in self._scenes.pieces(time, rows):
                if piece.seen is None:
                    continue
                row, column = np.divmod(piece.clear, piece.doubts.shape[1])
                here = (piece.row * tall + row) * width + piece.column * wide + column
                hit = np.isin(here, own, assume_unique=True)
                if hit.any():
                    found.append(here[hit])
                    parts.append(piece.seen.rows(torch.from_numpy(np.flatnonzero(hit))))
        at = np.concatenate(found) if found else np.zeros(0, np.intp)
        if len(at) != len(places):
            raise DataError(
                f"scene {self._scenes.items[time]}: the maps have a posterior of pixels that are not clear",
                "product, scenes and masks are not of one run: map again",
            )
        order = torch.from_numpy(np.argsort(at, kind="stable"))
        return _joined(parts).rows(order)

    def _drawn(
        self,
        seen: Observation,
        rows: NDArray[np.intp],
        weights: NDArray[np.float64],
        means: NDArray[np.float32],
        places: NDArray[np.intp],
        item: str,
    ) -> Iterator[dict[str, float]]:
        """Statistics of the area mean of each output: of the pixels ``rows`` of ``seen``."""
        o, n = self._options, len(rows)
        chosen = np.arange(n)
        if n > o.most_pixels:
            chosen = ((np.arange(o.most_pixels) + 0.5) * n / o.most_pixels).astype(np.intp)
        moved = means @ (weights / weights.sum()) - means[:, chosen] @ (
            weights[chosen] / weights[chosen].sum()
        )
        seed = seed_of("parcel", o.seed, item, int(places[0]), int(places[-1]), n)
        values = self._values(seen.rows(torch.from_numpy(rows[chosen])), seed)
        own = own_scores(o.samples, len(chosen), seed)
        for k, rho in enumerate(self._rho):
            yield statistics(
                values[..., k], weights[chosen], rho, own, float(moved[k]) if n > o.most_pixels else 0.0
            )

    def _values(self, seen: Observation, seed: int) -> NDArray[np.float64]:
        """Joint draws (samples, n, outputs) of the pixels of ``seen``."""
        model, size = self._estimator, len(seen)
        if model.spectra_per_pixel:
            size = max(1, min(size, _EVALUATIONS // model.spectra_per_pixel))
        g, out = generator("draws", seed, device=model.device), []
        for part in model.understood(seen).split(size):
            part = part.to(model.device)
            with torch.no_grad():
                draws = model.posterior(part).draw(self._options.samples, g)
                out.append(model.outputs(draws.z, part, self.names).double().cpu().numpy())
        return np.concatenate(out, axis=1)

    @staticmethod
    def _told(flags: NDArray[np.uint8], weights: NDArray[np.float64]) -> dict[str, Any]:
        """What is said of the pixels beside their posterior."""
        return {
            "pixels": len(flags),
            "edge_share": float(weights[weights < WHOLE].sum() / weights.sum()),
            "flags": int(np.bitwise_or.reduce(flags)),
            "flagged_share": float(weights[flags != 0].sum() / weights.sum()),
        }


def statistics(
    draws: NDArray[np.float64],
    weights: NDArray[np.float64],
    correlation: float,
    own: NDArray[np.floating],
    moved: float = 0.0,
) -> dict[str, float]:
    """Statistics of the mean of n pixels of which there are ``draws`` (K, n), and the naive intervals; all
    moved by ``moved``."""
    levels = list(QUANTILES.values())
    mean = area_mean(draws, weights, correlation, own) + moved
    share = weights / weights.sum()
    ends = np.quantile(draws, (0.05, 0.95), axis=0) @ share + moved
    apart = np.quantile(draws @ share, (0.05, 0.95)) + moved
    found = [float(mean.mean()), float(mean.std(ddof=1)), *np.quantile(mean, levels).tolist()]
    return dict(zip((*STATISTICS, *NAIVE), [*found, *ends.tolist(), *apart.tolist()], strict=True))


def _strips(places: NDArray[np.intp], shape: tuple[int, int], height: int) -> Iterator[tuple[slice, slice]]:
    """Row ranges of ``height`` that hold some of the ``places`` (ascending), and which of them."""
    row = places // shape[1]
    for number in np.unique(row // height):
        first, last = np.searchsorted(row, [number * height, (number + 1) * height])
        yield slice(number * height, min((number + 1) * height, shape[0])), slice(first, last)


def _joined(parts: Sequence[Observation]) -> Observation:
    """Complete pixels, one after the other."""
    reflectance, valid, geometry, platform = (
        torch.cat([getattr(part, name) for part in parts])
        for name in ("reflectance", "valid", "geometry", "platform")
    )
    return Observation(
        reflectance=reflectance, valid=valid, geometry=geometry, platform=platform, bands=parts[0].bands
    )
