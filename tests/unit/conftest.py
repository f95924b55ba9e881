"""Simulations that tests of several rooms read."""

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def simulations(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Stores of 512 for training and 128 for validation, of two platforms."""
    from training_runs import make

    folder = tmp_path_factory.mktemp("simulations")
    return {"train": make(folder / "train.zarr"), "validation": make(folder / "validation.zarr", 128, 2)}
