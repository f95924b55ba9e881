"""How tests are shared out between processes, and what many of them read."""

from pathlib import Path

import pytest


@pytest.hookimpl(tryfirst=True)  # before the plugin reads the marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A file's tests stay together, and so do all that share a finished campaign: it is run once.

    Those come first, being the longest group: nobody waits for them at the end.
    """
    shared = {item: "finished" in getattr(item, "fixturenames", ()) for item in items}
    for item in items:
        item.add_marker(pytest.mark.xdist_group("finished" if shared[item] else str(item.path)))
    items.sort(key=lambda item: not shared[item])


@pytest.fixture(scope="session")
def simulations(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Stores of 512 for training and 128 for validation, of two platforms."""
    from training_runs import make

    folder = tmp_path_factory.mktemp("simulations")
    return {"train": make(folder / "train.zarr"), "validation": make(folder / "validation.zarr", 128, 2)}
