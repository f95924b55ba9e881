"""What a campaign asks for, in a reader's words: the head of its page."""

from pathlib import Path
from typing import Any

from canopyflow.archive.addresses import without_secrets
from canopyflow.archive.presets import PRESETS
from canopyflow.config import Campaign
from canopyflow.config.area import Area
from canopyflow.config.model import Model
from canopyflow.evaluation.measurands import label

NAMED = 8
"""Names that are listed up to this many."""


def asked(campaign: Campaign) -> dict[str, Any]:
    """Plain values as :class:`canopyflow.evaluation.pages.page.Inputs` takes them; no secret is in them, and
    of a file its name alone."""
    kinds = {name: kind_of(block) for name, block in campaign.model_blocks.items()}
    facts = [["models", listed(list(kinds))], ["law of the pixels", campaign.physics.prior]]
    what, years = "Leaf and canopy variables: models compared on simulations", ""
    if campaign.area is not None and campaign.period is not None and campaign.archive is not None:
        start, end = campaign.period.start, campaign.period.end
        years = str(start.year) if start.year == end.year else f"{start.year}–{end.year}"
        what = f"Leaf and canopy variables from Sentinel-2, {start} to {end}"
        facts = [
            ["area", area_of(campaign.area)],
            ["period", f"{start} to {end}"],
            ["catalogue", catalogue_of(campaign)],
            ["pixels", f"{campaign.grid.resolution:g} m, {len(campaign.grid.bands)} bands"],
            ["variables", ", ".join(map(label, campaign.inference.outputs))],
            *facts,
            ["field plots", Path(campaign.evaluation.plots).name if campaign.evaluation.plots else "none"],
        ]
    return {
        "name": campaign.campaign,
        "what": what,
        "facts": facts,
        "kinds": kinds,
        "years": years,
        "synthetic": campaign.uses_demo,
    }


def kind_of(block: Model) -> str:
    """What a model is: a family, a baseline or one that comes with the package."""
    if block.shipped is not None:
        return f"shipped model {block.shipped} ({block.kind})"
    return f"baseline {block.kind}" if block.is_baseline else f"posterior family {block.kind}"


def catalogue_of(campaign: Campaign) -> str:
    """The catalogue without whatever opens a door."""
    assert campaign.archive is not None
    name = without_secrets(campaign.archive.catalog)
    if campaign.uses_demo:
        return "demo (synthetic)"
    where = "" if name not in PRESETS else f" ({without_secrets(campaign.archive.address)})"
    return f"{name}{where}, clouds up to {campaign.archive.max_cloud_cover:g} %"


def area_of(area: Area) -> str:
    """The area as it was given."""
    if area.bbox:
        return "{:g}°, {:g}° to {:g}°, {:g}° (west, south, east, north)".format(*area.bbox)
    if area.sites:
        return f"sites {listed(list(area.sites))}"
    if area.mgrs_tiles:
        return f"tiles {listed(list(area.mgrs_tiles))}"
    if area.plots:
        return f"{area.plots.buffer_metres:g} m around the plots of {Path(area.plots.table).name}"
    return f"polygons of {Path(str(area.geojson)).name}"


def listed(names: list[str]) -> str:
    """The names, or the first of them and how many more there are."""
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more
