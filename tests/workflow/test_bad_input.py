"""Bad input in the real workflow: one clear line that names the thing, and all else goes on."""

from __future__ import annotations

import csv
import json
import socket
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import rasterio
import xarray as xr
from checkouts import Checkout

from canopyflow.demo.archive import write_archive

pytestmark = pytest.mark.slow

CAMPAIGN = """
campaign: bad
area: {bbox: [6.478, 46.711, 6.522, 46.7295]}
period: {start: 2021-05-01, end: 2021-06-30}
archive: {catalog: demo-archive/catalog.json, max_cloud_cover: 100, max_unreadable: 1}
grid: {resolution: 60}
families: [truncated_normal]
baselines: []
physics: {prior: atbd}
simulations: {train: 1000, validation: 100, test: 100}
patches: {size: 4, block_metres: 240}
training:
  summaries: {epochs: 1, width: 32, layers: 2}
  phases:
    - {objective: npe, epochs: 1, learning_rate: 0.002, data: simulations}
    - {objective: elbo, epochs: 1, learning_rate: 0.0002, data: both}
inference: {samples: 20, outputs: [lai, cab, ccc]}
evaluation: {plots: demo-archive/plots.csv, truth: demo-archive/truth, samples: 50}
reference: {simulated: 4, observed: 4, draws: 100, rounds: 1}
publication: {variables: [lai]}
"""
CLOUDY, LACKING, CLEAR, CUT = "20210517", "20210603", "20210608", "20210618"
"""Days of the archive: all cloud; without B8A; in order; its eastern B05 cut short."""


def the_item(archive: Path, day: str, tile: str) -> Path:
    """Folder of the one item of a day and tile."""
    (folder,) = (archive / "sentinel-2-l2a").glob(f"*_{day}T*_T{tile}_*")
    return folder


def spoil(archive: Path) -> None:
    """Put three faults into an archive."""
    scl = the_item(archive, CLOUDY, "31TGM") / "SCL.tif"
    with rasterio.open(scl) as file:
        classes, profile = file.read(1), file.profile
    profile.update(driver="GTiff", tiled=False)
    with rasterio.open(scl, "w", **{k: v for k, v in profile.items() if "block" not in k}) as file:
        file.write(np.full_like(classes, 9), 1)
    lacking = the_item(archive, LACKING, "31TGM")
    path = lacking / f"{lacking.name}.json"
    item = json.loads(path.read_text())
    del item["assets"]["B8A"]
    path.write_text(json.dumps(item))
    band = the_item(archive, CUT, "32TLS") / "B05.tif"
    band.write_bytes(band.read_bytes()[:1500])


@pytest.fixture(scope="module")
def spoiled(checkout: Checkout, tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """A checkout with a small archive across the border of two UTM zones, with faults; nothing is run."""
    copy = checkout.copy(tmp_path_factory.mktemp("spoiled") / "canopyflow")
    write_archive(
        copy.folder / "demo-archive",
        size=96,
        dates=[f"{day[:4]}-{day[4:6]}-{day[6:]}" for day in (CLOUDY, LACKING, CLEAR, CUT)],
    )
    spoil(copy.folder / "demo-archive")
    (copy.folder / "mini.yaml").write_text(CAMPAIGN)
    return copy


@pytest.fixture(scope="module")
def run(spoiled: Checkout, tmp_path_factory: pytest.TempPathFactory) -> tuple[Checkout, str]:
    """The spoiled campaign after its run, and what the run printed: one scene may be set aside."""
    copy = spoiled.copy(tmp_path_factory.mktemp("run") / "canopyflow")
    return copy, copy.snakemake()


@pytest.fixture
def results(run: tuple[Checkout, str]) -> Path:
    return run[0].folder / "results/bad"


def test_item_with_a_missing_band_is_rejected_by_name(results: Path, run: tuple[Checkout, str]) -> None:
    lacking = the_item(run[0].folder / "demo-archive", LACKING, "31TGM").name
    lock = json.loads((results / "search/index.json").read_text())["lock"]
    assert lock["rejected"] == [{"id": lacking, "reason": "asset B8A is missing"}]
    line = f"search: rejected, asset B8A is missing: {lacking}"
    assert line in (results / "logs/search.log").read_text()
    assert line in run[1]


def test_area_across_a_zone_border_has_a_grid_in_each_zone(results: Path) -> None:
    lock = json.loads((results / "search/index.json").read_text())["lock"]
    assert {tile: grid["epsg"] for tile, grid in lock["tiles"].items()} == {"31TGM": 32631, "32TLS": 32632}
    assert any("lies across UTM zones (EPSG:32631, EPSG:32632)" in message for message in lock["messages"])
    for tile, epsg in (("31TGM", 32631), ("32TLS", 32632)):
        tif = next((results / f"published/truncated_normal/{tile}/2021-06").glob("*/lai_mean.tif"))
        with rasterio.open(tif) as file:
            assert file.crs.to_epsg() == epsg


def test_truncated_file_costs_its_scene_and_nothing_else(results: Path, run: tuple[Checkout, str]) -> None:
    cut = the_item(run[0].folder / "demo-archive", CUT, "32TLS").name
    problem = f"B05: B05.tif of {cut} is truncated or corrupt"
    lines = list(csv.DictReader((results / "masks/32TLS/2021-06.csv").open()))
    assert {line["item"][11:19]: line["problem"] for line in lines} == {CLEAR: "", CUT: problem}
    assert {line["item"][11:19]: float(line["valid_share"]) > 0.5 for line in lines} == {
        CLEAR: True,
        CUT: False,
    }
    assert f"SET ASIDE: {problem}" in (results / "logs/scenes/32TLS/2021-06.log").read_text()
    left_out = json.loads((results / "published/truncated_normal/32TLS/2021-06/provenance.json").read_text())
    assert left_out["left_out"] == [{"id": cut, "reason": problem}]


def test_cloudy_month_is_a_product_like_any_other(results: Path) -> None:
    with xr.open_zarr(
        results / "products/truncated_normal/31TGM/2021-05.zarr", consolidated=False
    ) as product:
        assert product.sizes["time"] == 1
        assert (product["flags"].values == 1).all()
        assert np.isnan(product["lai"].values).all()
    published = results / "published/truncated_normal/31TGM/2021-05"
    assert not list(published.glob("*/*.tif"))
    assert (
        json.loads((published / "provenance.json").read_text())["left_out"][0]["reason"] == "no clear pixel"
    )
    line = next(csv.DictReader((results / "masks/31TGM/2021-05.csv").open()))
    assert (line["cloud_share"], line["valid_share"], line["problem"]) == ("1.000000", "0.000000", "")


def test_plot_outside_every_scene_says_so(results: Path) -> None:
    table = pd.read_parquet(results / "matchups/truncated_normal.parquet")
    outside = table[table["plot_id"].str.startswith("outside")]
    assert len(outside)
    assert set(outside["status"]) == {"outside every scene"}
    assert "ok" in set(table["status"])
    scores = pd.read_csv(results / "comparison/table.csv")
    assert set(scores["source"]) == {"simulations", "maps", "plots"}


def test_field_plots_are_checked_before_the_archive_is_read(run: tuple[Checkout, str]) -> None:
    assert 0 < run[1].index("Checking the field plots") < run[1].index("Fetching scenes")


def the_line(output: str, log: str) -> str:
    """What the run says last: the log of the failed job and its one line."""
    assert "Traceback" not in output
    lines = output.splitlines()
    (place,) = (i for i, line in enumerate(lines) if line.startswith(f"results/bad/logs/{log}: "))
    assert place > next(i for i, line in enumerate(lines) if line.startswith("Exiting because a job"))
    text = lines[place].split(": ", 1)[1]
    # The job itself has printed it as well, when it failed.
    assert any(line.endswith(f" ERROR {text}") for line in lines[:place])
    return text


@pytest.fixture
def refused_port() -> Iterator[int]:
    """A port that is taken and answers nobody."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield int(taken.getsockname()[1])


def changed(checkout: Checkout, folder: Path, old: str, new: str) -> Checkout:
    """A copy whose campaign file says ``new`` where it said ``old``."""
    copy = checkout.copy(folder)
    assert CAMPAIGN.count(old) == 1
    (copy.folder / "mini.yaml").write_text(CAMPAIGN.replace(old, new))
    return copy


def test_catalogue_that_is_down(spoiled: Checkout, tmp_path: Path, refused_port: int) -> None:
    address = f"http://127.0.0.1:{refused_port}"
    copy = changed(spoiled, tmp_path / "copy", "demo-archive/catalog.json", address)
    output = copy.snakemake("--until", "search", fails=True)
    assert the_line(output, "search.log") == (
        f"the catalogue {address} did not answer: {address} does not answer (Connection refused) "
        "(asked 8 times) — check the address, or try again later"
    )
    assert not (copy.folder / "results/bad/search/index.json").exists()


def test_search_that_finds_nothing(spoiled: Checkout, tmp_path: Path) -> None:
    copy = changed(
        spoiled,
        tmp_path / "copy",
        "start: 2021-05-01, end: 2021-06-30",
        "start: 2020-05-01, end: 2020-06-30",
    )
    output = copy.snakemake("--until", "search", fails=True)
    assert the_line(output, "search.log") == (
        "no item found in collection sentinel-2-l2a of demo-archive/catalog.json "
        "from 2020-05-01 to 2020-06-30 in [6.478, 46.711, 6.522, 46.7295] — check period, area and collection"
    )


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        (
            ",unit,",
            ",units,",
            "plot table demo-archive/plots.csv: no column 'unit'; it has plot_id, date, lon, lat, variable, "
            "value, units, uncertainty, crop, land_cover — rename 'units' to 'unit'",
        ),
        (
            "m2 m-2",
            "ug cm-2",
            "unit 'ug cm-2' of lai = ",
        ),
        (
            "ug cm-2",
            "g m-2",
            "(unit given: 'g m-2') cannot be right, it lies outside 0 to 150",
        ),
    ],
    ids=["missing column", "unit of another variable", "unit that cannot be right"],
)
def test_plot_table_that_cannot_be_right_costs_the_scores_and_no_map(
    run: tuple[Checkout, str], tmp_path: Path, old: str, new: str, line: str
) -> None:
    copy = run[0].copy(tmp_path / "copy")
    before = copy.checksums()
    plots = copy.folder / "demo-archive/plots.csv"
    plots.write_text(plots.read_text().replace(old, new))
    output = copy.snakemake(fails=True)
    said = the_line(output, "matchups/plots.log")
    assert said.startswith("plot table demo-archive/plots.csv")
    assert line in said
    assert " — " in said
    after = copy.checksums()
    assert {path for path in before if after.get(path) != before[path]} == {"bad/matchups/plots.parquet"}
