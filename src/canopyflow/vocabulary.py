"""Words that several rooms share, each said once: variables, bands, platforms, angles, statistics, flags.

Free of torch and of files, so that every reader of a product or a campaign can afford it.
"""

from dataclasses import dataclass

BANDS: tuple[str, ...] = ("B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12")
"""Bands of Sentinel-2 that see the land, by wavelength."""

PLATFORMS: tuple[str, ...] = ("S2A", "S2B", "S2C")
"""Satellites; a platform index in any store, observation or model counts in this order."""


def platform_named(text: object) -> str | None:
    """The one of :data:`PLATFORMS` that is meant by S2A, s2a, sentinel-2a or Sentinel 2A; None for none."""
    name = str(text).lower().translate(str.maketrans("", "", " -_")).replace("sentinel", "s")
    return name.upper() if name.upper() in PLATFORMS else None


ANGLES: tuple[str, ...] = ("sun_zenith", "view_zenith", "relative_azimuth")
"""The geometry of a pixel, in this order; degrees, the azimuth in [0, 180]."""

SPLITS: tuple[str, ...] = ("train", "validation", "test")

VISIBLE: tuple[str, ...] = ("B02", "B03", "B04")

OFFSET = 0.1
"""What processing baseline 04.00 adds to every reflectance."""

OFFSET_FLOOR = 0.085
"""While the offset is in, all visible bands lie above this reflectance, but for noise; without it those of a
canopy lie at 0.02 to 0.08."""


@dataclass(frozen=True)
class Variable:
    """One physical quantity: ``lower`` and ``upper`` are the bounds inside which it is sought, or inside
    which it lies if it follows from others."""

    name: str
    unit: str
    lower: float
    upper: float
    long_name: str


# Order, bounds and units are those of the published PROSAIL-VAE (Zérah, Valero, Inglada, Remote Sensing of
# Environment 312, 2024, 114309), which follow the Sentinel-2 toolbox ATBD (Weiss & Baret 2016/2020).
VARIABLES: tuple[Variable, ...] = (
    Variable("N", "1", 1.2, 1.8, "leaf structure parameter"),
    Variable("cab", "ug cm-2", 20.0, 90.0, "leaf chlorophyll a+b content"),
    Variable("car", "ug cm-2", 5.0, 23.0, "leaf carotenoid content"),
    Variable("cbrown", "1", 0.0, 2.0, "leaf brown pigment content"),
    Variable("cw", "cm", 0.0075, 0.075, "leaf equivalent water thickness"),
    Variable("cm", "g cm-2", 0.003, 0.011, "leaf dry matter content"),
    Variable("lai", "m2 m-2", 0.0, 10.0, "leaf area index"),
    Variable("lidfa", "degree", 30.0, 80.0, "mean leaf inclination angle"),
    Variable("hspot", "1", 0.01, 0.5, "hot-spot size parameter"),
    Variable("psoil", "1", 0.0, 1.0, "dry-soil fraction"),
    Variable("rsoil", "1", 0.3, 3.5, "soil brightness factor"),
)
"""The eleven that a posterior is about, in the order of every array's last dimension."""

NAMES: tuple[str, ...] = tuple(variable.name for variable in VARIABLES)

DERIVED: tuple[Variable, ...] = (
    Variable("gai", "m2 m-2", 0.0, 10.0, "green area index"),
    Variable("ccc", "ug cm-2", 0.0, 900.0, "canopy chlorophyll content per ground area"),
    Variable("cwc", "g cm-2", 0.0, 0.75, "canopy water content per ground area"),
    Variable("fapar", "1", 0.0, 1.0, "share of photosynthetically active radiation that the canopy absorbs"),
    Variable("fcover", "1", 0.0, 1.0, "share of the ground that the canopy covers, seen from above"),
    Variable("lai_eff", "m2 m-2", 0.0, 10.0, "effective leaf area index"),
    Variable("senescent", "1", 0.0, 1.0, "dead share of the plant area"),
)
"""What follows from a state: green part of the leaf area, canopy totals, what the canopy does to light, leaf
area as if leaves were not clumped, and the dead part."""

SEASONAL: tuple[Variable, ...] = (
    Variable("season_start", "day", 1.0, 366.0, "day of the year when leaf area has risen half of the way"),
    Variable("season_peak", "day", 1.0, 366.0, "day of the year when leaf area is largest"),
    Variable("season_end", "day", 1.0, 366.0, "day of the year when leaf area has fallen half of the way"),
    Variable(
        "lai_duration", "m2 m-2 day", 0.0, 3700.0, "leaf area duration, the integral of leaf area index"
    ),
    Variable("season_speed", "1", 0.0, 10.0, "how fast a season runs from start to end, 1 for 120 days"),
)
"""What is said of a whole season, by models of seasons alone; day 1 is 1 January."""

CANOPY_TOTALS: dict[str, str] = {"ccc": "cab", "cwc": "cw"}
"""What leaves hold, per ground area instead of leaf area; one centimetre of water weighs 1 g cm-2."""

LARGEST: dict[str, float] = {
    variable.name: variable.upper for variable in (*VARIABLES, *DERIVED, *SEASONAL)
} | {
    "N": 2.4,
    "cab": 100.0,
    "car": 35.0,
    "cm": 0.02,
    "lidfa": 82.0,
    "hspot": 0.6,
    **dict.fromkeys(("season_start", "season_peak", "season_end"), 376.0),
}
"""The most that any prior allows each variable: what the numbers of a product must hold. Days of the year
have some room above, where coarse rounding clips."""

OUTPUTS: tuple[str, ...] = ("lai", "gai", "ccc", "fapar")
"""Variables of a product unless asked otherwise."""

TABLE_OUTPUTS: tuple[str, ...] = (
    *("N", "cab", "car", "cw", "cm", "lai", "lidfa"),
    *("gai", "ccc", "cwc", "fapar", "fcover"),
    *("lai_eff", "senescent"),
)
"""Variables of a table of pixels, where a column costs nothing, as far as its model estimates them. Those
that are left out are not retrieved but nuisance: brown pigment, hot spot and soil."""

QUANTILES: dict[str, float] = {"q05": 0.05, "q25": 0.25, "q50": 0.5, "q75": 0.75, "q95": 0.95}
STATISTICS: tuple[str, ...] = ("mean", "std", *QUANTILES)

ADAMW, MUON = OPTIMIZERS = ("adamw", "muon")
"""What moves the weights of a network in training."""
"""What can be said of the posterior of each variable."""

MAPPED: tuple[str, ...] = ("mean", "std", "q05", "q50", "q95")
"""Statistics of a product unless asked otherwise."""

MASKED, OUT_OF_DOMAIN, INPUT_OUTSIDE_PHYSICS, UNREFINED = 1, 2, 4, 8
DOUBTED_OFFSET, ASSUMED_ANGLES, DUPLICATE, MISFIT = 16, 32, 64, 128
FLAGS: dict[str, int] = {
    "masked": MASKED,
    "out_of_domain": OUT_OF_DOMAIN,
    "input_outside_physics": INPUT_OUTSIDE_PHYSICS,
    "unrefined": UNREFINED,
    "doubted_offset": DOUBTED_OFFSET,
    "assumed_angles": ASSUMED_ANGLES,
    "duplicate": DUPLICATE,
    "misfit": MISFIT,
}
"""Bits of a product's ``flags``; a masked pixel carries ``masked`` alone.

``out_of_domain``: the spectrum is more likely something else's than the law's, or its geometry was not
simulated; ``input_outside_physics``: a band is darker or brighter than any simulated one, or holds 0, which
stands for no data; ``misfit``: the posterior does not reproduce the spectrum.
"""

DOUBTS: tuple[str, ...] = ("doubted_offset", "assumed_angles", "duplicate")
"""Flags that a pixel inherits from its scene, by the same names in the mask store's ``quality``: archive and
pixels disagree on the offset, nobody gives the view angles, the datatake is in the tile twice. They drop no
pixel, neither from maps nor from evaluation."""
