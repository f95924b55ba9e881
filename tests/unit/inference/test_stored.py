"""Product stores read strip by strip."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from synthetic_product import PIXEL, write_product, write_truth
from zarr.storage import LocalStore

from canopyflow.cubes.layout import in_one_shard
from canopyflow.evaluation.against import maps
from canopyflow.evaluation.against.maps import evaluate_maps
from canopyflow.evaluation.figures.retrieval_maps import _clear_scenes
from canopyflow.evaluation.figures.trajectories import COUNT, _places
from canopyflow.evaluation.scores.metrics import score
from canopyflow.inference.encoding import cf_attributes, scale_of
from canopyflow.inference.stored import clear_share, open_product, row_strips

ROWS, COLUMNS, STRIP = 1000, 400, 64
ITEM = "S2A_32TMT_2022-05-01"


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One scene in shards of 64 rows, the last one lower; a third of it masked, another third unevenly."""
    folder = tmp_path_factory.mktemp("product")
    rng = np.random.default_rng(1)
    masked = np.zeros((1, ROWS, COLUMNS), bool)
    masked[:, :333] = True
    masked[:, 600:] = rng.random((1, ROWS - 600, COLUMNS)) < 0.3
    mean = rng.uniform(1, 6, (1, ROWS, COLUMNS))
    size = (ROWS, COLUMNS)
    plain = write_product(
        folder / "p.zarr", ["2022-05-01T10:00"], mean=mean, masked=masked, names=("lai",), shape=size
    )
    store = folder / "32TMT/2022-05.zarr"
    with xr.open_zarr(plain, consolidated=False, mask_and_scale=False) as content:
        encoding = {
            name: {"chunks": (1, *layer.shape[1:-2], STRIP, COLUMNS)}
            for name, layer in content.data_vars.items()
        }
        for layer in content.variables.values():
            layer.encoding = {}
        content.load().to_zarr(store, mode="w", zarr_format=3, consolidated=False, encoding=encoding)
    return store


@contextmanager
def at_most(size: float) -> Iterator[None]:
    """Fails if more bytes than ``size`` are taken at a time."""
    tracemalloc.start()
    yield
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < size, f"{peak / 1e6:.1f} MB"


def test_strips_are_those_of_the_shards(product: Path) -> None:
    with xr.open_zarr(product, consolidated=False, chunks=None) as store:
        rows = list(row_strips(store["lai"].isel(time=0)))
        assert rows[0] == slice(0, STRIP) and rows[-1] == slice(960, ROWS) and len(rows) == 16
        assert clear_share(store, 0) == np.mean(store["flags"].values == 0)


def test_points_and_strips_read_only_their_chunks_of_a_shard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a variable whose month is one file."""
    rng = np.random.default_rng(0)
    values = rng.uniform(0, 10, (2, 1, 640, 640)).astype(np.float32)
    ds = xr.Dataset({"lai": (("time", "statistic", "y", "x"), values)}, coords={"statistic": ["mean"]})
    tiles = {"dtype": "int16", **cf_attributes(scale_of("lai")), **in_one_shard(values.shape, 64)}
    ds.to_zarr(tmp_path / "p", zarr_format=3, consolidated=False, encoding={"lai": tiles})
    read, get = [], LocalStore.get

    async def counted(*args: Any, **keywords: Any) -> Any:
        data = await get(*args, **keywords)
        read.append(0 if data is None or "/c/" not in str(args[1]) else len(data))
        return data

    monkeypatch.setattr(LocalStore, "get", counted)
    whole = (tmp_path / "p/lai/c/0/0/0/0").stat().st_size
    with open_product(tmp_path / "p") as store:
        lai, read[:] = store["lai"], []
        pairs = xr.DataArray([0, 1], dims="pair")
        places = {axis: xr.DataArray([3, 500], dims="pair") for axis in ("y", "x")}
        points = lai.isel(time=pairs, **places).values
        assert points.dtype == np.float32
        np.testing.assert_allclose(points[:, 0], values[[0, 1], 0, [3, 500], [3, 500]], atol=1e-4)
        assert 0 < sum(read) < whole / 50
        read[:] = []
        strip = next(row_strips(lai))
        np.testing.assert_allclose(lai.isel(time=1, y=strip).values, values[1, :, strip], atol=1e-4)
        assert 0 < sum(read) < whole / 15


@pytest.mark.parametrize("shift", [0.0, 700.0])
def test_reference_maps_are_scored_in_strips_as_in_one_piece(
    product: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shift: float
) -> None:
    """``shift``: what is added to the truth, for scores that would drown in rounding."""
    monkeypatch.setattr(maps, "_AT_ONCE", 9_000)
    truth = np.random.default_rng(2).uniform(1, 6, (ROWS, COLUMNS)) + np.arange(ROWS)[:, None] / 100 + shift
    truth[500:700, 100:200] = np.nan
    write_truth(tmp_path, ITEM, "lai", truth, PIXEL)
    found = evaluate_maps([product], tmp_path)["lai"]
    with open_product(product) as store:
        layers = store["lai"].isel(time=0)
        summary = {name: layers.sel(statistic=name).values for name in layers["statistic"].values}
    whole = score(truth.astype(np.float32), summary, "lai")
    assert found.keys() == whole.keys()
    assert found == pytest.approx(whole, rel=1e-7)


def test_no_whole_scene_is_in_memory(product: Path, tmp_path: Path) -> None:
    """A scene has 0.4 MB of flags and 11 MB of summaries."""
    write_truth(tmp_path, ITEM, "lai", np.full((ROWS, COLUMNS), 3.0), PIXEL)
    jobs: list[tuple[Callable[[], object], float]] = [
        (lambda: _clear_scenes([product], 1), 0.8e6),
        (lambda: evaluate_maps([product], tmp_path), 11e6),
    ]
    for do, size in jobs:
        do()
        with at_most(size):
            do()


def test_pixels_whose_trajectories_are_drawn_lie_evenly_in_the_order_of_rows(product: Path) -> None:
    with open_product(product) as store:
        row, column = np.nonzero(store["flags"].values[0] == 0)
    ranks = np.linspace(0, len(row) - 1, COUNT + 2).round().astype(int)[1:-1]
    _places([product], pd.DataFrame())
    with at_most(2e6):
        found = _places([product], pd.DataFrame())
    assert [(place.row, place.column) for place in found] == [(row[k], column[k]) for k in ranks]


def test_few_pixels_have_a_trajectory_each_and_none_none(tmp_path: Path) -> None:
    masked = np.ones((1, 4, 6), bool)
    for clear in (0, 3):
        masked[0, 2, :clear] = False
        store = write_product(tmp_path / f"{clear}.zarr", ["2022-05-01T10:00"], masked=masked)
        found = _places([store], pd.DataFrame())
        assert [(place.row, place.column) for place in found] == [(2, k) for k in range(clear)]
