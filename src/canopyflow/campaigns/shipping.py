"""What made a shipped model, and whether the same would be made today."""

from pathlib import Path
from typing import Any

from canopyflow import shipped
from canopyflow.campaigns.fingerprint import fingerprint
from canopyflow.campaigns.stages import modules
from canopyflow.config import Campaign

SETTINGS = ("seed", "grid", "physics", "simulations", "encoder", "training")
"""Blocks of a campaign that a trained model depends on, beside its own."""


def ships(campaign: Campaign) -> tuple[str, ...]:
    """Names of the models that this campaign trains for the package."""
    return tuple(
        name
        for name, trained_by in shipped.CAMPAIGNS.items()
        if trained_by == campaign.campaign and name in campaign.trained
    )


def made_by(campaign: Campaign, name: str, scripts: Path) -> dict[str, Any]:
    """What the model ``name`` of a campaign is made by, as plain values: settings, and fingerprints of the
    code that simulates and that trains, from the folder ``scripts`` of the rules' scripts."""
    blocks = campaign.model_dump(mode="json", include=set(SETTINGS))
    return {
        "campaign": campaign.campaign,
        "model": campaign.model_blocks[name].built_from,
        "settings": {block: blocks[block] for block in SETTINGS},
        "code": {
            "simulate": fingerprint(scripts / "simulate.py", *modules(campaign, "simulate.py")),
            "train": fingerprint(scripts / "train.py", *modules(campaign, "train.py", name)),
        },
    }
