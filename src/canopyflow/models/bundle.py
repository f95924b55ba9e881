"""The saved model: a folder that says what it is and loads without running foreign code.

=====================  =====================================================
``weights.safetensors``  learned weights and normalisation; no pickle
``model.json``           what the model is and what it was trained on
``history.jsonl``        one line per training epoch
``card.md``              the same for a reader
=====================  =====================================================
"""

import hashlib
import json
from collections.abc import Sequence
from importlib.metadata import version
from inspect import signature
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from canopyflow.atomic import atomic_folder, write_json
from canopyflow.errors import DataError
from canopyflow.models.baseline import Baseline, BaselineOptions, baseline
from canopyflow.models.estimators.amortised import Amortised, ModelOptions
from canopyflow.models.summaries import description
from canopyflow.observations.observation import View
from canopyflow.registry import ENCODERS
from canopyflow.shipped import SHIPPED, bundle_of
from canopyflow.vocabulary import ANGLES, Variable

FORMAT = "canopyflow-model"
FORMAT_VERSION = 6
WEIGHTS, MODEL, HISTORY, CARD = "weights.safetensors", "model.json", "history.jsonl", "card.md"

_FIELDS: dict[str, type] = {
    "bands": list,
    "platforms": list,
    "generative": dict,
    "reflectance_range": dict,
    "angle_range": dict,
    "training": dict,
    "data": dict,
    "code": dict,
    "versions": dict,
    "seed": int,
    "weights_sha256": str,
}
"""What ``model.json`` must hold beside ``format`` and ``format_version``."""

_OF_AMORTISED: dict[str, type] = {
    "family": dict,
    "encoder": dict,
    "variables": list,
    "learned_prior": str,
    "normalisation": dict,
    "fit_threshold": float,
}
"""And what that of a posterior family holds."""

_OF_BASELINE: dict[str, type] = {"estimator": dict, "estimates": list}
"""And what that of a baseline holds."""


Trained = Amortised | Baseline
"""What a bundle holds."""


def save(
    model: Trained,
    folder: str | Path,
    meta: dict[str, Any],
    history: Sequence[dict[str, Any]] = (),
) -> None:
    """Write ``model`` as a bundle, atomically.

    ``meta`` supplies ``reflectance_range`` ({"lower": [...], "upper": [...]} per band, reflectance),
    ``angle_range`` (the same for the three angles, degrees), ``fit_threshold``, ``flags`` (how often they
    are wrong), ``training``, ``data``, ``code`` and ``seed``, and for a model with learned summaries
    ``summaries``, what they are and how good; the rest is taken from the model. A baseline without a fit has
    no ``fit_threshold``.
    """
    with atomic_folder(folder) as scratch:
        weights = {k: v.detach().cpu().contiguous() for k, v in model.weights().items()}
        save_file(weights, scratch / WEIGHTS)
        content = _describe(model, meta, _sha256(scratch / WEIGHTS))
        write_json(scratch / MODEL, content)
        lines = [json.dumps(line, allow_nan=False) + "\n" for line in history]
        (scratch / HISTORY).write_text("".join(lines))
        (scratch / CARD).write_text(_card(content, history))


def load(folder: str | Path, device: str = "cpu") -> Trained:
    """Load a bundle, ready for inference (evaluation mode, no gradients): a posterior family, or a baseline.

    ``folder`` may be the name of a model that comes with the package.

    The model's ``meta`` is the content of ``model.json``. Raises DataError if a
    file is missing, damaged, of another format, or made for other variables.
    """
    folder = bundle_of(folder)
    content = read_description(folder)
    path = folder / WEIGHTS
    if not path.is_file():
        raise DataError(f"model bundle {folder} has no {WEIGHTS}", "train it again or copy the whole folder")
    if _sha256(path) != content["weights_sha256"]:
        raise DataError(f"{path} is not the file that {MODEL} describes", "copy the whole bundle again")
    model = _baseline(content) if "estimator" in content else _amortised(folder, content)
    try:
        model.load_weights(load_file(path))
    except SafetensorError as error:
        raise DataError(f"{path} is damaged: {error}", "copy the whole bundle again") from error
    if isinstance(model, Baseline):
        _check_estimates(folder, model, content["estimates"])
    model.meta = content
    model.requires_grad_(False)
    model.eval().to(torch.device(device))
    return model


def _amortised(folder: Path, content: dict[str, Any]) -> Amortised:
    _check_network(folder, content)
    model = Amortised(_options(content))
    _check_variables(folder, content, model.generative.estimates)
    return model


def _baseline(content: dict[str, Any]) -> Baseline:
    return baseline(
        BaselineOptions(
            estimator=content["estimator"]["name"],
            options=content["estimator"]["options"],
            bands=tuple(content["bands"]),
            platforms=tuple(content["platforms"]),
            generative=content["generative"]["name"],
            generative_options=content["generative"]["options"],
        )
    )


def _check_estimates(folder: Path, model: Baseline, stored: list[dict[str, Any]]) -> None:
    """Raise DataError if the columns of a baseline's tables are no longer what they were."""
    if stored != _described(model.estimates):
        raise DataError(
            f"model bundle {folder} estimates other variables than this version, or within other bounds",
            "train it again with this version",
        )


def read_description(folder: str | Path) -> dict[str, Any]:
    """``model.json`` of a bundle, validated. Raises DataError naming what is wrong."""
    path = bundle_of(folder) / MODEL
    if not path.is_file():
        names = f", or the name of a shipped one ({', '.join(SHIPPED)})" if len(SHIPPED) else ""
        raise DataError(
            f"{folder} is not a model bundle: it has no {MODEL}", f"give the folder of a trained model{names}"
        )
    try:
        content = json.loads(path.read_text())
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{path} is damaged: {error}", "copy the whole bundle again") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise DataError(f"{path} does not describe a canopyflow model", "give the folder of a trained model")
    if content.get("format_version") != FORMAT_VERSION:
        raise DataError(
            f"{path} has format version {content.get('format_version')!r}; this code reads {FORMAT_VERSION}",
            "train the model again with this version",
        )
    own = _OF_BASELINE if "estimator" in content else _OF_AMORTISED
    for name, kind in (_FIELDS | own).items():
        if not isinstance(content.get(name), kind):
            raise DataError(
                f"{path}: {name!r} is missing or not a {kind.__name__}", "copy the whole bundle again"
            )
    if "dynamics" in content and not _names(content["dynamics"]):
        raise DataError(f"{path}: 'dynamics' names no prior of trajectories", "copy the whole bundle again")
    for name, what, length in (
        ("reflectance_range", "band", len(content["bands"])),
        ("angle_range", "angle", len(ANGLES)),
    ):
        for side in ("lower", "upper"):
            if len(content[name].get(side, [])) != length:
                raise DataError(f"{path}: {name}.{side} needs {length} numbers, one per {what}")
    return content


def _names(entry: Any) -> bool:
    """Whether ``entry`` is a name with options."""
    return (
        isinstance(entry, dict)
        and isinstance(entry.get("name"), str)
        and isinstance(entry.get("options"), dict)
    )


def _describe(model: Trained, meta: dict[str, Any], weights_sha256: str) -> dict[str, Any]:
    o = model.options
    if isinstance(o, BaselineOptions):
        own: dict[str, Any] = {
            "estimator": {"name": o.estimator, "options": o.options},
            "estimates": _described(model.estimates),
        }
    else:
        assert isinstance(model, Amortised)
        own = {
            "family": {"name": o.family, "options": o.family_options},
            "encoder": {"name": o.encoder, "options": o.encoder_options},
            "variables": _described(model.generative.estimates),
            "learned_prior": o.learned_prior,
            "summaries_network": o.summaries,
            "normalisation": model.encoder.normalisation(),
        }
        if o.dynamics is not None:
            own["dynamics"] = {"name": o.dynamics, "options": o.dynamics_options}
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        **own,
        "bands": list(o.bands),
        "platforms": list(o.platforms),
        "generative": {"name": o.generative, "options": o.generative_options},
        **meta,
        "versions": {name: version(name) for name in ("numpy", "safetensors", "torch", "zuko")},
        "weights_sha256": weights_sha256,
    }


def _options(content: dict[str, Any]) -> ModelOptions:
    dynamics = content.get("dynamics", {"name": None, "options": {}})
    return ModelOptions(
        family=content["family"]["name"],
        family_options=content["family"]["options"],
        encoder=content["encoder"]["name"],
        encoder_options=content["encoder"]["options"],
        bands=tuple(content["bands"]),
        platforms=tuple(content["platforms"]),
        generative=content["generative"]["name"],
        generative_options=content["generative"]["options"],
        learned_prior=content["learned_prior"],
        summaries=content.get("summaries_network"),
        dynamics=dynamics["name"],
        dynamics_options=dynamics["options"],
    )


def _described(variables: Sequence[Variable]) -> list[dict[str, Any]]:
    return [{"name": v.name, "unit": v.unit, "lower": v.lower, "upper": v.upper} for v in variables]


def _check_variables(folder: Path, content: dict[str, Any], variables: Sequence[Variable]) -> None:
    """Raise DataError for variables, or learned summaries of them, that are not those of this version: their
    numbers would be read as others."""
    stored, own = content["variables"], _described(variables)
    for was, now in zip(stored, own, strict=False):
        if was != now:
            raise DataError(
                f"model bundle {folder} was trained with {was}, but this version has {now}",
                "train it again with this version",
            )
    if len(stored) != len(own):
        raise DataError(f"model bundle {folder} has {len(stored)} variables, this version {len(own)}")
    if content.get("summaries_network") is None:
        return
    told, known = content.get("summaries"), description(variables)
    if not isinstance(told, dict) or any(told.get(name) != value for name, value in known.items()):
        raise DataError(
            f"model bundle {folder} holds learned summaries of another version or of other variables",
            "train it again with this version",
        )
    if not isinstance(told.get("passed", False), bool):
        raise DataError(f"{folder / MODEL}: summaries.passed is not true or false", "copy the bundle again")


def _check_network(folder: Path, content: dict[str, Any]) -> None:
    """Raise DataError for options of the network of the summaries that it does not have."""
    if content.get("summaries_network") is None:
        return
    try:
        encoder = ENCODERS[ENCODERS.known(content["encoder"].get("name"))]
        beside = {"incomplete": False} if encoder.view is View.PIXEL else {"encoder": None}
        signature(encoder.summaries()).bind([], [], [], **beside, **content["summaries_network"])
    except TypeError as error:
        raise DataError(
            f"{folder / MODEL}: summaries_network: {error}", "train the model again with this version"
        ) from error


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _in_words(options: dict[str, Any]) -> str:
    """Options in a line; a block of options in brackets."""
    return ", ".join(
        f"{k} ({_in_words(v)})" if isinstance(v, dict) else f"{k} {v}" for k, v in options.items()
    )


def _card(content: dict[str, Any], history: Sequence[dict[str, Any]]) -> str:
    return _card_of_baseline(content) if "estimator" in content else _card_of_family(content, history)


def _card_of_baseline(content: dict[str, Any]) -> str:
    name, data = content["estimator"]["name"], ", ".join(content["data"]) or "not recorded"
    return f"""# {name}, seed {content["seed"]}

A baseline, to hold posterior families against: what it is says `docs/evaluation.md`.
Options: {_in_words(content["estimator"]["options"]) or "none"}.

- Bands: {", ".join(content["bands"])}
- Platforms: {", ".join(content["platforms"])}
- Fitted to: {data}

{_rows(content["estimates"])}"""


def _rows(quantities: list[dict[str, Any]]) -> str:
    rows = "".join(f"| {v['name']} | {v['unit']} | {v['lower']:g} | {v['upper']:g} |\n" for v in quantities)
    return f"| variable | unit | lower | upper |\n| --- | --- | --- | --- |\n{rows}"


def _card_of_family(content: dict[str, Any], history: Sequence[dict[str, Any]]) -> str:
    phases = ", then ".join(
        f"{p['objective']} on {p['data']} ({p['epochs']} epochs at most)"
        for p in content["training"].get("phases", [])
    )
    last = ""
    done = [line for line in history if line["validation"] is not None]
    if done:
        end = done[-1]
        unit = "season" if "dynamics" in content else "pixel"
        last = f"Last validation loss: {end['validation']:.3f} nats per {unit} ({end['objective']}).\n"
    seen = "one Sentinel-2 surface reflectance\nspectrum and its geometry."
    if "dynamics" in content:
        seen = (
            "the Sentinel-2 surface reflectance\nspectra of a season, at each of its dates and between them. "
            f"The prior of trajectories\nis `{content['dynamics']['name']}`."
        )
    names = f"`{content['family']['name']}`, encoder `{content['encoder']['name']}`"
    return f"""# {content["family"]["name"]}, seed {content["seed"]}

Posterior of leaf and canopy variables given {seen} Family {names};
the generative model is `{content["generative"]["name"]}` ({_in_words(content["generative"]["options"])}).

- Bands: {", ".join(content["bands"])}
- Platforms: {", ".join(content["platforms"])}
- Training: {phases or "not recorded"}

{last}
{_rows(content["variables"])}
The intervals are those of the generative model: what it leaves out of nature
is in none of them. Compare its scores on fields before you believe them, and
heed `fit` and `flags`.
"""
