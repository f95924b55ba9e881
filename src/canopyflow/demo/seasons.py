"""Pixels of the demo followed through a season: what the satellites see at each pass, and the truth below.

For benchmarks and tests of seasons on a landscape of any seed; nothing that is trained may read it. A pixel
is a point of one class of ground (a field and a vigour level), so that all of its variables have one truth.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from canopyflow.demo.acquisitions import Acquisition, planned
from canopyflow.demo.clouds import SHADOW_DEPTH, make_sky, swath_nodata
from canopyflow.demo.landscape import Landscape, build_landscape
from canopyflow.demo.phenology import LEVELS, WATER
from canopyflow.demo.randomness import stream
from canopyflow.demo.scenes import SIGMA_AD, SIGMA_AI, SIGMA_MD, SIGMA_MI
from canopyflow.demo.spectra import BANDS, canopy_reflectance, scene_angles
from canopyflow.demo.tiles import tiles
from canopyflow.demo.weather import Weather
from canopyflow.demo.years import PASSES, build_world
from canopyflow.errors import DataError
from canopyflow.vocabulary import NAMES, PLATFORMS

VEIL = 0.005
"""Share of a pixel's light from clouds above which it counts as clouded."""
SHADE = 0.02
"""Depth of cloud shadow above which a pixel counts as shaded."""


@dataclass(frozen=True)
class SeasonPixels:
    """``count`` pixels at ``passes`` dates, in order of time; the truth is known at clouded dates too.

    ``reflectance``: (count, passes, 10), float32, in the order of :data:`canopyflow.vocabulary.BANDS`, with
    noise, as clouds and shadows leave it; ``valid``: the same shape, bool, False under clouds, in their
    shadow and beyond the swath; ``geometry``: (count, passes, 3), degrees, as
    :data:`canopyflow.vocabulary.ANGLES`; ``platform``: (count, passes), int64, index into
    :data:`canopyflow.vocabulary.PLATFORMS`; ``day``: (count, passes), float32, days since 1 January of
    ``year``; ``truth``: of each of :data:`canopyflow.vocabulary.NAMES` and of ``gai``, ``ccc``, ``cwc``,
    ``fapar`` the values (count, passes), float32; ``clean``: (count, passes, 10), float32, reflectance of the
    ground without noise and clouds; ``field``, ``crop``: (count,), int64, the crop an index into
    :data:`canopyflow.demo.phenology.CROP_NAMES`; ``x``, ``y``: (count,), metres of the plane.
    """

    year: int
    reflectance: np.ndarray
    valid: np.ndarray
    geometry: np.ndarray
    platform: np.ndarray
    day: np.ndarray
    truth: dict[str, np.ndarray]
    clean: np.ndarray
    field: np.ndarray
    crop: np.ndarray
    x: np.ndarray
    y: np.ndarray

    @property
    def states(self) -> np.ndarray:
        """The eleven variables side by side, (count, passes, 11), float32."""
        return np.stack([self.truth[name] for name in NAMES], -1)

    @property
    def clear(self) -> np.ndarray:
        """Dates of each pixel with a valid band, (count, passes), bool; at the others only truth exists."""
        return np.asarray(self.valid.any(-1))


def season_pixels(
    landscape: int, count: int, year: int | None = None, passes: int = PASSES, seed: int = 0
) -> SeasonPixels:
    """Draw ``count`` pixels of the landscape with this seed and follow them through a season.

    ``year``: one whose weather drives growth and clouds, see :func:`canopyflow.demo.years.build_world`, seen
    from March to October; None is the season of the demo's own archive, March to July 2021, where no weather
    acts. ``passes``: how many dates; of the demo's own season they are evenly chosen of its 24. ``seed``: of
    the choice of pixels and of their noise. Raises DataError where so many passes do not exist.
    """
    if year is not None:
        world = build_world(landscape, [year])
        return follow(world.landscape(year), world.passes(year, passes), count, landscape, seed)
    ground, plan = build_landscape(landscape), planned()
    if not 1 <= passes <= len(plan):
        raise DataError(f"{passes} passes of the demo's {len(plan)}", f"ask for 1 to {len(plan)}")
    chosen = [plan[i] for i in np.linspace(0, len(plan) - 1, passes).round().astype(int)]
    return follow(ground, chosen, count, landscape, seed)


def follow(
    landscape: Landscape, plan: Sequence[Acquisition], count: int, sky_seed: int, seed: int
) -> SeasonPixels:
    """``count`` pixels of a landscape through the acquisitions of one year, under skies of ``sky_seed``."""
    x, y, classes = _places(landscape, count, seed)
    unique, where = np.unique(classes, return_inverse=True)
    rng = stream(seed, "season pixels", "noise", count)
    dates = [_date(landscape, acquisition, unique) for acquisition in plan]
    seen = []
    for acquisition, (clean, _) in zip(plan, dates, strict=True):
        seen.append(_observed(clean[where], acquisition, (x, y), sky_seed, rng))
    truth = {
        name: np.stack([values[name][where] for _, values in dates], 1).astype(np.float32)
        for name in dates[0][1]
    }
    shape = (count, len(plan))
    days = [acquisition.day_of_year - 1 for acquisition in plan]
    angles = np.array([scene_angles(acquisition) for acquisition in plan], np.float32)
    platforms = np.array([PLATFORMS.index(acquisition.platform) for acquisition in plan], np.int64)
    valid = np.stack([clear for _, clear in seen], 1)
    return SeasonPixels(
        year=plan[0].started.year,
        reflectance=np.stack([values for values, _ in seen], 1).astype(np.float32),
        valid=np.repeat(valid[..., None], len(BANDS), -1),
        geometry=np.broadcast_to(angles, (*shape, 3)).copy(),
        platform=np.broadcast_to(platforms, shape).copy(),
        day=np.broadcast_to(np.array(days, np.float32), shape).copy(),
        truth=truth,
        clean=np.stack([clean[where] for clean, _ in dates], 1).astype(np.float32),
        field=classes // LEVELS,
        crop=landscape.canopies.crop[classes // LEVELS].astype(np.int64),
        x=x,
        y=y,
    )


def _places(landscape: Landscape, count: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Places of pixels on land inside the two tiles: x, y (metres of the plane) and class, each (count,)."""
    at = [tile.centres(20) for tile in tiles().values()]
    x, y = (np.concatenate([pair[i].ravel() for pair in at]) for i in (0, 1))
    classes = landscape.classes(x, y)
    land = np.flatnonzero(landscape.canopies.crop[classes // LEVELS] != WATER)
    if count < 1:
        raise DataError(f"{count} pixels", "ask for at least one")
    rng = stream(seed, "season pixels", "places")
    chosen = rng.choice(land, count, replace=count > land.size)
    return x[chosen], y[chosen], classes[chosen]


def _date(
    landscape: Landscape, acquisition: Acquisition, classes: np.ndarray
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Reflectance (classes, bands) of the ground on a date, and the truth of each variable (classes,)."""
    variables = landscape.canopies.variables(acquisition.day_of_year)
    truth = _totals(variables, classes)
    reflectance, fapar = canopy_reflectance(truth, scene_angles(acquisition), acquisition.platform)
    return reflectance, truth | {"fapar": fapar}


def _observed(
    clean: np.ndarray,
    acquisition: Acquisition,
    place: tuple[np.ndarray, np.ndarray],
    sky_seed: int,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """What the sensor delivers of ``clean`` (n, bands) at ``place``, and where it is to be trusted (n,)."""
    sky, n = make_sky(acquisition, sky_seed), len(clean)
    opacity, shade = sky.opacity(*place), sky.shade(*place)
    lit = clean * (1 - SHADOW_DEPTH * shade)[:, None]
    through = (1 - opacity)[:, None] * lit + opacity[:, None] * sky.cloud_reflectance(*place).T
    common, own = rng.standard_normal((2, n, 1)), rng.standard_normal((2, n, len(BANDS)))
    noisy = (
        through * (1 + SIGMA_MI * common[0] + SIGMA_MD * own[0]) + SIGMA_AI * common[1] + SIGMA_AD * own[1]
    )
    return noisy, (opacity <= VEIL) & (shade <= SHADE) & ~swath_nodata(acquisition, *place)


@dataclass(frozen=True)
class YearlyTruth:
    """The same places in several years: what a map of a year is judged by where only weather is known.

    ``values``: of each of ``names`` (years, count, days), float32; ``day``: (days,), days since 1 January;
    ``field``, ``crop``, ``x``, ``y``: (count,), as in :class:`SeasonPixels`; ``weather``: every day's, from
    1 October before the first year on.
    """

    years: tuple[int, ...]
    day: np.ndarray
    values: dict[str, np.ndarray]
    field: np.ndarray
    crop: np.ndarray
    x: np.ndarray
    y: np.ndarray
    weather: Weather


def yearly_truth(
    landscape: int,
    count: int,
    years: Sequence[int],
    days: Sequence[int],
    names: Sequence[str] = ("lai", "cab", "ccc"),
    seed: int = 0,
) -> YearlyTruth:
    """The truth at ``count`` places of a landscape in each of ``years`` on ``days`` since 1 January.

    ``names``: of :data:`canopyflow.vocabulary.NAMES`, and ``ccc``, ``cwc``. No spectra: a year costs less
    than a second. Raises DataError for a day that a year does not have.
    """
    world = build_world(landscape, years)
    x, y, classes = _places(world.bare, count, seed)
    values: dict[str, list[list[np.ndarray]]] = {name: [] for name in names}
    for year in world.years:
        canopies = world.landscape(year).canopies
        grown = [_totals(canopies.variables(day + 1), classes) for day in days]
        for name in names:
            values[name].append([of_day[name] for of_day in grown])
    stacked = {name: np.swapaxes(np.array(v, np.float32), 1, 2) for name, v in values.items()}
    field = classes // LEVELS
    crop = world.bare.canopies.crop[field].astype(np.int64)
    return YearlyTruth(world.years, np.array(days), stacked, field, crop, x, y, world.weather)


def _totals(variables: dict[str, np.ndarray], classes: np.ndarray) -> dict[str, np.ndarray]:
    """Variables (fields, levels) at places of these ``classes`` (n,), with the totals over the canopy."""
    at = {name: np.ascontiguousarray(variables[name]).ravel()[classes] for name in NAMES}
    return at | {"gai": at["lai"], "ccc": at["lai"] * at["cab"], "cwc": at["lai"] * at["cw"]}
