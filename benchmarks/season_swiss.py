"""Swiss winter wheat of 2022: what a whole season says of green leaf area beside its dates, on field plots.

    OMP_NUM_THREADS=1 python benchmarks/season_swiss.py --real ../shared/real/swiss_wheat_2022 --out FOLDER

Trains, unless FOLDER holds it already, a model of seasons of the field law on drawn seasons alone (an
interrupted training goes on), and compares it with the shipped model of single dates. Rows are those of the
Swiss campaign: measured green area with a clear pixel within three days. Both say what was there on that
acquisition: `single` (the shipped model) and `one date` (the model of seasons) see it alone, `season` sees
all clear dates of the pixel, about 30 from March to July. Then all rows with a pixel on the very day of the
measurement, which the season is asked for, beside linear interpolation of `single` between the clear dates
around it. RMSE, CRPS and coverage of 90 % intervals with the error of the labels; differences with 95 %
intervals by resampling plots. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import pyproj
import rasterio
import torch
from numpy.typing import NDArray

from canopyflow.archive.harmonise import apply_offset, decide_offset
from canopyflow.evaluation.label_error import label_error
from canopyflow.evaluation.scores.clustered import bootstrap, codes, paired
from canopyflow.evaluation.scores.predictive import Predictive
from canopyflow.evaluation.scores.set_scores import contributions, scored
from canopyflow.models import load
from canopyflow.models.encoders._spectra import REFLECTANCE_FLOOR
from canopyflow.models.estimators.amortised import Amortised, ModelOptions
from canopyflow.models.runtime import generator
from canopyflow.models.simulate import SeasonSurvey
from canopyflow.models.simulate_seasons import simulate_seasons
from canopyflow.models.statistics import statistics_of_draws
from canopyflow.observations.observation import Observation, View, pixels, platform_index
from canopyflow.training.loop import plan, train
from canopyflow.vocabulary import BANDS, STATISTICS

Array = NDArray[np.float64]

NINE = tuple(band for band in BANDS if band != "B08")
"""The chips have no B08."""
SINGLE = "s2-9"
PLATFORMS = ("S2A", "S2B")
YEAR = "2022"
CLEAR = (4, 5)
"""Classes of the scene classification: vegetation, bare ground."""
VIEW = (5.0, 90.0)
"""View zenith and relative azimuth, which the chips do not tell."""
MAX_DAYS = 3
SURVEY = SeasonSurvey((20.0, 65.0), (0.0, 12.0), dates=32, window=(55.0, 220.0), shortest=60.0)
ALONE = 4
"""Dates of each season that training looks at by themselves too."""
AT_ONCE = 24
"""Seasons that are drawn for at a time."""


def trained(asked: argparse.Namespace, dynamics: str) -> Amortised:
    """The model of seasons under these ``dynamics``; trained if it is not there."""
    bundle = asked.out / dynamics
    if not bundle.is_dir():
        begun = time.process_time()
        stores = {}
        for number, (split, n) in enumerate((("train", asked.seasons), ("validation", asked.seasons // 20))):
            stores[split] = asked.out / f"{dynamics}-{split}.zarr"
            if not stores[split].is_dir():
                simulate_seasons(
                    stores[split],
                    SURVEY,
                    n=n,
                    bands=NINE,
                    platforms=PLATFORMS,
                    seed=2 * asked.training_seed + number,
                    generative={"name": "field"},
                    dynamics={"name": dynamics},
                )
        options = ModelOptions(
            "nsf", NINE, PLATFORMS, encoder="season", generative="field", dynamics=dynamics
        )
        phase = {
            "objective": "npe",
            "options": {"alone": ALONE},
            "epochs": asked.epochs,
            "learning_rate": asked.rate,
            "data": "seasons_drawn",
        }
        told = plan([phase], batch_size=asked.batch, seed=asked.training_seed)
        run = asked.out / f"{dynamics}-run"
        train(bundle, options, told, {"seasons_drawn": stores}, checkpoint=run, device="cpu")
        minutes = (time.process_time() - begun) / 60
        print(f"{dynamics}: trained in {minutes:.0f} CPU minutes", flush=True)
    return cast(Amortised, load(bundle))


def labelled(folder: Path) -> pd.DataFrame:
    """Rows of measured green area of the year: ``plot_id site date value day x y``, metres in the chips'
    grid."""
    table = pd.read_csv(folder / "insitu.csv")
    table = table[(table["variable"] == "LAI") & table["date"].str.startswith(YEAR)].reset_index(drop=True)
    to_metres = pyproj.Transformer.from_crs(4326, 32632, always_xy=True)
    table["x"], table["y"] = to_metres.transform(table["lon"].to_numpy(), table["lat"].to_numpy())
    table["day"] = [day_of(date) for date in table["date"]]
    return table


def day_of(date: str) -> int:
    """Days since 1 January of the year of a date that begins with year, month and day."""
    return (pd.Timestamp(date[:10]) - pd.Timestamp(f"{YEAR}-01-01")).days


def acquired(folder: Path, rows: pd.DataFrame) -> pd.DataFrame:
    """Clear pixels under ``rows``, one a day: ``row day sun platform`` and the bands, in order of the day."""
    found = []
    for path in sorted((folder / "sentinel-2-l2a").glob("*/*.json")):
        item = json.loads(path.read_text())
        known = item["properties"]
        if not known["datetime"].startswith(YEAR):
            continue
        mine = rows[rows["site"] == known["campaign:site"]]
        where, dn = under(path.parent, mine)
        clear = (dn[:-1] > 0).all(0) & np.isin(dn[-1], CLEAR)
        x = np.maximum(apply_offset(dn[:-1], decide_offset(item).offset).T * 1e-4, REFLECTANCE_FLOOR)
        part = pd.DataFrame(x, columns=list(NINE)).assign(
            row=where,
            day=day_of(known["datetime"]),
            sun=float(known["s2:mean_solar_zenith"]),
            platform=platform_index(item["id"][:3]),
        )
        found.append(part[clear])
    # A site and day can have several items, copies of each other: the first in the order of their names.
    clear_ones = pd.concat(found).drop_duplicates(["row", "day"])
    return clear_ones.sort_values(["row", "day"], kind="stable").reset_index(drop=True)


def under(chip: Path, rows: pd.DataFrame) -> tuple[NDArray[np.int64], NDArray[Any]]:
    """Which of ``rows`` lie in a chip, and what is there of all bands and the classes, (layer, row)."""
    layers = []
    for name in (*NINE, "SCL"):
        with rasterio.open(chip / f"{name}.tif") as source:
            column, line = ~source.transform * (rows["x"].to_numpy(), rows["y"].to_numpy())
            line, column = np.floor(line).astype(int), np.floor(column).astype(int)
            inside = (line >= 0) & (line < source.height) & (column >= 0) & (column < source.width)
            layers.append(source.read(1)[line[inside], column[inside]].astype(np.int64))
    return rows.index.to_numpy()[inside], np.stack(layers)


def spots(rows: pd.DataFrame, passes: pd.DataFrame) -> pd.DataFrame:
    """For each row with a clear pixel its places in ``passes``: ``first last`` of its season, ``nearest`` in
    time (of two the earlier), ``before`` and ``after`` its day (the nearest one beyond the ends)."""
    found = []
    for row, part in passes.groupby("row"):
        apart = part["day"].to_numpy() - rows.at[row, "day"]
        last = len(apart) - 1
        after = min(int((apart < 0).sum()), last)
        before = after if apart[after] == 0 else max(int((apart <= 0).sum()) - 1, 0)
        nearest = int(np.abs(apart).argmin())
        near = {"nearest": nearest, "before": before, "after": after, "last": last, "first": 0}
        start = int(part.index[0])
        found.append({k: start + v for k, v in near.items()} | {"row": row, "gap": int(apart[nearest])})
    return pd.DataFrame(found).set_index("row")


def geometry(passes: pd.DataFrame) -> NDArray[np.float32]:
    """Angles (n, 3)."""
    return np.stack([passes["sun"], *(np.full(len(passes), angle) for angle in VIEW)], -1).astype(np.float32)


def seasons(passes: pd.DataFrame, spots: pd.DataFrame, asked_for: Array) -> Observation:
    """The season of each row, (n, date): its passes, then the day that is ``asked_for`` (n,) with nothing
    seen on it, then dates that only fill up."""
    count = (spots["last"] - spots["first"] + 1).to_numpy()
    n, most = len(spots), int(count.max()) + 1
    x, angles = np.zeros((n, most, len(NINE)), np.float32), np.zeros((n, most, 3), np.float32)
    platform, valid = np.zeros((n, most), np.int64), np.zeros((n, most), bool)
    # What fills up lies after everything else, where it changes nothing.
    day = 400.0 + 5.0 * np.tile(np.arange(most), (n, 1))
    spectra, turned = passes[list(NINE)].to_numpy(np.float32), geometry(passes)
    for i, (first, many) in enumerate(zip(spots["first"], count, strict=True)):
        own = slice(first, first + many)
        x[i, :many], angles[i, :many], valid[i, :many] = spectra[own], turned[own], True
        platform[i, :many], day[i, :many] = passes["platform"].to_numpy()[own], passes["day"].to_numpy()[own]
        day[i, many] = asked_for[i]
    return Observation(
        reflectance=torch.from_numpy(x),
        valid=torch.from_numpy(valid)[..., None].expand(-1, -1, len(NINE)).clone(),
        geometry=torch.from_numpy(angles),
        platform=torch.from_numpy(platform),
        bands=NINE,
        view=View.SEASON,
        day=torch.from_numpy(day.astype(np.float32)),
    )


def drawn(model: Amortised, seen: Observation, draws: int, what: str) -> Array:
    """Statistics of green area (n, [date], statistic)."""
    g, parts = generator("season swiss", what), []
    size = AT_ONCE if seen.view is View.SEASON else AT_ONCE * 32
    with torch.no_grad():
        for part in seen.split(size):
            z = model.posterior(part).draw(draws, g).z
            green = model.generative.outputs(z, part, ["gai"])[..., 0]
            parts.append(statistics_of_draws(green.movedim(0, -1).contiguous().numpy()))
    return np.concatenate(parts).astype(np.float64)


def alone(passes: pd.DataFrame, view: View) -> Observation:
    """Each of ``passes`` by itself, as pixels (n,) or as seasons (n, 1)."""
    x, angles = (
        torch.from_numpy(values) for values in (passes[list(NINE)].to_numpy(np.float32), geometry(passes))
    )
    seen = pixels(x, angles, torch.from_numpy(passes["platform"].to_numpy()), NINE)
    if view is View.PIXEL:
        return seen
    day = torch.from_numpy(passes["day"].to_numpy(np.float32))
    whole = seen.each(lambda tensor: tensor.unsqueeze(1))
    return Observation(
        reflectance=whole.reflectance,
        valid=whole.valid,
        geometry=whole.geometry,
        platform=whole.platform,
        bands=NINE,
        view=View.SEASON,
        day=day[:, None],
    )


def said_by_single(
    model: Amortised, passes: pd.DataFrame, places: Iterable[NDArray[np.int64]], draws: int
) -> list[Array]:
    """Statistics (n, statistic) of the passes at each of ``places`` (n,), each by itself."""
    at = list(places)
    needed, back = np.unique(np.concatenate(at), return_inverse=True)
    told = drawn(model, alone(passes.iloc[needed], View.PIXEL), draws, "single")[back]
    return np.split(told, len(at))


def said_by_season(
    model: Amortised, passes: pd.DataFrame, spots: pd.DataFrame, day: Array, draws: int
) -> tuple[Array, Array]:
    """Statistics (n, statistic) on the nearest acquisition, and on the ``day`` (n,) itself."""
    seen = seasons(passes, spots, day)
    told = drawn(model, seen, draws, "season")
    each = np.arange(len(spots))
    nearest = (spots["nearest"] - spots["first"]).to_numpy()
    queried = (spots["last"] - spots["first"]).to_numpy() + 1
    # On the day of a pass that pass is what is asked for.
    queried = np.where(spots["gap"] == 0, nearest, queried)
    return told[each, nearest], told[each, queried]


def between(passes: pd.DataFrame, spots: pd.DataFrame, day: Array, before: Array, after: Array) -> Array:
    """Statistics linear in time between those ``before`` and ``after`` each ``day``."""
    first, last = (passes["day"].to_numpy()[spots[side]] for side in ("before", "after"))
    share = np.clip((day - first) / np.maximum(last - first, 1), 0.0, 1.0)[:, None]
    return (1.0 - share) * before + share * after


class Compared:
    """Scores of models on the same rows, and how the others differ from the first."""

    def __init__(self, rows: pd.DataFrame, told: dict[str, Array], title: str) -> None:
        self.rows, self.told, self.title = rows, told, title
        self.plots = codes(rows["plot_id"])
        truth = rows["value"].to_numpy(np.float64)
        error = label_error("gai", truth)
        self.parts = {}
        for name, stats in told.items():
            summary = dict(zip(STATISTICS, stats.T, strict=True))
            law = Predictive.of(summary, error)
            self.parts[name] = contributions(truth, summary["mean"], law, {}, "gai")

    def scores(self, which: NDArray[np.bool_] | None = None) -> dict[str, Any]:
        """By model, and by ``model - first``, of the rows ``which`` (all)."""
        keep = np.ones(len(self.rows), bool) if which is None else which
        cluster = codes(self.rows["plot_id"][keep])
        out: dict[str, Any] = {"n": int(keep.sum()), "plots": int(cluster.max()) + 1}
        kept = {name: {k: v[keep] for k, v in part.items()} for name, part in self.parts.items()}
        for name, part in kept.items():
            found = scored(part, cluster, seed=0)
            out[name] = {key: [round(v, 4) for v in found[key]] for key in TOLD}
        first, *others = kept
        for name in others:
            out[f"{name} - {first}"] = differences(kept[name], kept[first], cluster)
        return out

    def show(self) -> dict[str, Any]:
        """All rows, then by site and month, printed; returned as plain values."""
        told = self.scores()
        print(f"\n{self.title}: {told['n']} rows of {told['plots']} plots", flush=True)
        for name, found in told.items():
            if isinstance(found, dict):
                text = "  ".join(f"{k} {v[0]:+.3f} ({v[1]:.3f} to {v[2]:.3f})" for k, v in found.items())
                print(f"  {name:26s} {text}")
        for by, group in (("site", self.rows["site"]), ("month", self.rows["date"].str[:7])):
            told[by] = {}
            for value in sorted(group.unique()):
                found = self.scores((group == value).to_numpy())
                told[by][value] = {"n": found["n"]} | {
                    name: {key: found[name][key][0] for key in TOLD} for name in self.told
                }
                text = "  ".join(
                    f"{name}: " + " / ".join(f"{found[name][key][0]:.2f}" for key in TOLD)
                    for name in self.told
                )
                print(f"    {value:16s} {found['n']:4d}  {text}")
        return told


TOLD = ("rmse", "bias", "crps_label", "coverage90_label", "width90_label", "coverage90", "crps")


def differences(
    mine: dict[str, Array], theirs: dict[str, Array], cluster: NDArray[np.intp]
) -> dict[str, list[float]]:
    """Of RMSE, CRPS and coverage with their 95 % intervals over plots: value, low, high."""
    sums = {"mine": mine["error2"], "theirs": theirs["error2"], "one": mine["one"]}
    error = bootstrap(
        sums,
        cluster,
        {"rmse": lambda s: np.sqrt(s["mine"] / s["one"]) - np.sqrt(s["theirs"] / s["one"])},
        seed=0,
    )["rmse"]
    out = {"rmse": [round(v, 4) for v in error]}
    for key in ("crps_label", "coverage90_label", "width90_label"):
        out[key] = [round(v, 4) for v in paired(mine[key], theirs[key], cluster, seed=0)[:3]]
    return out


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--real", type=Path, required=True, help="the folder swiss_wheat_2022")
    parser.add_argument("--out", type=Path, required=True, help="folder of the models, kept")
    parser.add_argument(
        "--dynamics", nargs="+", default=["season_gp"], choices=("season_gp", "season_curves")
    )
    parser.add_argument("--draws", type=int, default=399)
    parser.add_argument("--seasons", type=int, default=20000, help="drawn seasons of the training")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--batch", type=int, default=48)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--training-seed", type=int, default=0)
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    models = {name: trained(asked, name) for name in asked.dynamics}
    rows = labelled(asked.real)
    passes = acquired(asked.real, rows)
    place = spots(rows, passes)
    rows = rows.loc[place.index]
    day = rows["day"].to_numpy(np.float64)
    sides = [place[name].to_numpy() for name in ("nearest", "before", "after")]
    nearest, *around = said_by_single(cast(Amortised, load(SINGLE)), passes, sides, asked.draws)
    on_pass, on_day = {"single": nearest}, {"linear": between(passes, place, day, *around)}
    for name, model in models.items():
        one = drawn(model, alone(passes.iloc[sides[0]], View.SEASON), asked.draws, "one date")[:, 0]
        season, queried = said_by_season(model, passes, place, day, asked.draws)
        on_pass |= {f"{name}, one date": one, f"{name}, season": season}
        on_day[f"{name}, season"] = queried
    near = (place["gap"].abs() <= MAX_DAYS).to_numpy()
    sets = {
        "clear within 3 days": (on_pass, near),
        "day of the measurement": (on_day, np.ones(len(rows), bool)),
        "day of the measurement, no clear pixel within 3 days": (on_day, ~near),
    }
    told: dict[str, Any] = {"dates": round(float((place["last"] - place["first"] + 1).mean()), 1)}
    for title, (said, which) in sets.items():
        told[title] = Compared(rows[which], {k: v[which] for k, v in said.items()}, title).show()
    print(json.dumps(told))


if __name__ == "__main__":
    main()
