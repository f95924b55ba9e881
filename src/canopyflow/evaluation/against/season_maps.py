"""Maps of seasons against reference maps: at every pass with a reference map, clear pixels and clouded ones.

The map is of fixed dates; between the two around a pass every statistic is linear in time, as it is for field
plots (:func:`canopyflow.evaluation.against.plots.between`).
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from canopyflow.archive.names import plain
from canopyflow.evaluation.against.maps import strips_on_grid
from canopyflow.evaluation.scores.metrics import Part, pooled, score_part
from canopyflow.inference.stored import open_product, statistics_of
from canopyflow.progress import track
from canopyflow.vocabulary import MASKED, QUANTILES

_SUMMARY = ("mean", *QUANTILES)
_AT_ONCE = 2**18

CLEAR, CLOUDED = "maps", "clouded"
"""Sources of scores: pixels that the pass saw, and those that it did not."""

Scores = dict[str, dict[str, float]]


def of_seasons(product: Path) -> bool:
    """Whether a product store is that of a season."""
    with open_product(product) as store:
        return "pass" in store.sizes


def evaluate_season_maps(products: list[Path], truth: Path) -> dict[str, Scores]:
    """Scores by source (:data:`CLEAR`, :data:`CLOUDED`) and variable, over all passes with reference maps.

    Args:
        products: product stores of one model of seasons.
        truth: as for :func:`canopyflow.evaluation.against.maps.evaluate_maps`; a reference map is known under
            clouds too.
    """
    parts: dict[str, dict[str, list[Part]]] = {CLEAR: {}, CLOUDED: {}}
    for store in track(sorted(products), "maps of seasons against reference maps"):
        with open_product(store) as product:
            for number, items in enumerate(product["pass_item"].values.tolist()):
                for reference in _references(truth, items.split(), store):
                    if reference.stem not in product.data_vars:
                        continue
                    for source, part in _parts(product, number, reference):
                        parts[source].setdefault(reference.stem, []).append(part)
    return {
        source: {variable: pooled(found) for variable, found in sorted(of.items())}
        for source, of in parts.items()
    }


def _references(truth: Path, items: list[str], store: Path) -> list[Path]:
    """Reference maps of a pass: those of the first of its items that has some."""
    found = (sorted((truth / plain(item, store)).glob("*.tif")) for item in items)
    return next((maps for maps in found if maps), [])


def around(product: xr.Dataset, number: int) -> tuple[int, int, float] | None:
    """The fixed dates before and after pass ``number`` and the weight of the second; None beyond the ends."""
    times = product["time"].values.astype("datetime64[D]").astype(int)
    day = product["pass_time"].values[number].astype("datetime64[D]").astype(int)
    after = int(np.searchsorted(times, day))
    if after < len(times) and times[after] == day:
        return after, after, 0.0
    if after in (0, len(times)):
        return None
    before = after - 1
    return before, after, float((day - times[before]) / (times[after] - times[before]))


def _parts(product: xr.Dataset, number: int, reference: Path) -> Iterator[tuple[str, Part]]:
    """Scores of the pixels of one pass, strip by strip."""
    place = around(product, number)
    if place is None:
        return
    before, after, share = place
    names = [name for name in _SUMMARY if name in statistics_of(product)]
    layers = product[reference.stem].sel(statistic=names).transpose("time", "statistic", "y", "x")
    flags = product["flags"].isel(time=before)
    for rows, truth in strips_on_grid(reference, product, flags):
        known = (flags.isel(y=rows).values & MASKED == 0) & np.isfinite(truth)
        clear = product["observed"].isel({"pass": number, "y": rows}).values == 1
        first, last = (layers.isel(time=each, y=rows).values for each in (before, after))
        between = ((1 - share) * first + share * last).astype(np.float32)
        for source, some in ((CLEAR, known & clear), (CLOUDED, known & ~clear)):
            yield from _pieces(source, truth[some], between[:, some], names, reference.stem)


def _pieces(
    source: str, truth: NDArray[np.float32], found: NDArray[np.float32], names: list[str], variable: str
) -> Iterator[tuple[str, Part]]:
    for start in range(0, max(1, truth.size), _AT_ONCE):
        some = slice(start, start + _AT_ONCE)
        yield source, score_part(truth[some], dict(zip(names, found[:, some], strict=True)), variable)
