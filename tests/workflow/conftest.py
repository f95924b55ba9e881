"""A checkout of its own for the workflow tests, with a campaign that takes a minute."""

from __future__ import annotations

import pytest
from checkouts import Checkout, fresh_checkout


@pytest.fixture(scope="session")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """A checkout whose mini campaign has not been run."""
    return fresh_checkout(tmp_path_factory.mktemp("fresh") / "canopyflow")


@pytest.fixture(scope="session")
def finished(checkout: Checkout, tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """A checkout whose mini campaign ran to its end."""
    done = checkout.copy(tmp_path_factory.mktemp("finished") / "canopyflow")
    done.snakemake()
    return done
