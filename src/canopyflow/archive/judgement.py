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
from canopyflow.vocabulary import OFFSET_FLOOR, VISIBLE

Pixels = dict[str, npt.NDArray[np.float64]]
"""Numbers (n,) by band, and those of each pixel's darkest visible band under ``DARKEST``."""

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
IMPOSSIBLE_SHARE, ODD_SHARE = 0.25, 0.15
"""Shares of pixels below ``NEGATIVE``: from the first on the offset cannot be in, up to the second it can."""
DIM = 0.07
"""The darkest visible numbers of vegetation (5th percentile) lie at 0.01 to 0.06 in real scenes without an
offset; up to here none is in."""
BRIGHTEST = 0.19
"""Darkest visible numbers beyond this are not of vegetation, be the offset in or not."""

GREEN = 0.40
"""Median NDVI that vegetation has at least, once its offset is removed."""
HAZE_SLOPE = 0.03
"""Blue minus red of vegetation beyond this (median) means haze, which is bright without an offset."""
DARK_SWIR = 0.095
"""B12 of vegetation below this (5th percentile) cannot hold an offset of 0.1."""
MANY_CLOUDS = 0.7
"""Share of clouds from which on clear pixels are likely to be hazy."""


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


def _pixels(dn: npt.NDArray[np.uint16], scl: npt.NDArray[Any], bands: Sequence[str], code: int) -> Pixels:
    """Numbers of the pixels of one class as if there were no offset (reflectance), (n,) by band.

    Pixels that lack a visible band are left out; DARKEST is the darkest visible band of each.
    """
    visible = [i for i, band in enumerate(bands) if band in VISIBLE]
    there = (scl == code) & (dn[visible] != 0).all(axis=0)
    numbers = {band: dn[i][there] * STEP for i, band in enumerate(bands)}
    numbers[DARKEST] = np.min([numbers[bands[i]] for i in visible], axis=0)
    return numbers


def _judge_offset(clear: dict[str, Pixels]) -> Judgement:
    """Whether the offset can be in: what is darker than the offset would be negative without it."""
    name, share = _largest_share(clear, NEGATIVE)
    if share > ODD_SHARE:
        told = f"{share:.0%} of the pixels of {name} would be darker than {NEGATIVE - 0.1:.2f}"
        if share > IMPOSSIBLE_SHARE:
            return Judgement(CONTRADICTED, f"{told}: the offset was already removed", 0)
        return Judgement(DOUBTED, f"{told}: the offset may be removed twice", OFFSET)
    green = clear["vegetation"]
    cannot = _cannot_tell(green) or _hazy(green)
    if cannot:
        return Judgement(UNKNOWABLE, f"offset cannot be checked: {cannot}", OFFSET)
    return Judgement(
        SUPPORTED, f"darkest vegetation {_darkest(green):.3f} before the offset is removed", OFFSET
    )


def _judge_none(clear: dict[str, Pixels], clouds: float) -> Judgement:
    """Whether there can be no offset: vegetation is then dark in the visible. ``clouds``: their share."""
    name, share = _largest_share(clear, DIM)
    if share > ODD_SHARE:
        return Judgement(SUPPORTED, f"{share:.0%} of the pixels of {name} are darker than an offset", 0)
    green = clear["vegetation"]
    cannot = _cannot_tell(green)
    if cannot:
        lake = _bright_water(clear["water"])
        return Judgement(DOUBTED if lake else UNKNOWABLE, lake or f"offset cannot be checked: {cannot}", 0)
    told = f"darkest vegetation at {_darkest(green):.3f} in the visible"
    if np.quantile(green[DARKEST], 0.05) <= DIM:
        return Judgement(SUPPORTED, told, 0)
    other = _hazy(green)
    if clouds > MANY_CLOUDS:
        other = f"clouds on {clouds:.0%} of the scene"
    if _darkest(green) < OFFSET_FLOOR:
        other = "too bright for none, too dark for one of 0.1"
    if other:
        return Judgement(DOUBTED, f"{told}: an offset may still be in ({other})", 0)
    return Judgement(CONTRADICTED, f"{told}: the offset is still in", OFFSET)


def _largest_share(clear: dict[str, Pixels], below: float) -> tuple[str, float]:
    """The class with the largest share of pixels whose darkest visible band is ``below``, and that share."""
    shares = {
        name: float((pixels[DARKEST] < below).mean())
        for name, pixels in clear.items()
        if len(pixels[DARKEST]) >= FEWEST_PIXELS
    }
    return max(shares.items(), key=lambda entry: entry[1], default=("", 0.0))


def _darkest(pixels: Pixels) -> float:
    return float(np.quantile(pixels[DARKEST], 0.01))


def _cannot_tell(green: Pixels) -> str:
    """Why pixels classified as vegetation tell nothing about an offset; empty where they do."""
    count = len(green[DARKEST])
    if count < FEWEST_PIXELS:
        return f"{count} pixels of vegetation"
    infrared = next((green[band] for band in ("B8A", "B08") if band in green), None)
    if infrared is not None and "B04" in green:
        # Vegetation must look like it at least with the offset removed, which makes it look greener.
        red, nir = green["B04"] - 0.1, infrared - 0.1
        if np.median((nir - red) / np.maximum(nir + red, 1e-3)) < GREEN:
            return "what is classified as vegetation is not green"
    return "too bright for vegetation" if _darkest(green) > BRIGHTEST else ""


def _bright_water(water: Pixels) -> str:
    """What speaks for an offset in water, which is dark beyond the visible unless the sun glitters on it."""
    infrared = [water[band] for band in ("B8A", "B08", "B11", "B12") if band in water]
    if not infrared or len(water[DARKEST]) < FEWEST_PIXELS:
        return ""
    darkest = float(np.quantile(np.min([water[DARKEST], *infrared], axis=0), 0.05))
    if not OFFSET_FLOOR <= darkest <= BRIGHTEST:
        return ""
    return f"darkest water at {darkest:.3f}, infrared included: an offset may still be in, or sun glint"


def _hazy(green: Pixels) -> str:
    """Why this vegetation may be bright without an offset; empty where it is not hazy."""
    if {"B02", "B04"} <= green.keys() and np.median(green["B02"] - green["B04"]) > HAZE_SLOPE:
        return "haze, more blue than red"
    if "B12" in green and np.quantile(green["B12"], 0.05) < DARK_SWIR:
        return "haze, dark in the short-wave infrared"
    return ""
