"""Pixels in a table, posterior out; what cannot be right in the table is said, not computed."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from canopyflow.atomic import atomic_file
from canopyflow.errors import DataError
from canopyflow.inference.summaries import LEARNED, Wanted, outside_geometry, summarise
from canopyflow.models.bundle import load
from canopyflow.models.estimators.contract import Estimator
from canopyflow.models.estimators.refined import refined
from canopyflow.observations.observation import pixels as observed
from canopyflow.vocabulary import (
    ANGLES,
    MASKED,
    OFFSET,
    OFFSET_FLOOR,
    OUT_OF_DOMAIN,
    PLATFORMS,
    STATISTICS,
    TABLE_OUTPUTS,
    VISIBLE,
)

log = logging.getLogger("canopyflow")

_CANOPY_INDEX, _CANOPY_INFRARED = 0.9, 0.2
"""Least NDVI after the offset is taken off, and least near infrared before, of a row that is a canopy if
the offset is in. Clean soils, bright in red as in blue, stay below: in simulations 2 rows in 100 with both
this index and bright visible bands, 6 at worst (thin canopies over bright soils), 50 with the offset."""

_OFFSET_SHARE = 0.1
"""Share of all rows that must look so for a warning; or most of the rows that look like a canopy."""

_LEAST, _MOST = -0.2, 2.0
"""Below the first: a fill value such as -9999. Above the second, unlike snow and glint: a digital number."""

_RADIANS = 1.6
"""Sun zeniths all below this, just above pi/2, are not degrees: the sun is never so high in every row."""


@dataclass(frozen=True)
class TableOptions:
    """All statistics of the variables ``outputs``, learned or from ``samples`` draws per row (``summaries``);
    with ``refine`` "importance" they are resampled from ``proposals`` draws, and rows with fewer than
    ``least_ess`` effective ones flagged."""

    samples: int = 100
    seed: int = 0
    outputs: Sequence[str] = TABLE_OUTPUTS
    summaries: str = LEARNED
    refine: str = "none"
    proposals: int = 10_000
    least_ess: float = 100.0
    device: str = "cpu"


def predict_table(
    table: str | Path, bundle: str | Path, out: str | Path, options: TableOptions | None = None
) -> list[str]:
    """Read pixels from CSV or Parquet, write ``id`` and their posterior summaries; returns the warnings.

    Columns in: id, platform, the model's bands (reflectance 0-1), and the three angles in degrees. Rows with
    a missing number, or a reflectance below -0.2 (fill values), come out empty with the flag "masked". Raises
    DataError for a missing column, digital numbers, an unknown platform, a repeated id, or angles out of
    range.
    """
    options = options or TableOptions()
    model = load(bundle, options.device)
    pixels = _read(Path(table))
    warnings = check_pixels(pixels, model, str(table))
    for warning in warnings:
        log.warning("%s", warning)
    result = predict(model, pixels, options)
    with atomic_file(out) as scratch:
        if Path(out).suffix == ".parquet":
            result.to_parquet(scratch, index=False)
        else:
            result.to_csv(scratch, index=False, float_format="%.6g")
    return warnings


def predict(model: Estimator, pixels: pd.DataFrame, options: TableOptions) -> pd.DataFrame:
    """Posterior summaries of checked ``pixels``, one row each, in their order; ``ess`` too if refined."""
    outputs = options.outputs
    reflectance = pixels[list(model.bands)].to_numpy(np.float32)
    angles = _folded(pixels[list(ANGLES)].to_numpy(np.float32))
    good = _complete(reflectance, angles)
    platform = pixels["platform"].map({name: i for i, name in enumerate(PLATFORMS)}).to_numpy(np.int64)
    stats = np.full((len(pixels), len(outputs), len(STATISTICS)), np.nan, np.float32)
    fit = np.full(len(pixels), np.nan, np.float32)
    ess = np.full(len(pixels), np.nan, np.float32)
    flags = np.full(len(pixels), MASKED, np.uint8)
    if good.any():
        x, a, kind = (torch.from_numpy(column[good]) for column in (reflectance, angles, platform))
        summary = summarise(
            refined(model, options.refine, options.proposals, options.least_ess),
            observed(x, a, kind, model.bands),
            Wanted(outputs, samples=options.samples, summaries=options.summaries),
            options.seed,
        )
        stats[good], fit[good], flags[good] = summary.stats, summary.fit, summary.flags
        if summary.ess is not None:
            ess[good] = summary.ess
    columns = {
        f"{name}_{statistic}": stats[:, i, j]
        for i, name in enumerate(outputs)
        for j, statistic in enumerate(STATISTICS)
    }
    if options.refine != "none":
        columns["ess"] = ess
    return pd.DataFrame({"id": pixels["id"].to_numpy(), **columns, "fit": fit, "flags": flags})


def check_pixels(pixels: pd.DataFrame, model: Estimator, name: str) -> list[str]:
    """Raise DataError for what cannot be right; return warnings for what is probably wrong.

    A warning opens with its name: missing-number, fill-value, residual-offset, radians, outside-geometry.
    """
    bands, platforms = model.bands, model.platforms
    for column in ("id", "platform", *bands, *ANGLES):
        if column not in pixels.columns:
            kind = "angle" if column in ANGLES else "band" if column in bands else "column"
            raise DataError(
                f"{name} has no {kind} {column!r}", f"the model needs {', '.join((*bands, *ANGLES))}"
            )
    if pixels.empty:
        raise DataError(f"{name} has no rows")
    for column in (*bands, *ANGLES):
        if not pd.api.types.is_numeric_dtype(pixels[column]):
            raise DataError(f"{name}: column {column!r} holds text", "give numbers, empty where missing")
    repeated = pixels["id"][pixels["id"].duplicated()]
    if len(repeated):
        raise DataError(f"{name}: id {repeated.iloc[0]!r} occurs more than once", "make ids unique")
    unknown = pixels["platform"][~pixels["platform"].isin(list(platforms))]
    if len(unknown):
        raise DataError(
            f"{name}: platform {unknown.iloc[0]!r} of id {pixels['id'][unknown.index[0]]!r} is unknown",
            f"it was trained for {', '.join(platforms)}",
        )
    _check_angles(pixels, name)
    _check_scale(pixels, bands, name)
    reflectance, angles = pixels[list(bands)].to_numpy(np.float64), pixels[list(ANGLES)].to_numpy(np.float64)
    good = _complete(reflectance, angles)
    return [
        f"{kind}: {name}: {text}"
        for kind, text in (
            *_missing(reflectance, angles),
            *_residual_offset(pixels[good], bands),
            *_geometry(angles[good], model.meta["angle_range"]),
        )
    ]


def _check_angles(pixels: pd.DataFrame, name: str) -> None:
    for column, lower, upper in (
        ("sun_zenith", 0, 90),
        ("view_zenith", 0, 90),
        ("relative_azimuth", -360, 360),
    ):
        bad = pixels[(pixels[column] < lower) | (pixels[column] > upper)]
        if len(bad):
            raise DataError(
                f"{name}: {column} is {bad[column].iloc[0]:g} for id {bad['id'].iloc[0]!r}",
                f"give degrees in [{lower}, {upper}]",
            )


def _check_scale(pixels: pd.DataFrame, bands: Sequence[str], name: str) -> None:
    for band in bands:
        bad = pixels[pixels[band] > _MOST]
        if len(bad):
            raise DataError(
                f"{name}: {band} is {bad[band].iloc[0]:g} for id {bad['id'].iloc[0]!r}: not a reflectance",
                "digital numbers? divide by 10000 after removing the offset of the processing baseline",
            )


def _complete(reflectance: NDArray[np.floating], angles: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Rows (n,) without a missing number or a fill value."""
    finite = np.isfinite(reflectance).all(1) & np.isfinite(angles).all(1)
    return finite & ~(reflectance < _LEAST).any(1)


_Warnings = list[tuple[str, str]]
"""Name and text of each."""


def _missing(reflectance: NDArray[np.floating], angles: NDArray[np.floating]) -> _Warnings:
    empty = f"they come out empty, flag {MASKED} (masked)"
    out: _Warnings = []
    if lacking := int((~np.isfinite(np.column_stack([reflectance, angles]))).any(1).sum()):
        out.append(("missing-number", f"{lacking} rows lack a number; {empty}"))
    if filled := int((reflectance < _LEAST).any(1).sum()):
        out.append(("fill-value", f"{filled} rows hold a reflectance below {_LEAST:g}; {empty}"))
    return out


def _residual_offset(pixels: pd.DataFrame, bands: Sequence[str]) -> _Warnings:
    """Count rows that look like a canopy less the offset, and as they stand are too bright to be one."""
    visible = [band for band in VISIBLE if band in bands]
    infrared = next((band for band in ("B8A", "B08") if band in bands), None)
    if infrared is None or "B04" not in visible or pixels.empty:
        return []
    near, red = pixels[infrared].to_numpy(), pixels["B04"].to_numpy()
    # Without the offset the sum can drop to nothing over a dark canopy: that is a high index, not none.
    index = (near - red) / np.maximum(near + red - 2 * OFFSET, 1e-3)
    canopy = (index > _CANOPY_INDEX) & (near > _CANOPY_INFRARED)
    bright = canopy & (pixels[visible].to_numpy() > OFFSET_FLOOR).all(1)
    count, rows = int(bright.sum()), len(pixels)
    # Two odd rows among a few prove nothing; in mostly bare tables, neither does one canopy row of one.
    sizeable = count >= max(3, _OFFSET_SHARE * rows)
    majority = count > 0.5 * canopy.sum() and count >= 0.02 * rows
    if not (sizeable or majority):
        return []
    text = (
        f"{count} of {rows} rows (of {int(canopy.sum())} that look like a canopy) have no visible "
        f"reflectance below {OFFSET_FLOOR:g}; the +{OFFSET:g} offset of processing baseline 04.00 "
        f"seems still to be in — subtract {OFFSET:g} where it is"
    )
    return [("residual-offset", text)]


def _geometry(angles: NDArray[np.floating], angle_range: dict[str, list[float]]) -> _Warnings:
    if len(angles) and (angles[:, 0] < _RADIANS).all():
        return [("radians", f"no sun_zenith reaches {_RADIANS:g}; angles seem to be radians — give degrees")]
    count = int(outside_geometry(angles, angle_range).sum())
    if not count:
        return []
    (sun, view, _), (sun_most, view_most, _) = angle_range["lower"], angle_range["upper"]
    text = (
        f"{count} of {len(angles)} rows have a geometry that the model was not trained for "
        f"(sun_zenith {sun:g} to {sun_most:g}, view_zenith {view:g} to {view_most:g}); "
        f"flag {OUT_OF_DOMAIN} (out_of_domain)"
    )
    return [("outside-geometry", text)]


def _folded(angles: NDArray[np.float32]) -> NDArray[np.float32]:
    """Relative azimuth folded to [0, 180] degrees: the canopy is symmetric about the principal plane."""
    azimuth = np.abs(angles[:, 2]) % 360
    angles = angles.copy()
    angles[:, 2] = np.minimum(azimuth, 360 - azimuth)
    return angles


def _read(path: Path) -> pd.DataFrame:
    if not path.is_file():
        raise DataError(f"table {path} does not exist")
    try:
        if path.suffix == ".parquet":
            return pd.read_parquet(path)
        return pd.read_csv(path, dtype={"id": str, "platform": str})
    except (ValueError, OSError) as error:
        raise DataError(
            f"table {path} cannot be read: {error}", "give CSV, or Parquet named *.parquet"
        ) from error
