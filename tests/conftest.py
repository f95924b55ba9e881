"""How tests are shared out between processes, and what many of them read."""

from functools import cache
from pathlib import Path
from typing import Any

import pytest


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """A file's tests stay together, and so do all files that share a finished campaign: it is run once.

    The mark `xdist_group` would say so, but pytest-xdist 3.8 does not see it under pytest 9.
    """
    from xdist.scheduler import LoadScopeScheduling

    class ByCampaign(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.split("::")[0]
            return "finished" if _shares_a_campaign(config.rootpath / file) else file

    return ByCampaign(config, log)


@cache
def _shares_a_campaign(file: Path) -> bool:
    return "finished" in file.read_text() and file.parent.name == "workflow"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The files that share a campaign come first, being the longest group: nobody waits at the end."""
    items.sort(key=lambda item: not _shares_a_campaign(item.path))


@pytest.fixture(scope="session")
def simulations(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Stores of 512 for training and 128 for validation, of two platforms."""
    from training_runs import make

    folder = tmp_path_factory.mktemp("simulations")
    return {"train": make(folder / "train.zarr"), "validation": make(folder / "validation.zarr", 128, 2)}
