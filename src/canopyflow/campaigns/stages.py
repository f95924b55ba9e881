"""The code behind each rule of the workflow: its script, and what registries load for it by name.

Most rules run the same code whatever they make; ``OF_MODEL`` names those that do not, by their scripts. Their
fingerprint is one of each model, that of the reference is one of each source of pixels.
"""

from pathlib import Path

from canopyflow.campaigns.fingerprint import fingerprint
from canopyflow.config import Campaign
from canopyflow.registry import GENERATIVE, SEASON_PRIORS, SOURCES

OF_MODEL = (
    *("train.py", "infer.py", "score_seed.py", "draw_corner.py", "match_model.py"),
    *("correlate.py", "extract.py", "match_areas.py"),
)
"""Scripts that train one model, or load it from its bundle."""

OF_PHYSICS = ("simulate.py", "reference.py")
"""Scripts that run the campaign's generative models, and nothing else of any model."""

OF_SOURCE = {"simulated": "simulations", "observed": "patches"}
"""Where the pixels of each reference come from."""


def modules(campaign: Campaign, script: str, of: str | None = None) -> set[str]:
    """Dotted modules that no import of ``script`` reaches, and that count for it.

    ``of``: which model it works with, or whose reference it makes; None for all other scripts.
    """
    if script in OF_MODEL and of is not None:
        # How a model was trained is in its weights: whoever loads it runs neither objectives nor sources.
        found = set(campaign.modules(of, "training" if script == "train.py" else "inference"))
        by = {"infer.py": maps_by, "score_seed.py": scored_by}.get(script)
        return found if by is None else found | {by(campaign, of)}
    if script == "simulate_seasons.py" and of is not None:
        return {GENERATIVE.module(campaign.physics.generative), *_dynamics(campaign, of)}
    if script not in OF_PHYSICS:
        return set()
    named = {module for model in campaign.model_blocks for module in campaign.modules(model)}
    physics = named & {GENERATIVE.module(name) for name in GENERATIVE}
    return physics if of is None else physics | {SOURCES.module(OF_SOURCE[of])}


def maps_by(campaign: Campaign, model: str) -> str:
    """The module that maps ``model``: by the month, or seasons by the year."""
    kind = "seasons" if campaign.model_blocks[model].of_seasons else "maps"
    return f"canopyflow.inference.{kind}"


def scored_by(campaign: Campaign, model: str) -> str:
    """The module that scores ``model`` where the truth is known."""
    return f"canopyflow.evaluation.{'season_score' if campaign.model_blocks[model].of_seasons else 'score'}"


def _dynamics(campaign: Campaign, model: str) -> set[str]:
    dynamics = campaign.model_blocks[model].dynamics
    return set() if dynamics is None else {SEASON_PRIORS.module(dynamics)}


def codes(campaign: Campaign, scripts: Path) -> dict[str, str]:
    """Fingerprint of each script in the folder of the rules' scripts, by its name and whatever it is of."""
    variants = dict.fromkeys(OF_MODEL, tuple(campaign.model_blocks)) | {
        "train.py": campaign.trained,
        "infer.py": tuple(campaign.mapped),
        "simulate_seasons.py": campaign.of_seasons,
        "match_model.py": campaign.from_spectra,
        "correlate.py": tuple(campaign.mapped),
        "extract.py": tuple(campaign.mapped),
        "match_areas.py": tuple(campaign.mapped),
        "reference.py": tuple(OF_SOURCE),
    }
    return {
        f"{path.stem} {of}" if of else path.stem: fingerprint(path, *modules(campaign, path.name, of))
        for path in sorted(scripts.glob("*.py"))
        if not path.stem.startswith("build_")
        for of in variants.get(path.name, (None,))
    }
