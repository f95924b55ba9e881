"""Inference: summaries against exact answers, maps of small scenes, tables and their traps."""

import hashlib
import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr

from canopyflow.errors import ConfigError, DataError
from canopyflow.inference import maps
from canopyflow.inference.maps import infer
from canopyflow.inference.summaries import _statistics, summarise
from canopyflow.inference.tables import check_pixels, predict_table
from canopyflow.models import load
from canopyflow.models.bundle import save
from canopyflow.models.retrieval import ModelOptions, RetrievalModel
from canopyflow.physics import VARIABLES, Prosail
from canopyflow.physics.noise import NoiseModel
from canopyflow.samplers import importance
from canopyflow.training.data import Survey, draw, generator, reflectance_range, simulate_table
from canopyflow.vocabulary import ANGLES, OUTPUTS, STATISTICS, UNREFINED

BANDS = ("B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12")
NAMES = [v.name for v in VARIABLES]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    options = ModelOptions("nsf", BANDS, ("S2A", "S2B"), encoder_options={"width": 16, "blocks": 1})
    model = RetrievalModel(options)
    folder = tmp_path_factory.mktemp("models") / "seed0"
    geometry = {"lower": [20.0, 0.0, 0.0], "upper": [65.0, 12.0, 180.0]}
    about = {"angle_range": geometry, "fit_threshold": 3.0, "training": {}, "data": {}, "code": {}, "seed": 0}
    save(model, folder, {"reflectance_range": {"lower": [-0.05] * 10, "upper": [0.9] * 10}, **about})
    return folder


def pixels(model: RetrievalModel, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Noisy reflectance and angles of n prior draws seen by S2A."""
    g = torch.Generator().manual_seed(1)
    angles = torch.tensor([40.0, 5.0, 100.0]).expand(n, 3)
    x = model.noise.sample(model.decode(model.prior.sample(n, g), angles, "S2A"), g)
    return x.numpy(), angles.numpy().copy()


def test_statistics_agree_with_numpy() -> None:
    draws = np.random.default_rng(0).gamma(2.0, size=(5, 3, 101)).astype(np.float32)
    stats = _statistics(draws)
    assert stats.shape == (5, 3, len(STATISTICS)) and STATISTICS[:3] == ("mean", "std", "q05")
    np.testing.assert_allclose(stats[..., 0], draws.mean(-1), rtol=1e-5)
    np.testing.assert_allclose(stats[..., 1], draws.std(-1), rtol=1e-5)
    for column, p in enumerate((0.05, 0.25, 0.5, 0.75, 0.95), start=2):
        np.testing.assert_allclose(
            stats[..., column], np.quantile(draws, p, axis=-1, method="weibull"), rtol=1e-5
        )


def test_intervals_of_a_perfect_posterior_cover_what_they_say() -> None:
    """Truth and a hundred draws of one law: 90 % of truths lie from q05 to q95, half from q25 to q75."""
    rng = np.random.default_rng(0)
    inside = {("q05", "q95"): 0, ("q25", "q75"): 0}
    for _ in range(40):
        stats = _statistics(rng.normal(size=(2500, 1, 100)).astype(np.float32))[:, 0]
        truth = rng.normal(size=2500)
        for low, high in inside:
            lower, upper = (stats[:, STATISTICS.index(name)] for name in (low, high))
            inside[low, high] += int(((truth >= lower) & (truth <= upper)).sum())
    assert abs(inside["q05", "q95"] / 100_000 - 0.9) < 0.005
    assert abs(inside["q25", "q75"] / 100_000 - 0.5) < 0.01


def test_quantiles_of_few_draws_are_their_extremes() -> None:
    stats = _statistics(np.arange(5, dtype=np.float32).reshape(1, 1, 5))[0, 0]
    assert [stats[STATISTICS.index(name)] for name in ("q05", "q50", "q95")] == [0, 2, 4]


def test_summary_is_that_of_joint_draws(bundle: Path) -> None:
    """ccc comes from joint draws: its mean is that of lai*cab draw by draw, not of the product of means."""
    model = load(bundle)
    x, angles = pixels(model, 6)
    summary = summarise(model, x, angles, "S2A", samples=400, seed=3)
    assert summary.stats.shape == (6, 9, 7) and summary.fit.shape == (6,) and summary.flags.dtype == np.uint8
    torch.manual_seed(9)
    z = model.posterior(torch.from_numpy(x), torch.from_numpy(angles), "S2A").rsample((20000,))
    ccc = (z[..., NAMES.index("lai")] * z[..., NAMES.index("cab")]).mean(0).numpy()
    spread = summary.stats[:, OUTPUTS.index("ccc"), 1] / np.sqrt(400)
    assert (np.abs(summary.stats[:, OUTPUTS.index("ccc"), 0] - ccc) < 5 * spread).all()
    assert (np.diff(summary.stats[..., 2:], axis=-1) >= 0).all()


def test_summaries_are_reproducible_and_leave_the_global_generator_alone(bundle: Path) -> None:
    model = load(bundle)
    x, angles = pixels(model, 40)
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    one = summarise(model, x, angles, "S2A", samples=16, seed=3)
    assert torch.equal(before, torch.random.get_rng_state())
    two = summarise(model, x, angles, np.zeros(40, np.int64), samples=16, seed=3)
    assert np.array_equal(one.stats, two.stats) and np.array_equal(one.fit, two.fit)
    other = summarise(model, x, angles, "S2A", samples=16, seed=4)
    assert not np.array_equal(one.stats, other.stats)


def test_flags_tell_foreign_spectra(bundle: Path) -> None:
    model = load(bundle)
    x, angles = pixels(model, 3)
    x[1] = [0.9, 0.02, 0.9, 0.02, 0.9, 0.02, 0.9, 0.02, 0.9, 0.02]
    x[2, 8] = 0.95
    summary = summarise(model, np.clip(x, 1e-4, 1), angles, "S2A", samples=16)
    assert summary.fit[1] > 3 and summary.flags[1] & 2
    assert summary.flags[0] & 4 == 0 and summary.flags[2] & 4
    with pytest.raises(ConfigError, match="did you mean 'ccc'"):
        summarise(model, x, angles, "S2A", outputs=["cccc"])


def test_own_simulations_are_inside_the_physics(bundle: Path) -> None:
    """Noise goes below zero, and so do the stored bounds."""
    model = load(bundle)
    survey = Survey(BANDS, ("S2A", "S2B"), "prospect-d", "atbd", (20.0, 65.0), (0.0, 12.0))
    drawn = draw(survey, 2000, 0)
    x = drawn.observe(model.noise, generator("noise", 0))
    model.meta = model.meta | {"reflectance_range": reflectance_range(x)}
    other = drawn.observe(model.noise, generator("noise", 1)).numpy()
    assert (other < 0).any(1).mean() > 0.02
    summary = summarise(model, other, drawn.angles.numpy(), drawn.platform.numpy(), samples=8)
    assert ((summary.flags & 4) > 0).mean() < 0.003
    for value in (-0.1, 1.1):
        other[:, 3] = value
        flags = summarise(model, other[:9], drawn.angles[:9].numpy(), "S2A", samples=8).flags
        assert (flags & 4 > 0).all()


def test_a_geometry_outside_the_simulations_is_out_of_domain(bundle: Path) -> None:
    model = load(bundle)
    model.meta = model.meta | {"fit_threshold": 1e9}
    x, _ = pixels(model, 7)
    angles = np.array(
        [[40, 5, 90], [65.9, 5, 90], [66.1, 5, 90], [18.9, 5, 90], [40, 12.9, 90], [40, 13.1, 90], [40, 0, 0]]
    )
    flags = summarise(model, x, angles, "S2A", samples=8).flags
    assert ((flags & 2) > 0).tolist() == [False, False, True, True, False, True, False]


# ---------------------------------------------------------------- maps


def scene_store(folder: Path, bundle: Path, rows: int = 9, columns: int = 7) -> tuple[Path, Path]:
    """Two acquisitions on a small grid, as the scene and mask contracts say."""
    model = load(bundle)
    x, _ = pixels(model, 2 * rows * columns)
    counts = np.clip(np.round(x * 1e4), 1, 1e4).astype(np.uint16)
    reflectance = np.moveaxis(counts.reshape(2, rows, columns, 10), -1, 1).copy()
    reflectance[1, 2, 4, 4] = 0
    y, xs = 5_200_000.0 - 10 * np.arange(rows), 400_000.0 + 10 * np.arange(columns)
    coarse = (2, 2, 2)
    angle = {"sun_zenith": 40.0, "sun_azimuth": 150.0, "view_zenith": 5.0, "view_azimuth": 250.0}
    store = xr.Dataset(
        {
            "reflectance": (("time", "band", "y", "x"), reflectance, {"scale_factor": 1e-4, "_FillValue": 0}),
            "scl": (("time", "y", "x"), np.full((2, rows, columns), 4, np.uint8)),
            **{k: (("time", "y_angle", "x_angle"), np.full(coarse, v, np.float32)) for k, v in angle.items()},
            "angles_source": (("time",), np.array(["granule"] * 2, dtype=object)),
        },
        coords={
            "time": np.array(["2022-05-01T10:30", "2022-05-06T10:30"], "datetime64[ns]"),
            "band": np.array(BANDS, dtype=object),
            "y": y,
            "x": xs,
            "y_angle": [y[0] + 1000, y[-1] - 1000],
            "x_angle": [xs[0] - 1000, xs[-1] + 1000],
            "item": ("time", np.array(["first", "second"], dtype=object)),
            "platform": ("time", np.array(["S2A", "S2B"], dtype=object)),
        },
        attrs={
            "tile": "32TMT",
            "month": "2022-05",
            "epsg": 32632,
            "transform": [10, 0, xs[0] - 5, 0, -10, y[0] + 5],
        },
    )
    valid = np.ones((2, rows, columns), bool)
    valid[0, :4] = False
    masks = xr.Dataset(
        {"valid": (("time", "y", "x"), valid), "quality": (("time", "y", "x"), (~valid).astype(np.uint8))}
    )
    store.to_zarr(folder / "scenes.zarr", mode="w", zarr_format=3, consolidated=False)
    masks.to_zarr(folder / "masks.zarr", mode="w", zarr_format=3, consolidated=False)
    return folder / "scenes.zarr", folder / "masks.zarr"


def test_a_map_is_the_same_for_any_number_of_workers(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scenes, masks = scene_store(tmp_path, bundle, rows=140)
    threads = torch.get_num_threads()
    for workers in (1, 2):
        infer(bundle, scenes, masks, tmp_path / f"{workers}.zarr", samples=8, workers=workers, device="cpu")
    assert torch.get_num_threads() == threads
    one, two = (xr.open_zarr(tmp_path / f"{w}.zarr", consolidated=False) for w in (1, 2))
    xr.testing.assert_identical(one.load(), two.load())
    assert (tmp_path / "1.zarr" / "zarr.json").read_bytes() == (
        tmp_path / "2.zarr" / "zarr.json"
    ).read_bytes()


def test_a_map_follows_the_product_contract(bundle: Path, tmp_path: Path) -> None:
    scenes, masks = scene_store(tmp_path, bundle)
    infer(bundle, scenes, masks, tmp_path / "product.zarr", samples=8, outputs=["lai", "ccc"], device="cpu")
    with xr.open_zarr(tmp_path / "product.zarr", consolidated=False) as product:
        product.load()
    assert product["lai"].dims == ("time", "statistic", "y", "x") and product["lai"].dtype == np.float32
    assert product["statistic"].values.tolist() == list(STATISTICS)
    assert product["item"].values.tolist() == ["first", "second"]
    assert set(product.data_vars) == {"lai", "ccc", "fit", "flags"}
    assert (
        product.attrs["tile"] == "32TMT"
        and product.attrs["samples"] == 8
        and product.attrs["family"] == "nsf"
    )
    masked = (product["flags"].values & 1).astype(bool)
    assert masked[0, :4].all() and not masked[0, 4:].any()
    assert masked[1, 4, 4] and masked[1].sum() == 1  # no data in one band
    assert np.array_equal(np.isnan(product["fit"].values), masked)
    assert np.array_equal(np.isnan(product["lai"].values).all(1), masked)
    assert product["lai"].attrs["units"] == "m2 m-2"


def test_a_refined_map_says_how_far_to_believe_it(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scenes, masks = scene_store(tmp_path, bundle)
    wanted: dict[str, Any] = {"refine": "importance", "proposals": 200, "least_ess": 2.0}

    def product(name: str, **options: Any) -> xr.Dataset:
        infer(bundle, scenes, masks, tmp_path / name, samples=20, outputs=["lai"], device="cpu", **options)
        with xr.open_zarr(tmp_path / name, consolidated=False) as store:
            return store.load()

    plain, heavy = product("plain"), product("heavy", **wanted)
    masked = (plain["flags"].values & 1).astype(bool)
    # The bundle is untrained: the tails of all its weights are to be feared.
    assert ((heavy["flags"].values & UNREFINED != 0) == ~masked).all()
    monkeypatch.setattr(importance, "LARGEST_K", np.inf)
    refined = product("refined", **wanted)
    ess = refined["ess"].values
    assert np.array_equal(np.isnan(ess), masked)
    assert 1 <= np.nanmin(ess) < 2 < np.nanmax(ess) < 200
    assert np.array_equal(refined["flags"].values & UNREFINED != 0, ess < 2)
    assert refined["flags"].attrs["flag_meanings"].split()[3] == "unrefined"
    # Refined draws fit the observation better than those of an untrained family.
    assert "ess" not in plain
    assert np.nanmean(refined["fit"]) < 0.7 * np.nanmean(plain["fit"])


@pytest.mark.parametrize("acquisitions", [2, 0])
def test_a_month_without_a_clear_pixel_is_masked_as_a_whole(
    bundle: Path, tmp_path: Path, acquisitions: int
) -> None:
    scenes, masks = scene_store(tmp_path, bundle)
    with xr.open_zarr(scenes, consolidated=False, mask_and_scale=False) as store:
        part = store.isel(time=slice(0, acquisitions)).load().drop_encoding()
        part.to_zarr(tmp_path / "s.zarr", zarr_format=3, consolidated=False)
    with xr.open_zarr(masks, consolidated=False) as store:
        part = xr.zeros_like(store.isel(time=slice(0, acquisitions)).load()).drop_encoding()
        part.to_zarr(tmp_path / "m.zarr", zarr_format=3, consolidated=False)
    infer(bundle, tmp_path / "s.zarr", tmp_path / "m.zarr", tmp_path / "p.zarr", samples=8, device="cpu")
    with xr.open_zarr(tmp_path / "p.zarr", consolidated=False) as product:
        assert product["lai"].shape == (acquisitions, 7, 9, 7)
        assert np.isnan(product["lai"].values).all() and np.isnan(product["fit"].values).all()
        assert (product["flags"].values == 1).all()


def test_another_acquisition_changes_no_map_of_the_first(bundle: Path, tmp_path: Path) -> None:
    scenes, masks = scene_store(tmp_path, bundle)
    infer(bundle, scenes, masks, tmp_path / "both.zarr", samples=8, device="cpu")
    for name, path in (("scenes", scenes), ("masks", masks)):
        with xr.open_zarr(path, consolidated=False, mask_and_scale=False) as store:
            part = store.isel(time=[1]).load().drop_encoding()
            part.to_zarr(tmp_path / f"{name}1.zarr", zarr_format=3, consolidated=False)
    infer(bundle, tmp_path / "scenes1.zarr", tmp_path / "masks1.zarr", tmp_path / "one.zarr", samples=8)
    both, one = (xr.open_zarr(tmp_path / f"{n}.zarr", consolidated=False) for n in ("both", "one"))
    xr.testing.assert_equal(both.isel(time=[1]).load(), one.load())


def test_scenes_that_do_not_fit_the_model_are_refused(bundle: Path, tmp_path: Path) -> None:
    scenes, masks = scene_store(tmp_path, bundle)
    with xr.open_zarr(scenes, consolidated=False, mask_and_scale=False) as store:
        whole = store.load().drop_encoding()
    whole.isel(band=slice(0, 9)).to_zarr(tmp_path / "bands.zarr", zarr_format=3, consolidated=False)
    whole.assign_coords(platform=("time", np.array(["S2A", "S2C"], dtype=object))).to_zarr(
        tmp_path / "platform.zarr", zarr_format=3, consolidated=False
    )
    for name, message in (("bands", "lack band B12"), ("platform", "scene second is of platform S2C")):
        with pytest.raises(DataError, match=message):
            infer(bundle, tmp_path / f"{name}.zarr", masks, tmp_path / "out.zarr")
    assert not (tmp_path / "out.zarr").exists()


def test_a_task_that_fails_leaves_no_product(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scenes, masks = scene_store(tmp_path, bundle)

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(maps, "summarise", broken)
    with pytest.raises(RuntimeError, match="out of memory"):
        infer(bundle, scenes, masks, tmp_path / "out.zarr", samples=8)
    assert not (tmp_path / "out.zarr").exists()


def test_worker_processes_can_import_the_script_of_the_rule() -> None:
    """Each worker runs the calling script under this name; there is no ``snakemake`` in there."""
    script = Path(__file__).resolve().parents[3] / "scripts" / "infer.py"
    assert "infer" in runpy.run_path(str(script), run_name="__mp_main__")


# ---------------------------------------------------------------- tables


def table(bundle: Path, n: int = 6) -> pd.DataFrame:
    x, angles = pixels(load(bundle), n)
    frame = pd.DataFrame(np.clip(x, 1e-4, 1), columns=list(BANDS))
    frame[list(ANGLES)] = angles
    frame["id"] = [f"p{i}" for i in range(n)]
    frame["platform"] = ["S2A", "S2B"] * (n // 2)
    return frame


def predicted(folder: Path, bundle: Path, frame: pd.DataFrame, out: str = "out.csv") -> pd.DataFrame:
    frame.to_csv(folder / "in.csv", index=False)
    predict_table(folder / "in.csv", bundle, folder / out, samples=16)
    return pd.read_parquet(folder / out) if out.endswith("parquet") else pd.read_csv(folder / out)


def test_predict_writes_the_promised_columns(bundle: Path, tmp_path: Path) -> None:
    result = predicted(tmp_path, bundle, table(bundle))
    expected = [f"{v}_{s}" for v in OUTPUTS for s in STATISTICS]
    assert list(result.columns) == ["id", *expected, "fit", "flags"]
    assert result["id"].tolist() == [f"p{i}" for i in range(6)] and result.notna().all().all()
    first = hashlib.sha256((tmp_path / "out.csv").read_bytes()).hexdigest()
    table(bundle).to_parquet(tmp_path / "in.parquet")
    predict_table(tmp_path / "in.parquet", bundle, tmp_path / "again.csv", samples=16)
    assert hashlib.sha256((tmp_path / "again.csv").read_bytes()).hexdigest() != ""
    again = pd.read_csv(tmp_path / "again.csv")
    np.testing.assert_allclose(result["lai_mean"], again["lai_mean"], rtol=1e-4)
    predicted(tmp_path, bundle, table(bundle))
    assert hashlib.sha256((tmp_path / "out.csv").read_bytes()).hexdigest() == first
    assert len(predicted(tmp_path, bundle, table(bundle), "out.parquet")) == 6


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.drop(columns="B11"), "no band 'B11'"),
        (lambda t: t.drop(columns="view_zenith"), "no angle 'view_zenith'"),
        (lambda t: t.drop(columns="id"), "no column 'id'"),
        (lambda t: t.assign(B08=t["B08"] * 1e4), "B08 is .* digital numbers"),
        (lambda t: t.assign(platform="S2X"), "platform 'S2X'"),
        (lambda t: t.assign(id="same"), "id 'same' occurs more than once"),
        (lambda t: t.assign(sun_zenith=120.0), "sun_zenith is 120"),
        (lambda t: t.assign(B04="dark"), "column 'B04' holds text"),
        (lambda t: t.iloc[:0], "no rows"),
    ],
)
def test_a_table_that_cannot_be_right_is_refused(
    change: object, message: str, bundle: Path, tmp_path: Path
) -> None:
    assert callable(change)
    with pytest.raises(DataError, match=message):
        predicted(tmp_path, bundle, change(table(bundle)))
    assert not (tmp_path / "out.csv").exists()


def test_rows_with_a_hole_come_out_empty_and_flagged(bundle: Path, tmp_path: Path) -> None:
    frame = table(bundle)
    frame.loc[2, "B05"] = np.nan
    frame.loc[3, "sun_zenith"] = np.nan
    result = predicted(tmp_path, bundle, frame)
    assert result["flags"].tolist()[2:4] == [1, 1] and result["lai_mean"].isna().tolist()[2:4] == [True, True]
    assert result["lai_mean"].notna().sum() == 4


@pytest.mark.parametrize("value", [-9999.0, -0.25])
def test_fill_values_are_missing_numbers(
    value: float, bundle: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    frame = table(bundle)
    clean = predicted(tmp_path, bundle, frame)
    assert not caplog.text
    frame.loc[[1, 4], "B05"] = value
    result = predicted(tmp_path, bundle, frame)
    assert result["flags"].tolist()[1] == result["flags"].tolist()[4] == 1
    assert result["lai_mean"].isna().tolist() == [False, True, False, False, True, False]
    assert result["lai_mean"][0] != 0 and np.isfinite(result["fit"][0]) and clean["fit"].notna().all()
    assert "fill-value" in caplog.text and "2 rows hold a reflectance below -0.2" in caplog.text


def simulated(folder: Path, n: int, prior: str = "atbd") -> pd.DataFrame:
    simulate_table(folder / "simulated.parquet", n=n, sensor="S2A", seed=5, prior_name=prior)
    return pd.read_parquet(folder / "simulated.parquet")


def bare_soils(n: int) -> pd.DataFrame:
    """Noisy spectra of the brightest soils under next to no leaves."""
    drawn = draw(Survey(BANDS, ("S2A",), "prospect-d", "atbd", (20.0, 65.0), (0.0, 12.0)), n, 6)
    assert drawn.variables is not None
    z = drawn.variables.clone()
    soil = z[:, NAMES.index("rsoil")]
    z[:, NAMES.index("rsoil")] = soil + 0.6 * (soil.max() - soil)
    z[:, NAMES.index("lai")] *= 0.05
    clean = Prosail(sensor=("S2A",), bands=BANDS)(z, drawn.angles, platform=drawn.platform)
    frame = pd.DataFrame(NoiseModel().sample(clean, generator("soil")).numpy(), columns=list(BANDS))
    frame[list(ANGLES)] = drawn.angles.numpy()
    return frame.assign(id=[f"b{i}" for i in range(n)], platform="S2A")


@pytest.mark.parametrize("rows", [200, 3000])
def test_a_residual_offset_is_named(
    rows: int, bundle: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The table is noisy: some of its rows fall below any floor."""
    frame = simulated(tmp_path, rows)
    model = load(bundle)
    assert not check_pixels(frame, model, "clean")
    shifted = frame.copy()
    shifted[list(BANDS)] += 0.1
    assert shifted[["B02", "B03", "B04"]].to_numpy().min() < 0.09
    (warning,) = check_pixels(shifted, model, "shifted")
    assert warning.startswith("residual-offset: shifted: ") and f" of {rows} rows" in warning
    half = frame.copy()
    half.loc[: rows // 2 - 1, list(BANDS)] += 0.1
    (warning,) = check_pixels(half, model, "half")
    named = int(warning.split(": ")[2].split(" of ")[0])
    assert warning.startswith("residual-offset") and 0.1 * rows < named < 0.55 * rows
    if rows == 200:
        predicted(tmp_path, bundle, shifted)
        assert "residual-offset" in caplog.text


@pytest.mark.parametrize("prior", ["atbd", "prosail-vae", "uniform"])
def test_clean_tables_have_no_residual_offset(prior: str, bundle: Path, tmp_path: Path) -> None:
    model, frame = load(bundle), simulated(tmp_path, 2000, prior)
    assert not check_pixels(frame, model, "whole")
    for start in range(0, 2000, 10):
        assert not check_pixels(frame.iloc[start : start + 10], model, "a few"), start
    bare = bare_soils(1000)
    assert bare["B04"].median() > 0.2
    assert not check_pixels(bare, model, "bare")
    assert not check_pixels(pd.concat([bare, simulated(tmp_path, 500, prior)]), model, "mixed")


def test_angles_the_model_was_not_trained_for_are_named(bundle: Path) -> None:
    frame, model = table(bundle), load(bundle)
    assert not check_pixels(frame, model, "t")
    frame.loc[[0, 3], "sun_zenith"] = 75.0
    (warning,) = check_pixels(frame, model, "t")
    assert warning.startswith("outside-geometry: t: 2 of 6 rows") and "sun_zenith 20 to 65" in warning
    frame[list(ANGLES)] = np.deg2rad(table(bundle)[list(ANGLES)])
    (warning,) = check_pixels(frame, model, "t")
    assert warning.startswith("radians: t: ")


def test_relative_azimuth_is_folded(bundle: Path, tmp_path: Path) -> None:
    frame = table(bundle)
    straight = predicted(tmp_path, bundle, frame)
    turned = predicted(tmp_path, bundle, frame.assign(relative_azimuth=360 - frame["relative_azimuth"]))
    pd.testing.assert_frame_equal(straight, turned)
