"""What is wrong with a table of pixels: told from all of its rows, which are looked at piece by piece.

A row that cannot be right comes out empty, with a warning that counts such rows; where most rows are wrong
in the same way the table has another unit, and is refused. A warning opens with its name: missing-number,
missing-band, fill-value, not-a-reflectance, impossible-angle, residual-offset, outside-geometry,
ids-unchecked.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from canopyflow.errors import DataError
from canopyflow.inference.summaries import outside_geometry
from canopyflow.models.guards import DEGREES, LEAST, MOST, RADIANS, Judgement, judge, unit_of
from canopyflow.vocabulary import (
    ANGLES,
    MASKED,
    OFFSET,
    OFFSET_FLOOR,
    OUT_OF_DOMAIN,
    PLATFORMS,
    VISIBLE,
    platform_named,
)

_CANOPY_INDEX, _CANOPY_INFRARED = 0.9, 0.2
"""Least NDVI after the offset is taken off, and least near infrared before, of a row that is a canopy if
the offset is in. Clean soils, bright in red as in blue, stay below: in simulations 2 rows in 100 with both
this index and bright visible bands, 6 at worst (thin canopies over bright soils), 50 with the offset."""

_OFFSET_SHARE = 0.1
"""Share of all rows that must look so for a warning; or most of the rows that look like a canopy."""

_IDS = 10_000_000
"""Rows whose ids are compared: their hashes take 80 megabytes."""


@dataclass(frozen=True)
class Pixels:
    """n rows: ``reflectance`` (n, band), NaN where missing; ``angles`` (n, 3), degrees; ``platform`` (n,),
    index into :data:`canopyflow.vocabulary.PLATFORMS`, -1 where missing; ``ids``, as they came."""

    reflectance: NDArray[np.float64]
    angles: NDArray[np.float64]
    platform: NDArray[np.int64]
    ids: "pd.Series[Any]"

    def judged(self) -> Judgement:
        """What is wrong with each row."""
        return judge(self.reflectance, self.angles)

    def good(self, incomplete: bool) -> NDArray[np.bool_]:
        """Rows (n,) that have a posterior: complete ones, or such with bands left (``incomplete``)."""
        found = self.judged()
        return (found.usable if incomplete else found.complete) & (self.platform >= 0)


def platforms_of(values: Sequence[Any], known: Sequence[str], ids: "pd.Series[Any]") -> NDArray[np.int64]:
    """Index of each of n platforms, -1 where there is none. Raises DataError for one that is not
    ``known``."""
    codes, names = pd.factorize(pd.Series(values, dtype=object))
    places = np.full(len(names) + 1, -1, np.int64)
    for i, name in enumerate(names):
        if not str(name).strip() or str(name) in ("NA", "nan", "None", "null"):
            continue
        platform = platform_named(name)
        if platform not in known:
            row = int(np.flatnonzero(codes == i)[0])
            raise DataError(
                f"platform {str(name)!r} of id {ids.iloc[row]!r} is unknown",
                f"it was trained for {', '.join(known)}",
            )
        places[i] = PLATFORMS.index(platform)
    # The last place is that of the code -1: no value.
    return places[codes]


class Census:
    """Counts what is wrong with the rows it is shown; :meth:`finish` judges the whole table.

    ``bands``, and what the model was trained on (``angle_range``); ``incomplete``: whether it reads rows that
    lack bands; ``absent``: bands that the table has not.
    """

    def __init__(
        self,
        bands: Sequence[str],
        angle_range: Mapping[str, Sequence[float]] | None,
        incomplete: bool = False,
        absent: Sequence[str] = (),
    ) -> None:
        self.bands, self.angle_range = tuple(bands), angle_range
        self.incomplete, self.absent = incomplete, tuple(absent)
        self.rows = 0
        self._counts = dict.fromkeys(
            (
                *("unlike", "huge", "fill", "fill read", "angle", "lacking", "gaps", "gaps read"),
                *("canopy", "bright", "outside", "good", "partly"),
            ),
            0,
        )
        self._first: dict[str, tuple[str, float, Any]] = {}
        self._highest_sun = -np.inf
        self._hashes: list[NDArray[np.uint64]] = []

    def add(self, pixels: Pixels) -> None:
        """Count the rows of one piece."""
        x, angles, found = pixels.reflectance, pixels.angles, pixels.judged()
        there = np.array([band not in self.absent for band in self.bands])
        self._note("unlike", np.where(x > MOST, x, np.nan), self.bands, pixels)
        limits = np.array([DEGREES[name] for name in ANGLES])
        beyond = (angles < limits[:, 0]) | (angles > limits[:, 1])
        self._note("angle", np.where(beyond, angles, np.nan), ANGLES, pixels)
        # Bands that no row has are told once, not row by row.
        gaps = ~np.isfinite(x[:, there]).all(-1)
        masked = found.lacking | (pixels.platform < 0)
        fill = found.fill | found.blank
        good = pixels.good(self.incomplete)
        if good.any() and self.angle_range is not None:
            self._counts["outside"] += int(outside_geometry(angles[good], self.angle_range).sum())
        canopy, bright = _offset_rows(np.where(found.valid, x, np.nan)[good], self.bands)
        for name, count in (
            ("unlike", found.unlike.sum()),
            ("huge", (np.where(found.valid, x, 0.0) > 150.0).any(-1).sum()),
            ("fill", fill.sum()),
            ("fill read", (fill & good).sum()),
            ("angle", found.angle.sum()),
            ("lacking", masked.sum()),
            ("gaps", (gaps & ~masked).sum()),
            ("gaps read", (gaps & good).sum()),
            ("canopy", canopy),
            ("bright", bright),
            ("good", good.sum()),
            ("partly", (good & ~found.complete).sum()),
        ):
            self._counts[name] += int(count)
        suns = angles[np.isfinite(angles[:, 0]), 0]
        self._highest_sun = max(self._highest_sun, float(suns.max(initial=-np.inf)))
        if self.rows < _IDS:
            self._hashes.append(hashes(pixels.ids[: _IDS - self.rows]))
        self.rows += len(x)

    def _note(self, kind: str, values: NDArray[np.float64], names: Sequence[str], pixels: Pixels) -> None:
        """Keep the first value, (n, names) and NaN where all is well, of this kind."""
        if kind not in self._first and np.isfinite(values).any():
            row, column = (int(i) for i in np.argwhere(np.isfinite(values))[0])
            self._first[kind] = (names[column], float(values[row, column]), pixels.ids.iloc[row])

    @property
    def good(self) -> int:
        """How many rows have a posterior."""
        return self._counts["good"]

    @property
    def partly(self) -> int:
        """How many of these lack bands."""
        return self._counts["partly"]

    def twice(self) -> set[int]:
        """Hashes that ids of several rows have."""
        if not self._hashes:
            return set()
        joined = np.concatenate(self._hashes)
        self._hashes = [joined]
        joined.sort()
        return set(joined[1:][joined[1:] == joined[:-1]].tolist())

    def finish(self, name: str) -> list[str]:
        """The warnings about the table ``name``. Raises DataError if most of its rows cannot be right."""
        count = self._counts
        if not self.rows:
            raise DataError(f"{name} has no rows")
        if 2 * count["unlike"] > self.rows:
            band, value, row = self._first["unlike"]
            largest = 1e4 if 2 * count["huge"] > count["unlike"] else 1e2
            raise DataError(
                f"{name}: {band} is {value:g} for id {row!r}: not a reflectance", unit_of(largest)
            )
        if 2 * count["angle"] > self.rows:
            column, value, row = self._first["angle"]
            lower, upper = DEGREES[column]
            raise DataError(
                f"{name}: {column} is {value:g} for id {row!r}", f"give degrees in [{lower:g}, {upper:g}]"
            )
        if -np.inf < self._highest_sun < RADIANS:
            raise DataError(f"radians: {name}: no sun_zenith reaches {RADIANS:g}", "give angles in degrees")
        found = (*self._of_rows(), *self._residual_offset(), *self._geometry(), *self._ids())
        return [f"{kind}: {name}: {text}" for kind, text in found]

    def _of_rows(self) -> Iterable[tuple[str, str]]:
        """Rows that come out empty, and such that lack bands."""
        count = self._counts
        empty = f"come out empty, flag {MASKED} (masked)"
        for band in self.absent:
            yield "missing-band", f"there is no band {band!r}; the posterior is that of the other bands"
        if count["lacking"]:
            yield "missing-number", f"{count['lacking']} rows lack an angle or the platform; they {empty}"
        if count["gaps"]:
            yield "missing-number", f"{count['gaps']} rows lack a number; {self._fate('gaps', empty)}"
        if count["fill"]:
            what = f"hold a reflectance below {LEAST:g}, or next to 0 in all bands"
            yield "fill-value", f"{count['fill']} rows {what}; {self._fate('fill', empty)}"
        if count["unlike"]:
            band, value, row = self._first["unlike"]
            what = f"hold a reflectance above {MOST:g} ({band} is {value:g} for id {row!r})"
            yield "not-a-reflectance", f"{count['unlike']} rows {what}; they {empty}"
        if count["angle"]:
            column, value, row = self._first["angle"]
            what = f"hold an angle that cannot be ({column} is {value:g} for id {row!r})"
            yield "impossible-angle", f"{count['angle']} rows {what}; they {empty}"

    def _fate(self, kind: str, empty: str) -> str:
        """What becomes of the rows of a ``kind`` of which some, those with bands left, may be read."""
        read, lost = self._counts[f"{kind} read"], self._counts[kind] - self._counts[f"{kind} read"]
        less = "posterior is that of the other bands"
        if not lost:
            return f"their {less}"
        return f"they {empty}" if not read else f"of {read} the {less}, {lost} {empty}"

    def _residual_offset(self) -> Iterable[tuple[str, str]]:
        bright, canopy, rows = (self._counts[name] for name in ("bright", "canopy", "good"))
        # Two odd rows among a few prove nothing; in mostly bare tables, neither does one canopy row of one.
        sizeable = bright >= max(3, _OFFSET_SHARE * rows)
        majority = bright > 0.5 * canopy and bright >= 0.02 * rows
        if sizeable or majority:
            yield (
                "residual-offset",
                f"{bright} of {rows} rows (of {canopy} that look like a canopy) have no visible reflectance "
                f"below {OFFSET_FLOOR:g}; the +{OFFSET:g} offset of processing baseline 04.00 seems still to "
                f"be in — subtract {OFFSET:g} where it is",
            )

    def _geometry(self) -> Iterable[tuple[str, str]]:
        if self._counts["outside"] and self.angle_range is not None:
            (sun, view, _), (sun_most, view_most, _) = (self.angle_range[side] for side in ("lower", "upper"))
            yield (
                "outside-geometry",
                f"{self._counts['outside']} of {self._counts['good']} rows have a geometry that the model "
                f"was not trained for (sun_zenith {sun:g} to {sun_most:g}, view_zenith {view:g} to "
                f"{view_most:g}); flag {OUT_OF_DOMAIN} (out_of_domain)",
            )

    def _ids(self) -> Iterable[tuple[str, str]]:
        if self.rows > _IDS:
            yield "ids-unchecked", f"only the first {_IDS} ids were compared with each other"


def _offset_rows(x: NDArray[np.float64], bands: Sequence[str]) -> tuple[int, int]:
    """How many of n rows, NaN where they lack a band, look like a canopy less the offset, and how many of
    these are, as they stand, too bright to be one."""
    visible = [bands.index(band) for band in VISIBLE if band in bands]
    infrared = [bands.index(band) for band in ("B8A", "B08") if band in bands]
    if not infrared or "B04" not in bands or not len(x):
        return 0, 0
    near, red = x[:, infrared[0]], x[:, bands.index("B04")]
    near = np.where(np.isfinite(near), near, x[:, infrared[-1]])
    # Without the offset the sum can drop to nothing over a dark canopy: that is a high index, not none.
    index = (near - red) / np.maximum(near + red - 2 * OFFSET, 1e-3)
    canopy = (index > _CANOPY_INDEX) & (near > _CANOPY_INFRARED)
    bright = ((x[:, visible] > OFFSET_FLOOR) | ~np.isfinite(x[:, visible])).all(1)
    return int(canopy.sum()), int((canopy & bright).sum())


def hashes(ids: "pd.Series[Any]") -> NDArray[np.uint64]:
    """A number for each id (n,), the same for the same id."""
    return np.asarray(pd.util.hash_pandas_object(ids, index=False), np.uint64)


def check_ids(pieces: Iterable["pd.Series[Any]"], suspects: set[int], name: str) -> None:
    """Raise DataError for the first id that occurs more than once, among those whose hash is one of
    ``suspects``."""
    seen: set[Any] = set()
    if not suspects:
        return
    wanted = np.fromiter(suspects, np.uint64)
    for ids in pieces:
        for value in ids[np.isin(hashes(ids), wanted)].tolist():
            key = "" if pd.isna(value) else value
            if key in seen:
                raise DataError(f"{name}: id {value!r} occurs more than once", "make ids unique")
            seen.add(key)
