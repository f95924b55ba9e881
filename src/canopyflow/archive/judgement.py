"""What the pixels of a scene say about its radiometric offset: they decide where a catalogue is wrong.

While the offset is in, no surface is darker than 0.1 in the archive's numbers; once it is removed, green
vegetation is always darker than that in blue or red. So over vegetation one look at the darkest pixels tells
the two apart, and the decision can be held against it. Over bright ground and clouds it cannot be told, and
the judgement says so. Thresholds and how often they err: ``benchmarks/offset_evidence.py``.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from canopyflow.archive.evidence import OFFSET_CORRECTED, OFFSET_DOUBTED, OFFSET_UNKNOWABLE, Evidence
from canopyflow.archive.harmonise import OFFSET, STEP, OffsetDecision
from canopyflow.vocabulary import VISIBLE

SUPPORTED, CONTRADICTED, DOUBTED, UNKNOWABLE = "supported", "contradicted", "doubted", "unknowable"

CLASSES = {"vegetation": 4, "bare ground": 5, "water": 6}
CLOUDS = (8, 9, 10)
"""Classes of the scene classification."""

DARKEST = "darkest visible"

FEWEST_PIXELS = 30
"""Fewer pixels of a class than this tell nothing."""

NEGATIVE = 0.08
"""Numbers below this, as reflectance, mean less than -0.02 if the offset is in: no surface, nor the usual
error of the atmospheric correction."""
BRIGHT = 0.095
"""Darkest visible numbers of vegetation from here on: only with the offset in, or under haze."""
DIM = 0.07
"""Darkest visible numbers of vegetation up to here: only without the offset."""
IMPOSSIBLE_SHARE, ODD_SHARE = 0.25, 0.05
"""Shares of pixels below ``NEGATIVE``: from the first on the offset cannot be in, up to the second it can."""

GREEN = 0.40
"""Median NDVI that vegetation has at least, once its offset is removed."""
HAZE_SLOPE = 0.03
"""Blue minus red of vegetation beyond this (median) means haze, which is bright without an offset."""
MANY_CLOUDS = 0.5
"""Share of clouds from which on clear pixels are likely to be hazy."""
DARK_SWIR = 0.11
"""B12 of vegetation below this (5th percentile) cannot hold an offset of 0.1."""


@dataclass(frozen=True)
class Judgement:
    """``verdict`` on a decision, ``detail`` a sentence, ``offset`` the one that the pixels are for."""

    verdict: str
    detail: str
    offset: int

    def evidence(self) -> Evidence | None:
        """What goes into the scene's record; of a contradiction, after the offset was corrected."""
        kind = {CONTRADICTED: OFFSET_CORRECTED, DOUBTED: OFFSET_DOUBTED, UNKNOWABLE: OFFSET_UNKNOWABLE}
        return Evidence(kind[self.verdict], self.detail) if self.verdict in kind else None


def corrected(decision: OffsetDecision, judgement: Judgement) -> OffsetDecision:
    """The decision to write a scene with whose pixels contradict ``decision``."""
    reason = f"{judgement.detail}; overruled: {decision.offset:+d}, {decision.reason}"
    return replace(decision, offset=judgement.offset, reason=reason)


def judge(
    dn: npt.NDArray[np.uint16], scl: npt.NDArray[Any], bands: Sequence[str], decision: OffsetDecision
) -> Judgement:
    """Hold an offset decision against pixels.

    Args:
        dn: (band, y, x) as they were read, offset **not** yet added, 0 where there is no data; a regular
            sample of the scene. Visible bands decide; infrared ones guard against haze where they are there.
        scl: (y, x) scene classification.
        bands: names along the first axis.
        decision: what was decided from what the archive declares.

    Vegetation decides where there is enough of it. Elsewhere numbers too small to hold an offset can still
    contradict that it is in; nothing can contradict that it is not.
    """
    if not set(VISIBLE) & set(bands):
        return Judgement(UNKNOWABLE, "offset cannot be checked: no visible band", decision.offset)
    clear = {name: _pixels(dn, scl, bands, code) for name, code in CLASSES.items()}
    if decision.offset == 0:
        clouds = float(np.isin(scl, CLOUDS).sum() / max(1, (scl != 0).sum()))
        return _judge_none(clear, clouds)
    if decision.offset == OFFSET:
        return _judge_offset(clear)
    text = f"offset {decision.offset:+d} cannot be checked: only 0 and {OFFSET} are known"
    return Judgement(UNKNOWABLE, text, decision.offset)


def _pixels(
    dn: npt.NDArray[np.uint16], scl: npt.NDArray[Any], bands: Sequence[str], code: int
) -> dict[str, npt.NDArray[np.float64]]:
    """Numbers of the pixels of one class as if there were no offset (reflectance), (n,) by band.

    Pixels that lack a visible band are left out; DARKEST is the darkest visible band of each.
    """
    visible = [i for i, band in enumerate(bands) if band in VISIBLE]
    there = (scl == code) & (dn[visible] != 0).all(axis=0)
    numbers = {band: dn[i][there] * STEP for i, band in enumerate(bands)}
    numbers[DARKEST] = np.min([numbers[bands[i]] for i in visible], axis=0)
    return numbers


def _judge_offset(clear: dict[str, dict[str, npt.NDArray[np.float64]]]) -> Judgement:
    """Whether the offset can be in: what is darker than the offset would be negative without it."""
    shares = {
        name: float((pixels[DARKEST] < NEGATIVE).mean())
        for name, pixels in clear.items()
        if len(pixels[DARKEST]) >= FEWEST_PIXELS
    }
    name = max(shares, key=lambda n: shares[n], default="")
    if name and shares[name] > ODD_SHARE:
        told = f"{shares[name]:.0%} of the pixels of {name} would be darker than {NEGATIVE - 0.1:.2f}"
        if shares[name] > IMPOSSIBLE_SHARE:
            return Judgement(CONTRADICTED, f"{told}: the offset was already removed", 0)
        return Judgement(DOUBTED, f"{told}: the offset may be removed twice", OFFSET)
    if "vegetation" not in shares:
        return Judgement(UNKNOWABLE, _too_few(clear), OFFSET)
    darkest = float(np.quantile(clear["vegetation"][DARKEST], 0.01))
    return Judgement(SUPPORTED, f"darkest vegetation {darkest:.3f} before the offset is removed", OFFSET)


def _judge_none(clear: dict[str, dict[str, npt.NDArray[np.float64]]], clouds: float) -> Judgement:
    """Whether there can be no offset: vegetation is then dark in the visible. ``clouds``: their share."""
    dim = {
        name: float((pixels[DARKEST] < DIM).mean())
        for name, pixels in clear.items()
        if len(pixels[DARKEST]) >= FEWEST_PIXELS
    }
    name = max(dim, key=lambda n: dim[n], default="")
    if name and dim[name] > ODD_SHARE:
        return Judgement(SUPPORTED, f"{dim[name]:.0%} of the pixels of {name} are darker than the offset", 0)
    if "vegetation" not in dim:
        return Judgement(UNKNOWABLE, _too_few(clear), 0)
    green = clear["vegetation"]
    darkest = float(np.quantile(green[DARKEST], 0.01))
    told = f"darkest vegetation at {darkest:.3f} in the visible"
    if darkest <= DIM:
        return Judgement(SUPPORTED, told, 0)
    other = _other_reason(green, clouds)
    if darkest < BRIGHT or other:
        because = other or "too bright for none, too dark for 0.1"
        return Judgement(DOUBTED, f"{told}: the offset may still be in ({because})", 0)
    return Judgement(CONTRADICTED, f"{told}: the offset is still in", OFFSET)


def _other_reason(green: dict[str, npt.NDArray[np.float64]], clouds: float) -> str:
    """What else than an offset could make this vegetation bright; empty where nothing could."""
    if clouds > MANY_CLOUDS:
        return f"clouds on {clouds:.0%} of the scene"
    if {"B02", "B04"} <= green.keys() and np.median(green["B02"] - green["B04"]) > HAZE_SLOPE:
        return "or haze: more blue than red"
    infrared = next((green[band] for band in ("B8A", "B08") if band in green), None)
    if infrared is not None and "B04" in green:
        red, nir = green["B04"] - 0.1, infrared - 0.1
        if np.median((nir - red) / np.maximum(nir + red, 1e-3)) < GREEN:
            return "or bright ground taken for vegetation"
    if "B12" in green and np.quantile(green["B12"], 0.05) < DARK_SWIR:
        return "or haze: dark in the short-wave infrared"
    return ""


def _too_few(clear: dict[str, dict[str, npt.NDArray[np.float64]]]) -> str:
    count = len(clear["vegetation"][DARKEST])
    return f"offset cannot be checked: {count} pixels of vegetation"
