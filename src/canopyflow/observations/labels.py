"""Measurements of field plots, each with the spectrum of its pixel: what labelled plots teach."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from canopyflow.errors import DataError
from canopyflow.observations.observation import Observation, pixels, platform_index
from canopyflow.vocabulary import ANGLES

COLUMNS = ("variable", "value", "uncertainty", "site", "platform", *ANGLES)
"""Columns of a table of labelled spectra beside the bands; one row per measurement."""


@dataclass(frozen=True)
class Labels:
    """n measurements: ``seen``: the spectrum of each; ``variable`` (n,) and ``site`` (n,): names; ``value``
    (n,) float64 and its standard ``uncertainty`` (n,), NaN where nobody gives one."""

    seen: Observation
    variable: tuple[str, ...]
    site: tuple[str, ...]
    value: Tensor
    uncertainty: Tensor

    def __len__(self) -> int:
        return len(self.variable)

    def of(self, variable: str) -> Labels:
        """The measurements of one variable."""
        return self.rows([i for i, name in enumerate(self.variable) if name == variable])

    def rows(self, index: Sequence[int]) -> Labels:
        """The measurements at ``index``."""
        which = torch.tensor(index, dtype=torch.long)
        return Labels(
            self.seen.rows(which),
            tuple(self.variable[i] for i in index),
            tuple(self.site[i] for i in index),
            self.value[which],
            self.uncertainty[which],
        )


def read_labels(path: str | Path, bands: Sequence[str]) -> Labels:
    """The labelled spectra of a Parquet table in exactly these ``bands``; rows without a spectrum are left
    out, and there may be no others. Raises DataError for a missing column."""
    table = pd.read_parquet(path)
    missing = [name for name in (*COLUMNS, *bands) if name not in table.columns]
    if missing:
        raise DataError(f"{path} has no column {missing[0]!r}", "run the stage that matches spectra again")
    table = table[np.isfinite(table[[*bands, *ANGLES]].to_numpy(float)).all(1)]
    reflectance, geometry = (
        torch.from_numpy(table[list(names)].to_numpy(np.float32)) for names in (bands, ANGLES)
    )
    platform = torch.tensor([platform_index(str(name)) for name in table["platform"]], dtype=torch.long)
    value, uncertainty = (
        torch.from_numpy(table[name].to_numpy(np.float64)) for name in ("value", "uncertainty")
    )
    variable, site = (tuple(table[name].astype(str)) for name in ("variable", "site"))
    return Labels(pixels(reflectance, geometry, platform, bands), variable, site, value, uncertainty)
