"""The recipes of docs/products.md, run as they stand there. Those for R are not: R is not on PyPI."""

import re
import warnings
from pathlib import Path

import numpy as np
import pytest

PAGE = (Path(__file__).resolve().parents[3] / "docs/products.md").read_text()
RECIPES = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
PLACE = 1 + 10 / 100 + 20 / 1000
"""The mean of LAI in row 10 and column 20 of the first scene."""


def test_all_recipes_run_and_give_values(campaign, tmp_path, monkeypatch):
    folder = tmp_path / "results/demo"
    folder.mkdir(parents=True)
    (folder / "published").symlink_to(campaign.published)
    monkeypatch.chdir(tmp_path)
    known: dict = {}
    seen = {}
    for code in RECIPES:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            exec(compile(code, "docs/products.md", "exec"), known)  # the project's own page
        seen[re.findall(r"^import (\S+)|^from (\S+)", code, re.MULTILINE)[0]] = known.get("lai")
    by_rasterio, by_xarray, by_odc = list(seen.values())[1:4]
    assert by_rasterio[10, 20] == pytest.approx(PLACE, abs=1e-3)
    assert float(by_xarray[10, 20]) == pytest.approx(PLACE, abs=1e-3)
    assert by_xarray.odc.crs.epsg == 32632 and np.allclose(by_xarray.x[:2], [500_010, 500_030])
    assert by_odc.sizes["time"] == 2 and float(by_odc.isel(time=0).max()) > PLACE
    interval = known["interval"]
    assert list(interval.band.values) == ["lai_q05", "lai_q95"] and interval.sizes["time"] == 4
    width = float(interval[0].sel(band="lai_q95").max() - interval[0].sel(band="lai_q05").max())
    assert width == pytest.approx(1.6, abs=0.01)
    assert len(RECIPES) == 5
