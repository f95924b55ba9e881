"""Whether a campaign's catalogue answers, and what it has: ``canopyflow config check --online``."""

from collections.abc import Iterator

from canopyflow.archive.http import Client
from canopyflow.archive.probe import Answer, probe
from canopyflow.config import Campaign
from canopyflow.config.archive import DEMO_CATALOG
from canopyflow.demo.server import serve
from canopyflow.errors import DataError


def ask_catalogue(campaign: Campaign, client: Client | None = None) -> Iterator[Answer]:
    """Answers of the campaign's catalogue, step by step to the first that is not fine; nothing is pinned.

    Args:
        campaign: the campaign.
        client: by default one with the credentials of the environment and little patience.

    Raises:
        DataError: it has no archive, or its demo archive is not written yet.
    """
    if campaign.archive is None:
        raise DataError("a campaign of simulations has no catalogue", "check it without --online")
    if not campaign.uses_demo:
        yield from probe(campaign.archive.catalog, campaign.query, client=client)
    elif DEMO_CATALOG.exists():
        with serve(DEMO_CATALOG.parent) as address:
            yield from probe(address, campaign.query, DEMO_CATALOG.parent, client)
    else:
        raise DataError(
            "the demo archive is not written yet",
            f"canopyflow demo {DEMO_CATALOG.parent}, or run the campaign",
        )
