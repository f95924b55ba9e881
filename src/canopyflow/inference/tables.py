"""Pixels in a table, posterior out; what cannot be right in the table is said, not computed."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from canopyflow.atomic import atomic_file
from canopyflow.errors import DataError
from canopyflow.inference.summaries import MASKED, OUTPUTS, STATISTICS, summarise
from canopyflow.models.bundle import load
from canopyflow.models.retrieval import RetrievalModel

log = logging.getLogger("canopyflow")

ANGLES = ("sun_zenith", "view_zenith", "relative_azimuth")
_VISIBLE = ("B02", "B03", "B04")
_OFFSET_FLOOR = 0.09
"""No visible reflectance below this: the +0.1 of baseline 04.00 is still in (dark canopies have 0.02)."""

_MOST = 2.0
"""Reflectance beyond this is a digital number. Snow and glint stay below."""


def predict_table(
    table: str | Path,
    bundle: str | Path,
    out: str | Path,
    *,
    samples: int = 100,
    seed: int = 0,
    outputs: Sequence[str] = OUTPUTS,
    device: str = "cpu",
) -> list[str]:
    """Read pixels from CSV or Parquet, write ``id`` and their posterior summaries; returns the warnings.

    Columns in: id, platform, the model's bands (reflectance 0-1), and the three
    angles in degrees. Rows with a missing number come out empty with the flag
    "masked". Raises DataError for a missing column, digital numbers, an unknown
    platform, a repeated id, or angles out of range.
    """
    model = load(bundle, device)
    pixels = _read(Path(table))
    warnings = check_pixels(pixels, model.bands, model.platforms, str(table))
    for warning in warnings:
        log.warning("%s", warning)
    result = predict(model, pixels, samples=samples, seed=seed, outputs=outputs)
    with atomic_file(out) as scratch:
        if Path(out).suffix == ".parquet":
            result.to_parquet(scratch, index=False)
        else:
            result.to_csv(scratch, index=False, float_format="%.6g")
    return warnings


def predict(
    model: RetrievalModel,
    pixels: pd.DataFrame,
    *,
    samples: int = 100,
    seed: int = 0,
    outputs: Sequence[str] = OUTPUTS,
) -> pd.DataFrame:
    """Posterior summaries of checked ``pixels``, one row each, in their order."""
    reflectance = pixels[list(model.bands)].to_numpy(np.float32)
    angles = _folded(pixels[list(ANGLES)].to_numpy(np.float32))
    good = np.isfinite(reflectance).all(1) & np.isfinite(angles).all(1)
    platform = pixels["platform"].map({name: i for i, name in enumerate(model.platforms)}).to_numpy(np.int64)
    stats = np.full((len(pixels), len(outputs), len(STATISTICS)), np.nan, np.float32)
    fit = np.full(len(pixels), np.nan, np.float32)
    flags = np.full(len(pixels), MASKED, np.uint8)
    if good.any():
        summary = summarise(
            model,
            reflectance[good],
            angles[good],
            platform[good],
            samples=samples,
            seed=seed,
            outputs=outputs,
        )
        stats[good], fit[good], flags[good] = summary.stats, summary.fit, summary.flags
    columns = {
        f"{name}_{statistic}": stats[:, i, j]
        for i, name in enumerate(outputs)
        for j, statistic in enumerate(STATISTICS)
    }
    return pd.DataFrame({"id": pixels["id"].to_numpy(), **columns, "fit": fit, "flags": flags})


def check_pixels(
    pixels: pd.DataFrame, bands: Sequence[str], platforms: Sequence[str], name: str
) -> list[str]:
    """Raise DataError for what cannot be right; return warnings for what is probably wrong."""
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
    return _check_reflectance(pixels, bands, name)


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


def _check_reflectance(pixels: pd.DataFrame, bands: Sequence[str], name: str) -> list[str]:
    values = pixels[list(bands)]
    for band in bands:
        bad = pixels[values[band] > _MOST]
        if len(bad):
            raise DataError(
                f"{name}: {band} is {bad[band].iloc[0]:g} for id {bad['id'].iloc[0]!r}: not a reflectance",
                "digital numbers? divide by 10000 after removing the offset of the processing baseline",
            )
    warnings = []
    incomplete = int(pixels[[*bands, *ANGLES]].isna().any(axis=1).sum())
    if incomplete:
        warnings.append(
            f"{name}: {incomplete} rows lack a number; they come out empty, flag {MASKED} (masked)"
        )
    visible = [band for band in _VISIBLE if band in bands]
    if visible and (values[visible].min() >= _OFFSET_FLOOR).all():
        warnings.append(
            f"residual-offset: {name}: no visible reflectance is below {_OFFSET_FLOOR}; "
            "the +0.1 offset of processing baseline 04.00 seems still to be in — subtract 0.1"
        )
    return warnings


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
