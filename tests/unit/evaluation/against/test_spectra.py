"""Field plots with spectra: the pixels of maps, the posterior of maps, and sites that were not seen."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyproj
import pytest
import xarray as xr
from lessons import labels, uniform_pixels
from synthetic_scenes import scene_store
from untrained import META, untrained_bundle

from canopyflow.evaluation.against.direct import match_model
from canopyflow.evaluation.against.plots import NOT_ESTIMATED, OUTSIDE, match_plots
from canopyflow.evaluation.against.spectra import match_spectra
from canopyflow.inference.maps import MapOptions, infer
from canopyflow.models.baseline import BaselineOptions, Lesson, baseline
from canopyflow.models.bundle import save
from canopyflow.models.simulate import Survey, simulate
from canopyflow.training.baselines import train_baseline
from canopyflow.vocabulary import ANGLES, BANDS, DOUBTED_OFFSET, STATISTICS

TO_LONLAT = pyproj.Transformer.from_crs(32632, 4326, always_xy=True)


def at(row: int, column: int) -> tuple[float, float]:
    """Longitude and latitude of the centre of a pixel of the scene."""
    lon, lat = TO_LONLAT.transform(400_000.0 + 10 * column, 5_200_000.0 - 10 * row)
    return lon, lat


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two acquisitions, 2022-05-01 and 06; the first has clouds in rows 0 to 3, the second a pixel without
    one of its bands at 4, 4, and a doubted offset everywhere."""
    scenes, masks = scene_store(tmp_path_factory.mktemp("stores"))
    with xr.open_zarr(masks, consolidated=False) as store:
        mask = store.load()
    mask["quality"].values[1] = 64
    mask["quality"].attrs = {"flag_masks": [1, 64], "flag_meanings": "cloud doubted_offset"}
    mask.drop_encoding().to_zarr(masks, mode="w", zarr_format=3, consolidated=False)
    return scenes, masks


@pytest.fixture(scope="module")
def plots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rows = [
        ("cloudy", "2022-05-01", at(1, 1), "lai", 2.0),
        ("clear", "2022-05-01", at(6, 2), "lai", 3.0),
        ("between", "2022-05-04", at(6, 3), "gai", 1.0),
        ("chlorophyll", "2022-05-01", at(6, 2), "cab", 40.0),
        ("no band", "2022-05-06", at(4, 4), "lai", 2.0),
        ("far", "2022-05-06", (1.0, 1.0), "lai", 2.0),
    ]
    table = pd.DataFrame(
        [
            (name, day, *place, variable, value, "1" if value < 5 else "ug cm-2")
            for name, day, place, variable, value in rows
        ],
        columns=["plot_id", "date", "lon", "lat", "variable", "value", "unit"],
    )
    path = tmp_path_factory.mktemp("plots") / "plots.csv"
    table.to_csv(path, index=False)
    return path


@pytest.fixture(scope="module")
def spectra(plots: Path, stores: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("matched") / "spectra.parquet"
    match_spectra(plots, [stores], path, bands=BANDS, max_days=2)
    return path


@pytest.fixture(scope="module")
def sl2p(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    splits = {}
    for seed, split in enumerate(("train", "validation")):
        splits[split] = folder / f"{split}.zarr"
        simulate(splits[split], Survey(), n=500, bands=BANDS, platforms=("S2A", "S2B"), seed=seed)
    options = BaselineOptions("sl2p", BANDS, ("S2A", "S2B"), {"cases": 2000, "steps": 40})
    train_baseline(folder / "sl2p", options, {"simulations": splits})
    return folder / "sl2p"


def by_plot(table: Path) -> pd.DataFrame:
    return pd.read_parquet(table).set_index("plot_id")


def test_a_measurement_has_the_pixel_and_the_day_of_the_maps(
    plots: Path, stores: tuple[Path, Path], spectra: Path, tmp_path: Path
) -> None:
    infer(
        untrained_bundle(tmp_path / "seed0"),
        *stores,
        tmp_path / "p.zarr",
        MapOptions(samples=4, device="cpu"),
    )
    match_plots(plots, [tmp_path / "p.zarr"], tmp_path / "maps.parquet", max_days=2, model="nsf")
    found, maps = by_plot(spectra), by_plot(tmp_path / "maps.parquet")
    there = maps["status"] == "ok"
    assert maps.loc[there].index.tolist() == ["between", "clear"]
    # That of the chlorophyll is not mapped, and has a spectrum all the same.
    assert maps.loc["chlorophyll", "status"] == NOT_ESTIMATED and found.loc["chlorophyll", "status"] == "ok"
    others = maps.index != "chlorophyll"
    assert found.loc[others, "status"].to_dict() == maps.loc[others, "status"].to_dict()
    for column in ("item", "tile", "acquired", "days"):
        assert found.loc[there, column].tolist() == maps.loc[there, column].tolist(), column
    assert found.loc["far", "status"] == OUTSIDE
    assert found.loc["between", "item"] == "second" and found.loc["between", "flags"] == DOUBTED_OFFSET
    assert found.loc["clear", "item"] == "first" and found.loc["clear", "flags"] == 0


def test_the_spectrum_is_that_of_the_scene(stores: tuple[Path, Path], spectra: Path) -> None:
    found = by_plot(spectra)
    with xr.open_zarr(stores[0], consolidated=False, mask_and_scale=False) as scenes:
        numbers = scenes["reflectance"].values
    for plot, place in (("clear", (0, 6, 2)), ("between", (1, 6, 3))):
        time, y, x = place
        np.testing.assert_allclose(
            found.loc[plot, list(BANDS)].astype(float), numbers[time, :, y, x] / 1e4, rtol=1e-5
        )
    assert found.loc["clear", list(ANGLES)].tolist() == pytest.approx([40.0, 5.0, 100.0], abs=0.01)
    assert found.loc["clear", "platform"] == "S2A" and found.loc["between", "platform"] == "S2B"
    assert found.loc[["cloudy", "no band", "far"], [*BANDS, *ANGLES]].isna().all(None)


def test_without_a_map_the_posterior_is_that_of_the_map(
    plots: Path, stores: tuple[Path, Path], spectra: Path, sl2p: Path, tmp_path: Path
) -> None:
    options = MapOptions(samples=4000, outputs=("lai", "gai", "cab"), statistics=STATISTICS, device="cpu")
    infer(sl2p, *stores, tmp_path / "p.zarr", options)
    match_plots(plots, [tmp_path / "p.zarr"], tmp_path / "maps.parquet", max_days=2, model="sl2p")
    match_model(spectra, sl2p, tmp_path / "direct.parquet", model="sl2p", samples=4000, seed=0)
    maps, direct = by_plot(tmp_path / "maps.parquet"), by_plot(tmp_path / "direct.parquet")
    assert set(direct.columns) - {"site"} == set(maps.columns) - {"site"}
    assert direct["status"].to_dict() == maps["status"].to_dict()
    assert direct.loc["chlorophyll", "status"] == NOT_ESTIMATED
    assert direct.loc["chlorophyll", [*STATISTICS, "fit", "flags", "item", "days"]].isna().all()
    ok = direct["status"] == "ok"
    spread = maps.loc[ok, "std"].to_numpy()[:, None]
    error = (direct.loc[ok, list(STATISTICS)] - maps.loc[ok, list(STATISTICS)]).to_numpy() / spread
    assert ok.sum() == 2 and (np.abs(error) < 0.2).all()
    assert direct.loc[ok, "flags"].tolist() == maps.loc[ok, "flags"].tolist()
    assert direct.loc[ok, "fit"].isna().all() and maps.loc[ok, "fit"].isna().all()


def test_a_plot_is_never_predicted_by_what_has_seen_its_site(spectra: Path, tmp_path: Path) -> None:
    """Labels of one site are absurd; its own prediction does not know them, that of the others does."""
    seen = uniform_pixels(90, BANDS)
    right = 6 * seen.reflectance[:, BANDS.index("B08")]
    names = [("around clear", "b", "c")[i % 3] for i in range(90)]

    def bundle(folder: Path, factor: float) -> Path:
        made = baseline(BaselineOptions("gpr", BANDS, ("S2A", "S2B"), {"steps": 10}))
        value = right.clone()
        value[[name == "around clear" for name in names]] *= factor
        made.learn(Lesson({}, labels(seen, {"lai": value, "gai": value}, names)))
        meta = {k: v for k, v in META.items() if k != "fit_threshold"}
        save(made, folder, meta | made.meta)
        return folder

    table = pd.read_parquet(spectra)
    table["site"] = ["around clear" if plot == "clear" else "elsewhere" for plot in table["plot_id"]]
    table.to_parquet(tmp_path / "spectra.parquet")
    rows = {}
    for factor in (1.0, 3.0):
        out = tmp_path / f"{factor}.parquet"
        match_model(
            tmp_path / "spectra.parquet",
            bundle(tmp_path / str(factor), factor),
            out,
            model="gpr",
            samples=50,
            seed=0,
        )
        rows[factor] = by_plot(out)["mean"]
    assert rows[1.0]["clear"] == rows[3.0]["clear"]
    assert rows[1.0]["between"] != rows[3.0]["between"]
