"""Tables of labelled spectra."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from canopyflow.errors import DataError
from canopyflow.observations.labels import read_labels
from canopyflow.vocabulary import PLATFORMS

BANDS = ("B03", "B8A")


@pytest.fixture
def table() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "variable": ["lai", "ccc", "lai"],
            "value": [2.0, 90.0, 3.0],
            "uncertainty": [0.2, np.nan, np.nan],
            "site": ["a", "a", "b"],
            "platform": ["S2B", "S2B", None],
            "B8A": [0.4, 0.4, np.nan],
            "B03": [0.1, 0.1, np.nan],
            "sun_zenith": [30.0, 30.0, np.nan],
            "view_zenith": [3.0, 3.0, np.nan],
            "relative_azimuth": [90.0, 90.0, np.nan],
        }
    )


def test_measurements_with_a_spectrum_are_read_in_the_order_of_the_bands(
    table: pd.DataFrame, tmp_path: Path
) -> None:
    table.to_parquet(tmp_path / "t.parquet")
    found = read_labels(tmp_path / "t.parquet", BANDS)
    assert len(found) == 2 and found.variable == ("lai", "ccc") and found.site == ("a", "a")
    torch.testing.assert_close(found.seen.reflectance, torch.tensor([[0.1, 0.4]] * 2))
    assert found.seen.platform.tolist() == [PLATFORMS.index("S2B")] * 2
    assert found.value.tolist() == [2.0, 90.0]
    assert found.uncertainty[0] == 0.2 and found.uncertainty[1].isnan()
    assert found.rows([1]).variable == ("ccc",)


def test_a_table_that_cannot_teach_is_refused(table: pd.DataFrame, tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    table.drop(columns="site").to_parquet(path)
    with pytest.raises(DataError, match="no column 'site'"):
        read_labels(path, BANDS)
    table.to_parquet(path)
    with pytest.raises(DataError, match="no column 'B04'"):
        read_labels(path, (*BANDS, "B04"))


def test_a_table_in_which_nothing_found_a_pixel_has_no_labels(table: pd.DataFrame, tmp_path: Path) -> None:
    table.iloc[2:].to_parquet(tmp_path / "t.parquet")
    found = read_labels(tmp_path / "t.parquet", BANDS)
    assert len(found) == 0 and found.seen.reflectance.shape == (0, 2)
