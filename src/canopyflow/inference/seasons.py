"""Maps of one tile and one year: scenes and masks of several months in, one product store out.

A task is a strip of rows with all its passes; blocks, workers and the writing of shards are those of the
maps of single acquisitions (:mod:`canopyflow.inference.blocks`, :mod:`canopyflow.inference.writing`). The
seed of a piece comes from tile, year and place.

A product has every variable at dates that are a fixed number of days apart, counted from 1 January, and

``season_start season_peak season_end lai_duration season_speed``
    (season, statistic, y, x) of the trajectory as a whole, from joint draws;
``unobserved_days``
    (time, y, x), days to the nearest clear pass of the pixel, whose ``flags`` stand at the date; ``fit`` and
    its flag are those of the whole season, the same at all dates;
``observed``
    (pass, y, x), 1 where a pass was clear: what the posterior has seen. Which passes there were say
    ``pass_time``, ``pass_item`` and ``pass_platform``.
"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
import zarr
from numpy.typing import NDArray

from canopyflow.atomic import content_digest
from canopyflow.cubes.layout import SCALE, TIME_ENCODING, array_of, empty, in_one_shard
from canopyflow.cubes.passes import Seen, TilePasses
from canopyflow.cubes.stores import open_scenes
from canopyflow.errors import ConfigError, DataError
from canopyflow.inference.allocation import Allocation
from canopyflow.inference.blocks import (
    STRIP,
    BlockMapper,
    MapOptions,
    Piece,
    Product,
    computed_statistics,
    statistics_in_numbers,
)
from canopyflow.inference.doubts import doubts_of, informing
from canopyflow.inference.encoding import (
    ABOUT,
    COMPRESSOR,
    FILL,
    FIT_SCALE,
    cf_attributes,
    fit_numbers,
    scale_of,
)
from canopyflow.inference.season_summaries import (
    UNKNOWN,
    Calendar,
    SeasonSummary,
    summarise_seasons,
)
from canopyflow.inference.summaries import DRAWN, LEARNED, Wanted, check_outputs, check_statistics
from canopyflow.inference.writing import write_product
from canopyflow.models.bundle import load, read_description
from canopyflow.models.estimators.contract import Estimator
from canopyflow.models.phenology import NAMES
from canopyflow.observations.observation import Observation, View, platform_index
from canopyflow.seeds import seed_of
from canopyflow.vocabulary import FLAGS, MASKED

log = logging.getLogger("canopyflow")

PERIOD = "period"
"""Attribute of a product: first and last day of the season, YYYY-MM-DD."""

SEASON_SIDE = 128
"""Side of an inner chunk of the product, pixels: with all dates of a year it is as large as one of a map."""


@dataclass(frozen=True)
class Window:
    """The part of a year that is mapped: from ``start`` to ``end``, both included, at dates ``every_days``
    apart that count from 1 January."""

    start: date
    end: date
    every_days: int

    @classmethod
    def from_text(cls, start: str, end: str, every_days: int) -> "Window":
        """With dates as YYYY-MM-DD."""
        return cls(date.fromisoformat(start), date.fromisoformat(end), every_days)

    @property
    def days(self) -> NDArray[np.int64]:
        """The dates as days since 1 January. Raises ConfigError if there is none."""
        first = (self.start - date(self.start.year, 1, 1)).days
        last = (self.end - date(self.start.year, 1, 1)).days
        step = self.every_days
        found = np.arange(-(-first // step) * step, last + 1, step, dtype=np.int64)
        if not len(found):
            raise ConfigError(
                f"no date that is mapped lies between {self.start} and {self.end}",
                "take a longer period, or fewer days between the dates",
            )
        return found


@dataclass(frozen=True)
class SeasonJob:
    """What every task of one call shares: scene and mask stores of each month, and where the product is."""

    stores: tuple[tuple[str, str], ...]
    window: Window
    out: str
    options: MapOptions


def infer(
    bundle: str | Path,
    scenes: Sequence[str | Path],
    masks: Sequence[str | Path],
    out: str | Path,
    options: MapOptions,
    allocation: Allocation | None = None,
    *,
    window: Window,
) -> None:
    """Write the product store of one tile and year from the stores of its months.

    ``scenes`` and ``masks`` belong together, pairwise. ``options`` are those of maps of single acquisitions;
    draws of seasons are not refined. See :func:`canopyflow.inference.maps.infer`. Raises DataError if the
    model is none of seasons, or the stores and the model do not fit, ConfigError for an unknown output.
    """
    check_outputs(options.outputs)
    check_statistics(options.statistics)
    about = {**read_description(bundle), "sha256": content_digest(bundle)}
    if "dynamics" not in about:
        raise DataError(f"{bundle} is no model of seasons", "give one that was trained with dynamics")
    options = replace(options, refine="none")
    stores = tuple((str(scene), str(mask)) for scene, mask in zip(scenes, masks, strict=True))
    job = SeasonJob(stores, window, "", options)
    source = SeasonScenes(job, about["bands"])
    _check_platforms(source.tile, about["platforms"])
    template = _template(source, about, job)
    places = [(0, y) for y in range(-(-source.tile.shape[0] // STRIP))]
    done, drawn = write_product(
        Path(out),
        template,
        _encoding(template),
        partial(_mapper, str(bundle), job),
        places,
        options.device,
        allocation or Allocation(),
    )
    told = "%s: posterior of %d seasons of %d passes at %d dates, %d of them drawn (%.2g %%)"
    count = len(source.tile.passes), len(window.days)
    log.info(told, out, done, *count, drawn, 100 * drawn / max(done, 1))


def _mapper(bundle: str, job: SeasonJob, out: str, device: str) -> "SeasonMapper":
    return SeasonMapper(replace(job, out=out), load(bundle, device))


def _check_platforms(tile: TilePasses, known: Sequence[str]) -> None:
    for each, items in zip(tile.passes, tile.items, strict=True):
        if each.platform not in known:
            raise DataError(
                f"scene {items[0]} is of platform {each.platform}, unknown to the model",
                f"add {each.platform} to the campaign's platforms and train again",
            )


class SeasonScenes:
    """The seasons of a tile's pixels, piece by piece."""

    def __init__(self, job: SeasonJob, bands: Sequence[str]) -> None:
        stores = [(Path(scenes), Path(masks)) for scenes, masks in job.stores]
        self.tile = TilePasses(stores, bands, job.window.start.year)
        self.calendar = Calendar.of(self.tile.days(), job.window.days)
        self._platforms = [platform_index(each.platform) for each in self.tile.passes]
        self._informing = informing(self.tile.months[0].quality_attrs)

    def pieces(self, _: int, rows: slice) -> Iterator["SeasonPiece"]:
        """The pieces of a strip, block by block: of one block everything that its passes saw is in memory."""
        height, width = self.tile.shape
        tall, wide = (max(1, min(SEASON_SIDE, size)) for size in (height, width))
        for first in range(0, width, STRIP):
            columns = slice(first, min(first + STRIP, width))
            found: list[Seen | None] = [
                self.tile.seen(number, rows, columns) for number in range(len(self.tile.passes))
            ]
            for y in range(0, rows.stop - rows.start, tall):
                for x in range(0, columns.stop - columns.start, wide):
                    part = (
                        slice(y, min(y + tall, rows.stop - rows.start)),
                        slice(x, min(x + wide, columns.stop - columns.start)),
                    )
                    yield self._piece(found, part, (rows.start + y) // tall, (first + x) // wide)
            # Before the next block is read: two of them would take twice the memory.
            del found

    def _piece(
        self, found: Sequence[Seen | None], part: tuple[slice, slice], row: int, column: int
    ) -> "SeasonPiece":
        shape = tuple(each.stop - each.start for each in part)
        pixels = int(np.prod(shape))
        known = np.zeros((len(found), pixels), bool)
        for number, seen in enumerate(found):
            if seen is not None:
                known[number] = seen.known[part].ravel()
        clear = np.flatnonzero(known.any(0))
        nothing = np.zeros(shape, np.uint8)
        if not len(clear):
            doubts = np.zeros((0, len(found)), np.uint8)
            return SeasonPiece(row, column, clear, nothing, None, SEASON_SIDE, doubts)
        doubts = np.zeros((len(clear), len(found)), np.uint8)
        observed = self._observation(found, part, known, clear)
        for number, seen in enumerate(found):
            if seen is not None:
                flags = doubts_of(seen.quality[part], self._informing).ravel()[clear]
                doubts[:, number] = np.where(known[number, clear], flags, 0)
        return SeasonPiece(row, column, clear, nothing, observed, SEASON_SIDE, doubts)

    def _observation(
        self,
        found: Sequence[Seen | None],
        part: tuple[slice, slice],
        known: NDArray[np.bool_],
        clear: NDArray[np.intp],
    ) -> Observation:
        """What was seen of the pixels ``clear`` of a part of a block, at all dates of the calendar."""
        n, dates, bands = len(clear), len(self.calendar.every), len(self.tile.bands)
        reflectance = np.zeros((n, dates, bands), np.float32)
        geometry = np.zeros((n, dates, 3), np.float32)
        platform, valid = np.zeros((n, dates), np.int64), np.zeros((n, dates), bool)
        for number, (place, seen) in enumerate(zip(self.calendar.place_of_pass, found, strict=True)):
            platform[:, place] = self._platforms[number]
            if seen is None:
                continue
            there = np.flatnonzero(known[number, clear])
            at = clear[there]
            valid[there, place] = True
            numbers = seen.numbers[:, *part].reshape(bands, -1)[:, at]
            reflectance[there, place] = numbers.T / np.float32(round(1 / SCALE))
            geometry[there, place] = seen.angles[:, *part].reshape(3, -1)[:, at].T
        whole = torch.from_numpy(valid).unsqueeze(-1).expand(n, dates, bands)
        days = torch.from_numpy(self.calendar.every).to(torch.float32)
        return Observation(
            reflectance=torch.from_numpy(reflectance),
            valid=whole,
            geometry=torch.from_numpy(geometry),
            platform=torch.from_numpy(platform),
            bands=self.tile.bands,
            view=View.SEASON,
            day=days.expand(n, dates),
        )


@dataclass(frozen=True)
class SeasonPiece(Piece):
    """``pass_doubts`` (n, T): flags that each clear pixel inherits of each pass."""

    pass_doubts: NDArray[np.uint8] | None = None


class SeasonMapper(BlockMapper[SeasonPiece, SeasonSummary]):
    """Maps of a season; opens stores and takes the model once for all tasks of a job."""

    def __init__(self, job: SeasonJob, estimator: Estimator) -> None:
        self._options, self._estimator = job.options, estimator
        self._scenes = SeasonScenes(job, estimator.generative.bands)
        super().__init__(job.out, self._scenes.pieces, self._scenes.tile.shape[0])
        product = zarr.open_group(job.out, mode="r", use_consolidated=False)
        self._product = Product({name: array_of(product, name) for name in season_layers(job.options)})

    def told(self, time: int) -> str:
        return f"season {self._scenes.tile.year} of {self._scenes.tile.tile}"

    def summarised(self, piece: SeasonPiece, seen: Observation, time: int) -> SeasonSummary:
        o, tile = self._options, self._scenes.tile
        wanted = Wanted(o.outputs, computed_statistics(o.statistics), o.summaries, o.samples, o.batch_pixels)
        seed = seed_of(o.seed, tile.tile, tile.year, piece.row, piece.column)
        fixed = self._scenes.calendar.place_of_fixed
        summary = summarise_seasons(self._estimator, seen, fixed, wanted, seed)
        return replace(summary, flags=summary.flags | self._doubts(piece, seen))

    def _doubts(self, piece: SeasonPiece, seen: Observation) -> NDArray[np.uint8]:
        """Flags (n, F) that pixels inherit of the clear pass nearest to each date."""
        calendar, doubts = self._scenes.calendar, piece.pass_doubts
        assert doubts is not None
        n, dates = len(piece.clear), len(calendar.fixed)
        out = np.zeros((n, dates), np.uint8)
        if not doubts.any():
            return out
        known = seen.valid[..., 0].numpy()[:, calendar.place_of_pass]
        for date_, day in enumerate(calendar.fixed):
            apart = np.where(known, np.abs(calendar.passes - day), UNKNOWN)
            out[:, date_] = doubts[np.arange(n), apart.argmin(1)]
        return out

    def encoded(
        self, time: int, piece: SeasonPiece, summary: SeasonSummary | None
    ) -> Iterator[tuple[str, tuple[int, ...], bytes]]:
        for name in season_layers(self._options):
            for number, values in enumerate(self._planes(name, piece, summary)):
                data = self._product.encode(name, values)
                if data is not None:
                    between = (0,) * (self._product.axes(name) - 3)
                    yield name, (number, *between, piece.row, piece.column), data

    def _planes(self, name: str, piece: SeasonPiece, summary: SeasonSummary | None) -> Iterator[NDArray[Any]]:
        """Chunks of a layer, along its first axis."""
        dates = len(self._scenes.calendar.fixed)
        place = self._product.placed
        if name == "flags":
            for each in range(dates):
                flags = np.full(piece.doubts.size, MASKED, np.uint8)
                if summary is not None:
                    flags[piece.clear] = summary.flags[:, each]
                yield place(name, flags, None, piece)
        if summary is None or piece.seen is None:
            return
        if name == "observed":
            known = piece.seen.valid[..., 0].numpy()[:, self._scenes.calendar.place_of_pass]
            yield from (
                place(name, known[:, t].astype(np.uint8), piece.clear, piece) for t in range(known.shape[1])
            )
        elif name == "unobserved_days":
            yield from (place(name, summary.unobserved[:, t], piece.clear, piece) for t in range(dates))
        elif name == "fit":
            yield from (place(name, fit_numbers(summary.fit), piece.clear, piece) for _ in range(dates))
        elif name in NAMES:
            values = summary.whole[:, NAMES.index(name)]
            yield place(
                name, statistics_in_numbers(values, self._options.statistics, name), piece.clear, piece
            )
        elif name in self._options.outputs:
            column = list(self._options.outputs).index(name)
            for t in range(dates):
                values = summary.stats[:, t, column]
                numbers = statistics_in_numbers(values, self._options.statistics, name)
                yield place(name, numbers, piece.clear, piece)


def season_layers(options: MapOptions) -> tuple[str, ...]:
    """Names of the arrays of a product, in order."""
    return (*options.outputs, *NAMES, "fit", "unobserved_days", "observed", "flags")


def _template(source: SeasonScenes, about: dict[str, Any], job: SeasonJob) -> xr.Dataset:
    """The product without its numbers: coordinates, attributes, and shapes."""
    tile, days, options = source.tile, source.calendar.fixed, job.options
    with open_scenes(Path(job.stores[0][0]), decode=False) as store:
        keep = {n: store[n].variable for n in ("y", "x", "spatial_ref") if n in store.variables}
    grid: dict[str, Any] = {"grid_mapping": "spatial_ref"} if "spatial_ref" in keep else {}
    plane, statistics = tile.shape, len(options.statistics)
    told: dict[str, tuple[str, int, type[np.generic], dict[str, Any]]] = {
        "fit": ("time", len(days), np.float32, {
            "long_name": "distance of the posterior from all that was seen of the season",
            "units": "standard deviations of noise",
        }),
        "unobserved_days": ("time", len(days), np.uint16, {
            "long_name": "days to the nearest clear pass", "units": "day"
        }),
        "observed": ("pass", len(tile.passes), np.uint8, {"long_name": "whether a pass saw the pixel clear"}),
        "flags": ("time", len(days), np.uint8, {
            "flag_masks": list(FLAGS.values()), "flag_meanings": " ".join(FLAGS)
        }),
    }  # fmt: skip
    data: dict[str, Any] = {}
    for name in season_layers(options):
        if name in told:
            axis, length, kind, words = told[name]
            data[name] = ((axis, "y", "x"), empty((length, *plane), kind), {**words, **grid})
            continue
        axis, length = ("season", 1) if name in NAMES else ("time", len(days))
        words = {"long_name": ABOUT[name].long_name, "units": ABOUT[name].unit}
        shape = (length, statistics, *plane)
        data[name] = ((axis, "statistic", "y", "x"), empty(shape, np.float32), {**words, **grid})
    return xr.Dataset(data, coords=_coordinates(source, keep, options), attrs=_attributes(source, about, job))


def _coordinates(source: SeasonScenes, keep: dict[str, Any], options: MapOptions) -> dict[str, Any]:
    tile, start = source.tile, np.datetime64(f"{source.tile.year:04d}-01-01", "ns")
    times = start + source.calendar.fixed * np.timedelta64(1, "D")
    text = {
        "pass_item": [" ".join(items) for items in tile.items],
        "pass_platform": [each.platform for each in tile.passes],
    }
    return {
        **keep,
        "time": times.astype("datetime64[ns]"),
        # What stands for the scene of other products: a name of its own for each date.
        "item": ("time", np.array([f"{tile.tile}_{str(t)[:10]}" for t in times], dtype=object)),
        "platform": ("time", np.array([""] * len(times), dtype=object)),
        "season": np.array([tile.year], np.int64),
        "pass_time": ("pass", (start + tile.days() * np.timedelta64(1, "D")).astype("datetime64[ns]")),
        **{name: ("pass", np.array(values, dtype=object)) for name, values in text.items()},
        "statistic": np.array(options.statistics, dtype=object),
    }


def _attributes(source: SeasonScenes, about: dict[str, Any], job: SeasonJob) -> dict[str, Any]:
    known, options = source.tile.attrs, job.options
    passed = bool(about.get("summaries", {}).get("passed"))
    return {
        **{key: known[key] for key in ("tile", "epsg", "crs_wkt", "transform") if key in known},
        "month": f"{source.tile.year:04d}",
        PERIOD: [str(job.window.start), str(job.window.end)],
        "family": about["family"]["name"],
        "dynamics": about["dynamics"]["name"],
        "seed": about["seed"],
        "bundle_sha256": about["sha256"],
        "summaries": LEARNED if passed and options.summaries == LEARNED else DRAWN,
        "samples": options.samples,
    }


def _encoding(product: xr.Dataset) -> dict[str, dict[str, Any]]:
    """One shard per array; numbers as in :mod:`canopyflow.inference.encoding`."""
    out: dict[str, dict[str, Any]] = {"time": TIME_ENCODING, "pass_time": TIME_ENCODING}
    plain: dict[str, dict[str, Any]] = {
        "flags": {"_FillValue": None},
        "observed": {"_FillValue": None},
        "unobserved_days": {"_FillValue": np.uint16(UNKNOWN), "fill_value": np.uint16(UNKNOWN)},
    }
    for each, array in product.data_vars.items():
        name = str(each)
        scale = FIT_SCALE if name == "fit" else scale_of(name) if name not in plain else 1.0
        numbers = plain.get(name) or {"dtype": "int16", "fill_value": FILL, **cf_attributes(scale)}
        out[name] = {**in_one_shard(array.shape, SEASON_SIDE), "compressors": COMPRESSOR, **numbers}
    return out
