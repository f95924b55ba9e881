"""What the sky left: clear, cloudy and shadowed shares of every scene through time."""

from pathlib import Path

import matplotlib.dates as mdates
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from canopyflow.evaluation.figures.style import INK, TALLEST, legend_below, message, panels, save

_SHARES = (
    ("valid_share", "#009E73", "clear and used"),
    ("cloud_share", "#56B4E9", "cloud"),
    ("shadow_share", "#3B3B5C", "cloud shadow"),
    ("other_share", "#D9D2C5", "other (no data, near cloud, other class)"),
)


def draw_clouds(tables: list[Path], out: Path, *, tiles: int = 6) -> None:
    """Stacked shares of each scene, a panel per tile (the first ``tiles``), from ``masks/*.csv`` tables."""
    parts = [pd.read_csv(path) for path in sorted(tables)]
    parts = [part for part in parts if len(part)]
    if not parts:
        message(out, "The campaign has no scenes")
        return
    table = pd.concat(parts, ignore_index=True)
    dates = pd.to_datetime(table["date"], format="ISO8601", utc=True)
    table["date"] = dates.dt.tz_localize(None).dt.normalize()
    known = table[["valid_share", "cloud_share", "shadow_share"]].sum(axis=1)
    table["other_share"] = (1 - known).clip(lower=0)
    names = sorted(table["tile"].unique())
    shown = names[:tiles]
    more = f" (first {len(shown)} of {len(names)} tiles)" if len(names) > len(shown) else ""
    title = f"Clear sky through the campaign: {len(table)} scenes{more}"
    height = min(1.9 * len(shown) + 1.5, TALLEST)
    figure, grid = panels(11, height, title, len(shown), sharex=True)
    width = _bar_width(table[table["tile"].isin(shown)])
    limits = (table["date"].min() - pd.Timedelta(days=width), table["date"].max() + pd.Timedelta(days=width))
    for row, tile in zip(grid, shown, strict=True):
        _panel(row[0], table[table["tile"] == tile], width)
        row[0].set(ylabel="share", xlim=limits, ylim=(0, 1))
        row[0].set_title(tile, loc="left", fontsize=10)
    locator = mdates.AutoDateLocator(minticks=4, maxticks=10)
    figure.axes[-1].xaxis.set_major_locator(locator)
    figure.axes[-1].xaxis.set_major_formatter(mdates.ConciseDateFormatter(locator))
    legend_below(figure)
    save(figure, out)


def _bar_width(table: pd.DataFrame) -> float:
    """Days: as wide as the closest two dates of a tile allow, but visible over a decade."""
    gaps = table.drop_duplicates(["tile", "date"]).sort_values("date").groupby("tile")["date"].diff().dt.days
    span = (table["date"].max() - table["date"].min()).days
    closest = float(gaps.min()) if gaps.notna().any() else 5.0
    return float(np.clip(0.85 * closest, max(0.8, span / 300), 4.0))


def _panel(axes: Axes, table: pd.DataFrame, width: float) -> None:
    """Scenes of one tile; several of one day are averaged, as their bars would hide each other."""
    columns = [name for name, _, _ in _SHARES]
    broken = table["problem"].notna() & (table["problem"].astype(str).str.strip() != "")
    days = table[~broken].groupby("date", sort=True)[columns].mean()
    base = np.zeros(len(days))
    for name, colour, what in _SHARES:
        axes.bar(days.index, days[name], bottom=base, width=width, color=colour, label=what, lw=0)
        base = base + days[name].to_numpy()
    if broken.any():
        axes.plot(
            table.loc[broken, "date"],
            np.full(int(broken.sum()), 0.06),
            "x",
            color="#D55E00",
            mew=2,
            ms=8,
            label="scene could not be read",
            clip_on=False,
        )
    axes.grid(False)
    axes.tick_params(colors=INK)
