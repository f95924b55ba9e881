"""Pixels in a table, posterior out: the promised columns, and the traps of tables."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from untrained import prior_pixels, untrained, untrained_bundle

from canopyflow.errors import DataError
from canopyflow.inference.tables import TableOptions, check_pixels, predict_table
from canopyflow.models import load
from canopyflow.models.runtime import generator
from canopyflow.models.simulate import Survey, draw, simulate_table
from canopyflow.vocabulary import ANGLES, BANDS, MASKED, NAMES, STATISTICS

FEW = TableOptions(samples=16)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return untrained_bundle(tmp_path_factory.mktemp("models") / "seed0")


def table(n: int = 6) -> pd.DataFrame:
    seen = prior_pixels(untrained(), n)
    frame = pd.DataFrame(np.clip(seen.reflectance.numpy(), 1e-4, 1), columns=list(BANDS))
    frame[list(ANGLES)] = seen.geometry.numpy()
    frame["id"] = [f"p{i}" for i in range(n)]
    frame["platform"] = ["S2A", "S2B"] * (n // 2)
    return frame


def predicted(folder: Path, bundle: Path, frame: pd.DataFrame, out: str = "out.csv") -> pd.DataFrame:
    frame.to_csv(folder / "in.csv", index=False)
    predict_table(folder / "in.csv", bundle, folder / out, FEW)
    return pd.read_parquet(folder / out) if out.endswith("parquet") else pd.read_csv(folder / out)


def test_predict_writes_the_promised_columns(bundle: Path, tmp_path: Path) -> None:
    result = predicted(tmp_path, bundle, table())
    variables = ["N", "cab", "car", "cw", "cm", "lai", "lidfa", "gai", "ccc", "cwc", "fapar", "fcover"]
    expected = [f"{v}_{s}" for v in variables for s in STATISTICS]
    assert list(result.columns) == ["id", *expected, "fit", "flags"]
    assert result["id"].tolist() == [f"p{i}" for i in range(6)] and result.notna().all().all()
    first = (tmp_path / "out.csv").read_bytes()
    table().to_parquet(tmp_path / "in.parquet")
    predict_table(tmp_path / "in.parquet", bundle, tmp_path / "again.csv", FEW)
    again = pd.read_csv(tmp_path / "again.csv")
    np.testing.assert_allclose(result["lai_mean"], again["lai_mean"], rtol=1e-4)
    predicted(tmp_path, bundle, table())
    assert (tmp_path / "out.csv").read_bytes() == first
    assert len(predicted(tmp_path, bundle, table(), "out.parquet")) == 6


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
        predicted(tmp_path, bundle, change(table()))
    assert not (tmp_path / "out.csv").exists()


def test_rows_with_a_hole_come_out_empty_and_flagged(bundle: Path, tmp_path: Path) -> None:
    frame = table()
    frame.loc[2, "B05"] = np.nan
    frame.loc[3, "sun_zenith"] = np.nan
    result = predicted(tmp_path, bundle, frame)
    assert result["flags"].tolist()[2:4] == [1, 1] and result["lai_mean"].isna().tolist()[2:4] == [True, True]
    assert result["lai_mean"].notna().sum() == 4


@pytest.mark.parametrize("value", [-9999.0, -0.25])
def test_fill_values_are_missing_numbers(
    value: float, bundle: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    frame = table()
    clean = predicted(tmp_path, bundle, frame)
    assert not caplog.text
    frame.loc[[1, 4], "B05"] = value
    result = predicted(tmp_path, bundle, frame)
    assert result["flags"].tolist()[1] == result["flags"].tolist()[4] == 1
    assert result["lai_mean"].isna().tolist() == [False, True, False, False, True, False]
    assert result["lai_mean"][0] != 0 and np.isfinite(result["fit"][0]) and clean["fit"].notna().all()
    assert "fill-value" in caplog.text and "2 rows hold a reflectance below -0.2" in caplog.text


def simulated(folder: Path, n: int, prior: str = "atbd") -> pd.DataFrame:
    simulate_table(folder / "simulated.parquet", n=n, sensor="S2A", seed=5, prior=prior)
    return pd.read_parquet(folder / "simulated.parquet")


def bare_soils(n: int) -> pd.DataFrame:
    """Noisy spectra of the brightest soils under next to no leaves."""
    model = untrained(platforms=("S2A",)).generative
    drawn = draw(model, Survey(), n, 6)
    assert drawn.truth is not None
    z = drawn.truth.clone()
    soil = z[:, NAMES.index("rsoil")]
    z[:, NAMES.index("rsoil")] = soil + 0.6 * (soil.max() - soil)
    z[:, NAMES.index("lai")] *= 0.05
    seen = model.observe(model.render(z, drawn.seen), generator("soil"))
    frame = pd.DataFrame(seen.reflectance.numpy(), columns=list(BANDS))
    frame[list(ANGLES)] = seen.geometry.numpy()
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
    frame, model = table(), load(bundle)
    assert not check_pixels(frame, model, "t")
    frame.loc[[0, 3], "sun_zenith"] = 75.0
    (warning,) = check_pixels(frame, model, "t")
    assert warning.startswith("outside-geometry: t: 2 of 6 rows") and "sun_zenith 20 to 65" in warning
    frame[list(ANGLES)] = np.deg2rad(table()[list(ANGLES)])
    with pytest.raises(DataError, match=r"^radians: t: .*degrees"):
        check_pixels(frame, model, "t")


def test_relative_azimuth_is_folded(bundle: Path, tmp_path: Path) -> None:
    frame = table()
    straight = predicted(tmp_path, bundle, frame)
    turned = predicted(tmp_path, bundle, frame.assign(relative_azimuth=360 - frame["relative_azimuth"]))
    pd.testing.assert_frame_equal(straight, turned)


def test_columns_are_taken_by_name(bundle: Path, tmp_path: Path) -> None:
    """In whatever order they stand, with further ones between them."""
    frame = table()
    mixed = frame[frame.columns[::-1]]
    mixed.insert(3, "B01", 0.5)
    pd.testing.assert_frame_equal(predicted(tmp_path, bundle, frame), predicted(tmp_path, bundle, mixed))


def test_every_row_is_read_as_its_platform_saw_it(bundle: Path, tmp_path: Path) -> None:
    frame = table()
    first, second = (predicted(tmp_path, bundle, frame.assign(platform=name)) for name in ("S2A", "S2B"))
    assert (first["lai_mean"] != second["lai_mean"]).all() and (first["fit"] != second["fit"]).all()
    mixed = predicted(tmp_path, bundle, frame)
    pd.testing.assert_frame_equal(mixed[::2], first[::2])
    pd.testing.assert_frame_equal(mixed[1::2], second[1::2])


def test_a_refined_table_has_effective_sizes(bundle: Path, tmp_path: Path) -> None:
    frame = table()
    frame.loc[2, "B05"] = np.nan
    frame.to_csv(tmp_path / "in.csv", index=False)
    options = TableOptions(samples=16, refine="importance", proposals=200)
    predict_table(tmp_path / "in.csv", bundle, tmp_path / "out.csv", options)
    result = pd.read_csv(tmp_path / "out.csv")
    assert list(result.columns[-3:]) == ["ess", "fit", "flags"]
    assert result["ess"].isna().tolist() == [i == 2 for i in range(6)]
    assert result["ess"].dropna().between(1, 200).all() and result["flags"][2] == MASKED
