"""Pixels in a table, posterior out: the promised columns, and the traps of tables."""

import logging
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from untrained import SMALL, prior_pixels, untrained, untrained_bundle

from canopyflow.errors import DataError
from canopyflow.inference import tables
from canopyflow.inference.summaries import Wanted, summarise
from canopyflow.inference.tables import TableOptions, check_pixels, predict, predict_table
from canopyflow.models import load
from canopyflow.models.estimators.contract import Estimator
from canopyflow.models.runtime import generator
from canopyflow.models.simulate import Survey, draw, simulate_table
from canopyflow.observations.observation import pixels
from canopyflow.seeds import seed_of
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


def test_a_table_says_what_its_model_says(bundle: Path, tmp_path: Path) -> None:
    frame, model = table(), load(bundle)
    found = predicted(tmp_path, bundle, frame)
    names = list(dict.fromkeys(column.rsplit("_", 1)[0] for column in found.columns[1:-2]))
    seen = pixels(
        torch.from_numpy(frame[list(BANDS)].to_numpy(np.float32)),
        torch.from_numpy(frame[list(ANGLES)].to_numpy(np.float32)),
        torch.tensor([0, 1] * 3),
        BANDS,
    )
    wanted = Wanted(names, samples=FEW.samples)
    expected = summarise(model, seen, wanted, seed_of(FEW.seed, 0))
    stats = found[[f"{name}_{statistic}" for name in names for statistic in STATISTICS]].to_numpy()
    np.testing.assert_allclose(stats.reshape(6, len(names), -1), expected.stats, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found["fit"], expected.fit, rtol=1e-4)
    assert found["flags"].tolist() == expected.flags.tolist()


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


def test_a_table_of_which_no_row_can_be_used_is_refused(bundle: Path, tmp_path: Path) -> None:
    frame = table()
    frame["B03"] = np.nan
    with pytest.raises(DataError, match=r"no row can be used: missing-number.*6 rows lack a number"):
        predicted(tmp_path, bundle, frame)
    assert not (tmp_path / "out.csv").exists()


@pytest.mark.parametrize("value", [-9999.0, -0.25])
def test_fill_values_are_missing_numbers(
    value: float, bundle: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    frame = table()
    clean = predicted(tmp_path, bundle, frame)
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
    frame.loc[[1, 4], "B05"] = value
    result = predicted(tmp_path, bundle, frame)
    assert result["flags"].tolist()[1] == result["flags"].tolist()[4] == 1
    assert result["lai_mean"].isna().tolist() == [False, True, False, False, True, False]
    assert result["lai_mean"][0] != 0 and np.isfinite(result["fit"][0]) and clean["fit"].notna().all()
    assert "fill-value" in caplog.text and "2 rows hold a reflectance below -0.2" in caplog.text


@pytest.mark.parametrize("value", [0.0, -0.1, 1e-4])
def test_rows_of_a_fill_value_in_all_bands_are_masked(
    value: float, bundle: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A digital number of 0 is no data; divided and less the offset it looks like a number."""
    frame = table()
    frame.loc[2, list(BANDS)] = value
    result = predicted(tmp_path, bundle, frame)
    assert result["flags"].eq(MASKED).tolist() == [i == 2 for i in range(6)]
    assert result["lai_mean"].isna().tolist() == [i == 2 for i in range(6)]
    assert "fill-value" in caplog.text and "1 rows hold" in caplog.text


@pytest.mark.parametrize(
    ("cells", "warning"),
    [
        (dict.fromkeys(BANDS, 6.5535), "not-a-reflectance: .*1 rows .*B02 is 6.5535 for id 'p3'"),
        ({"B08": 2.5}, "not-a-reflectance: .*B08 is 2.5 for id 'p3'"),
        (dict.fromkeys(BANDS, 4123.0), "not-a-reflectance: .*1 rows"),
        ({"sun_zenith": 120.0}, "impossible-angle: .*sun_zenith is 120 for id 'p3'"),
        ({"relative_azimuth": -9999.0}, "impossible-angle: .*relative_azimuth is -9999"),
        ({"view_zenith": np.nan}, "missing-number: .*1 rows lack an angle or the platform"),
        ({"platform": None}, "missing-number: .*1 rows lack an angle or the platform"),
        ({"B05": np.inf}, "missing-number: .*1 rows lack a number"),
    ],
)
def test_one_odd_row_costs_only_itself(
    cells: dict[str, float], warning: str, bundle: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    frame = table()
    clean = predicted(tmp_path, bundle, frame.drop(index=3).reset_index(drop=True))
    for column, value in cells.items():
        frame.loc[3, column] = value
    result = predicted(tmp_path, bundle, frame)
    assert re.search(warning, caplog.text)
    assert result["flags"].eq(MASKED).tolist() == [i == 3 for i in range(6)]
    pd.testing.assert_frame_equal(result.drop(index=3).reset_index(drop=True), clean)


@pytest.mark.parametrize(("factor", "message"), [(1e4, "divide by 10000"), (1e2, "percent.*divide by 100")])
@pytest.mark.parametrize("rows", [1, 6])
def test_another_unit_is_refused_and_named(
    rows: int, factor: float, message: str, bundle: Path, tmp_path: Path
) -> None:
    frame = table()[:rows]
    frame[list(BANDS)] *= factor
    with pytest.raises(DataError, match=message):
        predicted(tmp_path, bundle, frame)


def test_platforms_may_be_called_as_their_archives_do(bundle: Path, tmp_path: Path) -> None:
    frame = table()
    names = ["S2A", "sentinel-2b", "Sentinel-2A", "s2b", "SENTINEL 2A", " Sentinel_2B "]
    pd.testing.assert_frame_equal(
        predicted(tmp_path, bundle, frame), predicted(tmp_path, bundle, frame.assign(platform=names))
    )


@pytest.fixture(scope="module")
def reading(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle whose encoder reads pixels that lack bands."""
    folder = tmp_path_factory.mktemp("models") / "hidden"
    return untrained_bundle(folder, encoder_options={**SMALL, "hidden": 0.3})


def test_missing_bands_are_marginalised_by_a_model_that_can(
    reading: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A hole, a fill value and whatever stands in a band that is not there say the same: nothing."""
    frame = table()
    whole = predicted(tmp_path, reading, frame)
    results = []
    for value in (np.nan, -9999.0, -0.3):
        caplog.clear()
        holes = frame.copy()
        holes.loc[[1, 4], "B05"] = value
        results.append(predicted(tmp_path, reading, holes))
        kind = "missing-number" if np.isnan(value) else "fill-value"
        assert kind in caplog.text and "their posterior is that of the other bands" in caplog.text
    assert all(result.equals(results[0]) for result in results)
    assert (results[0]["flags"] != MASKED).all() and results[0]["fit"].notna().all()
    assert (results[0]["lai_mean"] != whole["lai_mean"]).tolist() == [i in (1, 4) for i in range(6)]
    empty = frame.copy()
    empty.loc[2, list(BANDS)] = np.nan
    empty.loc[4, "B05"] = np.nan
    empty.loc[3, list(BANDS)] = 0.0
    caplog.clear()
    assert predicted(tmp_path, reading, empty)["flags"].eq(MASKED).tolist() == [i in (2, 3) for i in range(6)]
    assert "2 rows lack a number; of 1 the posterior is that of the other bands, 1 come out" in caplog.text
    assert "next to 0 in all bands; they come out empty" in caplog.text


def test_a_band_that_no_row_has_is_as_if_it_were_empty(
    reading: Path, bundle: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    frame = table()
    without = predicted(tmp_path, reading, frame.drop(columns=["B08", "B02"]))
    assert caplog.text.count("missing-band") == 2 and "no band 'B08'" in caplog.text
    assert "missing-number" not in caplog.text
    pd.testing.assert_frame_equal(without, predicted(tmp_path, reading, frame.assign(B08=np.nan, B02=np.nan)))
    with pytest.raises(DataError, match="no band 'B08'"):
        predicted(tmp_path, bundle, frame.drop(columns="B08"))


@pytest.mark.parametrize("name", ["B8", "b08", "B08_reflectance", "B8 refl", "b8-mean"])
def test_a_band_of_another_name_is_not_taken_for_missing(name: str, reading: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"no band 'B08'.*rename the column '{name}'"):
        predicted(tmp_path, reading, table().rename(columns={"B08": name}))


@pytest.mark.parametrize("passed", [True, False])
def test_rows_that_will_be_drawn_for_want_of_bands_are_counted(
    passed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    model = untrained(summaries={"width": 8}, encoder_options={**SMALL, "hidden": 0.3})
    about = {"passed": True, "fit_trusted": 1e9, "incomplete": {"passed": passed, "fit_trusted": 1e9}}
    model.meta = {**model.meta, "summaries": about}
    monkeypatch.setattr(tables, "load", lambda which, device: model)
    frame = table()
    frame.loc[[1, 4], "B05"] = np.nan
    predicted(tmp_path, tmp_path, frame)
    assert ("drawn: " in caplog.text and "2 rows lack bands; this model draws" in caplog.text) == (not passed)


def test_a_table_without_any_band_is_refused(reading: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no band at all"):
        predicted(tmp_path, reading, table().drop(columns=list(BANDS)))


@pytest.mark.parametrize("name", ["B8", "b08", " B08", "Band 8", "B08_reflectance"])
def test_a_band_of_another_name_does_not_choose_another_model(name: str, tmp_path: Path) -> None:
    table().rename(columns={"B08": name}).to_parquet(tmp_path / "in.parquet")
    with pytest.raises(DataError, match=f"no band 'B08'.*rename the column '{name}'"):
        predict_table(tmp_path / "in.parquet", None, tmp_path / "out.csv", FEW)


@pytest.mark.parametrize(("dropped", "name"), [([], "s2"), (["B02"], "s2"), (["B08"], "s2-9")])
def test_without_a_model_the_shipped_one_is_taken(
    dropped: list[str],
    name: str,
    reading: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    asked: list[object] = []

    def shipped(which: object, device: str) -> Estimator:
        asked.append(which)
        return load(reading)

    monkeypatch.setattr(tables, "load", shipped)
    table().drop(columns=dropped).to_csv(tmp_path / "in.csv", index=False)
    predict_table(tmp_path / "in.csv", None, tmp_path / "out.csv", FEW)
    assert asked == [name] and len(pd.read_csv(tmp_path / "out.csv")) == 6
    assert ("no band 'B08'; s2-9 answers" in caplog.text) == (name == "s2-9")


def test_a_frame_is_judged_and_predicted_as_a_table_is(
    bundle: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    frame = table().assign(crop="wheat")
    frame.loc[2, "B05"] = -9999.0
    model = load(bundle)
    found = predict(model, frame, TableOptions(samples=16, keep=["crop"]))
    assert "fill-value" in caplog.text
    written = predicted(tmp_path, bundle, frame)
    assert found["flags"].tolist() == written["flags"].tolist() and list(found.columns[:2]) == ["id", "crop"]
    with pytest.raises(DataError, match="digital numbers"):
        predict(model, frame.assign(B04=frame["B04"] * 1e4))
    with pytest.raises(DataError, match="id 'p1' occurs more than once"):
        predict(model, frame.assign(id=["p0", "p1", "p1", "p2", "p3", "p4"]))


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
    rows: int, bundle: Path, reading: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The table is noisy: some of its rows fall below any floor."""
    frame = simulated(tmp_path, rows)
    model, read = load(bundle), load(reading)
    assert not check_pixels(frame, model, "clean")
    shifted = frame.copy()
    shifted[list(BANDS)] += 0.1
    assert shifted[["B02", "B03", "B04"]].to_numpy().min() < 0.09
    # One band that no row has does not hide it.
    for band in ("B05", "B8A", "B02"):
        gap = check_pixels(shifted.assign(**{band: np.nan}), read, "gap")
        assert [warning.split(":")[0] for warning in gap] == ["missing-number", "residual-offset"], band
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
