"""What cannot be a spectrum under a geometry, by name: the same for a table of pixels and for arrays.

Whoever takes numbers from outside asks here. A table loses single rows and says so; where most rows are wrong
it has another unit, and is refused. Arrays are refused for a single pixel: their posterior has no place for a
mask.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from canopyflow.errors import DataError
from canopyflow.vocabulary import ANGLES

LEAST, MOST = -0.2, 2.0
"""Below the first: a fill value such as -9999. Above the second, unlike snow and glint: another unit, or a
saturated pixel."""

_BLACK = 1e-3
"""No surface is as dark as this in all bands: that is a fill value of 0, perhaps less the offset."""

_PERCENT = 150.0
"""Largest reflectance in percent; what is above is a digital number."""

RADIANS = 1.6
"""Sun zeniths all below this, just above pi/2, are not degrees: the sun is never so high in every row."""

DEGREES: dict[str, tuple[float, float]] = {
    "sun_zenith": (0.0, 90.0),
    "view_zenith": (0.0, 90.0),
    "relative_azimuth": (-360.0, 360.0),
}
"""What each angle can be."""

Floats = NDArray[np.floating]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Judgement:
    """What is wrong with each of n pixels, (n,) bool each.

    ``unlike``: a reflectance above :data:`MOST`; ``fill``: one below :data:`LEAST`; ``blank``: next to 0 in
    all bands; ``angle``: an angle that cannot be; ``lacking``: one that is no number; ``gaps``: a band that
    is no number. ``valid`` (n, band): entries that were measured.
    """

    unlike: Mask
    fill: Mask
    blank: Mask
    angle: Mask
    lacking: Mask
    gaps: Mask
    valid: Mask

    @property
    def complete(self) -> Mask:
        """Pixels with nothing wrong."""
        return ~(self.unlike | self.fill | self.blank | self.angle | self.lacking | self.gaps)

    @property
    def usable(self) -> Mask:
        """Pixels with nothing wrong but missing bands, of which at least one is there."""
        return ~(self.unlike | self.blank | self.angle | self.lacking) & _any(self.valid)


def judge(reflectance: Floats, angles: Floats) -> Judgement:
    """Judge n pixels: ``reflectance`` (n, band), unit 1, and ``angles`` (n, 3), degrees; NaN is missing."""
    known = np.isfinite(reflectance)
    with np.errstate(invalid="ignore"):
        fill = known & (reflectance < LEAST)
        valid = known & ~fill
        lower, upper = (np.array([DEGREES[name][side] for name in ANGLES]) for side in (0, 1))
        impossible = np.isfinite(angles) & ((angles < lower) | (angles > upper))
    largest = np.where(valid, reflectance, -np.inf).max(-1)
    return Judgement(
        unlike=largest > MOST,
        fill=_any(fill),
        blank=_any(valid) & (largest <= _BLACK),
        angle=_any(impossible),
        lacking=_any(~np.isfinite(angles)),
        gaps=_any(~known),
        valid=valid,
    )


def _any(entries: Mask) -> Mask:
    """Pixels (n,) with one of the ``entries`` (n, k)."""
    return np.logical_or.reduce(entries, axis=-1)


def unit_of(largest: float) -> str:
    """What a reflectance of ``largest`` seems to be in, and what is to be done."""
    if largest > _PERCENT:
        return "digital numbers? divide by 10000 after removing the offset of the processing baseline"
    return "percent? divide by 100; a saturated pixel? leave it out"


def in_radians(sun_zenith: Floats) -> bool:
    """Whether these (n,), NaN aside, seem to be radians."""
    known = sun_zenith[np.isfinite(sun_zenith)]
    return len(known) > 0 and bool((known < RADIANS).all())


def check_arrays(reflectance: Floats, angles: Floats, bands: Sequence[str]) -> None:
    """Refuse arrays (*batch, band) and (*batch, 3) that hold anything but spectra; NaN is a missing band.

    Raises DataError that opens with the name of what is wrong: digital numbers, percent, radians, a fill
    value, an angle that cannot be.
    """
    if reflectance.shape[-1] != len(bands):
        raise DataError(
            f"reflectance has {reflectance.shape[-1]} bands",
            f"the model needs {', '.join(bands)}, in this order",
        )
    if angles.shape[-1] != len(ANGLES):
        raise DataError(f"{angles.shape[-1]} angles", f"give {', '.join(ANGLES)}, in this order")
    x = reflectance.reshape(-1, len(bands))
    a = np.broadcast_to(angles, (*reflectance.shape[:-1], len(ANGLES))).reshape(-1, len(ANGLES))
    found = judge(x, a)
    if found.unlike.any():
        largest = float(np.nanmax(x[found.unlike][0]))
        unit = "digital numbers" if largest > _PERCENT else "percent"
        raise DataError(f"{unit}: a reflectance is {largest:g}, which is none", unit_of(largest))
    for name, wrong, text in (
        ("fill-value", found.fill, f"a reflectance is below {LEAST:g}"),
        ("fill-value", found.blank, f"no band of a pixel is above {_BLACK:g}"),
        ("angles", found.angle, f"an angle is outside of {_ranges()}"),
        ("angles", found.lacking, "an angle is missing"),
    ):
        if wrong.any():
            raise DataError(
                f"{name}: {text} ({int(wrong.sum())} of {len(x)} pixels)",
                "leave out such pixels; a missing band is NaN",
            )
    if in_radians(a[:, 0]):
        raise DataError(f"radians: no sun_zenith reaches {RADIANS:g}", "give degrees")


def _ranges() -> str:
    return ", ".join(f"{name} {lower:g} to {upper:g}" for name, (lower, upper) in DEGREES.items())
