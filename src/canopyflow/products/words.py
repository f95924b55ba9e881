"""What a product's variables, statistics, layers and flags mean, in sentences for whoever opens a file.

Units, bounds and bits are those of :mod:`canopyflow.vocabulary`; here is only what it does not say. Free of
torch and of files: the documentation is rendered from it too.
"""

import re

from canopyflow.vocabulary import DERIVED, FLAGS, QUANTILES, SEASONAL, VARIABLES, Variable

ABOUT: dict[str, Variable] = {variable.name: variable for variable in (*VARIABLES, *DERIVED, *SEASONAL)}
"""Everything that a product can be about, by name."""

SYMBOLS = {
    "lai": "LAI", "gai": "GAI", "lai_eff": "LAIe", "ccc": "CCC", "cwc": "CWC", "fapar": "FAPAR",
    "fcover": "FCOVER", "cab": "Cab", "car": "Car", "cbrown": "Cbrown", "cw": "Cw", "cm": "Cm", "N": "N",
    "lidfa": "leaf angle", "hspot": "hot spot", "psoil": "dry soil", "rsoil": "soil brightness",
    "senescent": "senescent", "season_start": "start", "season_peak": "peak", "season_end": "end",
    "lai_duration": "LAI duration", "season_speed": "speed",
}  # fmt: skip
"""How the field writes each variable."""

MEASURANDS: dict[str, tuple[str, str]] = {
    "N": (
        "number of plates that a leaf is made of in PROSPECT: more where a leaf scatters more",
        "none: fitted to leaf spectra",
    ),
    "cab": ("chlorophyll a and b per one-sided leaf area, green leaves only", "extraction, SPAD or Dualex"),
    "car": ("carotenoids per one-sided leaf area, green leaves only", "extraction"),
    "cbrown": ("brown pigments, in PROSPECT's relative unit", "none"),
    "cw": ("depth of the water in a leaf; 1 cm is 1 g cm-2", "fresh minus dry mass per leaf area (EWT)"),
    "cm": ("dry mass per one-sided leaf area", "dry mass per leaf area (LMA)"),
    "lai": (
        "plant area: one-sided area of leaves, green and dead, per ground area; clumping is corrected",
        "harvest of all that stands; LAI-2200, AccuPAR or photographs from below, corrected for clumping",
    ),
    "lidfa": ("mean inclination of the leaves from the horizontal", "clinometer, photographs (ALA, MTA)"),
    "hspot": ("leaf size over canopy height, which widens the hot spot", "none"),
    "psoil": ("share of the dry one of two soils in the background", "none"),
    "rsoil": ("factor on the brightness of the background", "none"),
    "gai": (
        "green area: the part of `lai` that is not dead",
        "photographs from above, harvest sorted by colour",
    ),
    "ccc": ("chlorophyll of green leaves per ground area: `gai` times `cab`", "samples, per ground area"),
    "cwc": ("water of green leaves per ground area: `gai` times `cw`", "samples, per ground area"),
    "fapar": (
        "share of the direct light from 400 to 700 nm that green leaves absorb, at the sun of the scene",
        "light sensors above and below, under the same sun",
    ),
    "fcover": ("share of the ground that is seen as green from straight above", "photographs from above"),
    "lai_eff": (
        "leaf area that randomly placed leaves would need for the same gaps",
        "LAI-2200, AccuPAR or photographs from below, without correction for clumping",
    ),
    "senescent": ("dead share of the plant area", "harvest sorted by colour"),
    "season_start": (
        "day of the year when `lai`, on its last rise to the peak, is half of the way up",
        "repeated measurements of leaf area",
    ),
    "season_peak": ("day of the year when `lai` is largest", "repeated measurements of leaf area"),
    "season_end": (
        "day of the year when `lai`, on its first fall from the peak, is half of the way down",
        "repeated measurements of leaf area",
    ),
    "lai_duration": (
        "integral of `lai` over the dates of the season (LAD)",
        "repeated measurements of leaf area",
    ),
    "season_speed": (
        "120 days over the days from `season_start` to `season_end`",
        "repeated measurements of leaf area",
    ),
}
"""Of each variable: what it counts, and what in a field it can be compared with."""

PLANES: dict[str, str] = {
    "fit": "distance of the posterior from the observation, in units of the noise",
    "ess": "effective number of importance-weighted draws",
    "flags": "why not to believe a pixel",
    "unobserved_days": "days to the nearest clear pass",
}
"""Layers without statistics, with their titles; ``ess`` only where the draws were refined,
``unobserved_days`` only of models of seasons."""

FLAG_MEANINGS: dict[str, str] = {
    "masked": "no data, cloud, shadow, snow or water: no value, and no other bit",
    "out_of_domain": "spectrum or geometry unlike anything the model was trained on",
    "input_outside_physics": "a band darker or brighter than any simulated one, or missing",
    "unrefined": "too few effective draws: the posterior of the network as it is",
    "doubted_offset": "of the scene: catalogue and pixels disagree on the radiometric offset",
    "assumed_angles": "of the scene: nobody gives the view angles",
    "duplicate": "of the scene: the same overpass is in the tile twice",
    "misfit": "no state of the posterior reproduces the spectrum",
}
"""What each bit of ``flags`` says of a pixel."""

NO_FLAG = "no flag: nothing is known against the value"


def in_words(statistic: str) -> str:
    """``q05`` as "5 % quantile of the posterior"."""
    words = {"mean": "mean", "std": "standard deviation"}
    words |= {name: f"{100 * share:g} % quantile" for name, share in QUANTILES.items()}
    return f"{words[statistic]} of the posterior"


def pretty(unit: str) -> str:
    """A unit as people write it: ``ug cm-2`` as µg cm⁻², nothing for 1."""
    signs = unit.translate(str.maketrans("0123456789-", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻"))
    return {"1": "", "degree": "°"}.get(unit, re.sub(r"^u", "µ", signs))


def flags_in_words(number: int) -> str:
    """Names of the bits that are set in one number of ``flags``, and the number itself."""
    names = [name for name, bit in FLAGS.items() if number & bit]
    return f"{', '.join(names)} ({number})" if names else f"{NO_FLAG} (0)"


LEGAL_NOTICE = "https://sentinel.esa.int/documents/247904/690755/Sentinel_Data_Legal_Notice"
"""Terms of Copernicus Sentinel data."""


def attribution(years: set[int], simulated: bool = False) -> str:
    """What has to stand beside data that were made from Sentinel-2, by the terms of :data:`LEGAL_NOTICE`.

    Args:
        years: when the scenes were taken.
        simulated: of the demo, whose scenes no satellite took.
    """
    if simulated:
        return "Made from simulated scenes; contains no Copernicus Sentinel data"
    if not years:
        return "Contains modified Copernicus Sentinel data"
    span = f"{min(years)}" if len(years) == 1 else f"{min(years)}-{max(years)}"
    return f"Contains modified Copernicus Sentinel data {span}"
