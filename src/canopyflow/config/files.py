"""Files rendered from the code: the commented demo campaign, the JSON schema, and pages of the docs."""

import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_origin

import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from canopyflow.config.campaign import Campaign
from canopyflow.config.family_pages import families_pages
from canopyflow.config.product_pages import products_page
from canopyflow.config.schema import SCHEMA, schema_text, with_line
from canopyflow.vocabulary import STATISTICS

REPAIR = "canopyflow config render"

DEMO: dict[str, Any] = {
    "campaign": "demo",
    "area": {"bbox": [6.478, 46.711, 6.522, 46.7295]},
    "period": {"start": "2021-03-01", "end": "2021-07-31"},
    "archive": {"catalog": "demo"},
    "baselines": ["climatology", "gpr", "lut", "sl2p", "supervised"],
    # The demo draws its truth so.
    "physics": {"prior": "atbd"},
    "reference": {"rounds": 3},
    "simulations": {"platforms": ["S2A", "S2B"]},
    # Fewer draws, where more change no figure that is shown.
    "training": {"summaries": {"epochs": 3, "draws": 8}},
    # What its plots measured, with what their scores need.
    "inference": {"outputs": ["lai", "gai", "cab", "ccc", "fapar"], "statistics": list(STATISTICS)},
    "evaluation": {"plots": "demo-archive/plots.csv", "truth": "demo-archive/truth", "samples": 250},
    "parcels": {"path": "demo-archive/parcels.geojson", "pixels": 24},
}
"""What the demo sets; all else is the model's default."""


def rendered(top: Path) -> dict[Path, str]:
    """Contents of the rendered files by path, relative to ``top``, the top of the repository."""
    return (
        families_pages(top)
        | products_page(top)
        | {
            Path("envs/canopyflow.yaml"): conda_environment((top / "constraints.txt").read_text()),
            **{path: with_line(text, path, SCHEMA) for path, text in _campaigns(top)},
            SCHEMA: schema_text(),
            Path("docs/configuration.md"): docs_table(),
        }
    )


def _campaigns(top: Path) -> Iterator[tuple[Path, str]]:
    """The demo campaign, and those that lie beside it: of these the first line alone is rendered."""
    yield Path("config/config.yaml"), demo_yaml()
    for path in sorted((top / "config/campaigns").glob("*.yaml")):
        yield path.relative_to(top), path.read_text()


def render(top: Path) -> None:
    """Write the rendered files below ``top``."""
    for path, text in rendered(top).items():
        (top / path).parent.mkdir(parents=True, exist_ok=True)
        (top / path).write_text(text)


def demo_yaml() -> str:
    """The demo campaign with every key and a comment for each."""
    lines = [
        "# The demo campaign: small, complete, with every key there is. Rendered from",
        f"# src/canopyflow/config/ ({REPAIR}). A campaign of your own needs only campaign,",
        "# area, period and archive.catalog; see config/README.md.",
        "",
    ]
    campaign = Campaign.model_validate(DEMO)
    for name, field in Campaign.model_fields.items():
        lines += [f"# {field.description}", *_yaml(name, getattr(campaign, name), field, 0), ""]
    return "\n".join(lines)


def _yaml(name: str, value: Any, field: FieldInfo, depth: int) -> Iterator[str]:
    pad = "  " * depth
    if isinstance(value, BaseModel):
        yield f"{pad}{name}:"
        for key, sub in type(value).model_fields.items():
            inner = list(_yaml(key, getattr(value, key), sub, depth + 1))
            if len(inner[0]) + len(sub.description or "") <= 100:
                inner[0] += f"  # {sub.description}"
            else:
                yield from textwrap.wrap(
                    sub.description or "", 100, initial_indent=f"{pad}  # ", subsequent_indent=f"{pad}  # "
                )
            yield from inner
        for option, setting in (value.model_extra or {}).items():
            yield f"{pad}  {option}: {_flow(_plain(setting))}"
    elif isinstance(value, tuple) and value and isinstance(value[0], BaseModel):
        yield f"{pad}{name}:"
        for item in value:
            yield f"{pad}  - {_flow(item.model_dump(mode='json'))}"
    else:
        yield f"{pad}{name}: {_flow(_plain(value))}"


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value.isoformat() if hasattr(value, "isoformat") else value


def _flow(value: Any) -> str:
    text = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=10_000).strip()
    return text.removesuffix("...").strip()


def docs_table() -> str:
    """Every key of a campaign file as a Markdown table."""
    lines = [
        "# Campaign files",
        "",
        f"Rendered from `src/canopyflow/config/` (`{REPAIR}`). Keys without a default are required.",
        "",
        "| key | default | meaning |",
        "| --- | --- | --- |",
    ]
    lines += [f"| `{key}` | {default} | {text} |" for key, default, text in _rows(Campaign, "")]
    return "\n".join(lines) + "\n"


def _rows(block: type[BaseModel], prefix: str) -> Iterator[tuple[str, str, str]]:
    for name, field in block.model_fields.items():
        # Of `Block | None` the block.
        annotation = next((a for a in get_args(field.annotation) if _is_block(a)), field.annotation)
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            yield f"{prefix}{name}", "", field.description or ""
            origin = get_origin(field.annotation)
            inside = "[]" if origin is tuple else ".{name}" if origin is dict else ""
            yield from _rows(annotation, f"{prefix}{name}{inside}.")
            if annotation.model_config.get("extra") == "allow":
                block_itself = field.get_default(call_default_factory=True, validated_data={})
                for option, setting in block_itself.model_extra.items():
                    meaning = f"option of `{block_itself.kind}`"
                    yield f"{prefix}{name}.{option}", f"`{_flow(_plain(setting))}`", meaning
        else:
            yield f"{prefix}{name}", _default(field), (field.description or "").replace("|", "\\|")


def _is_block(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True, validated_data={})
    if isinstance(value, tuple) and value and isinstance(value[0], BaseModel):
        value = [item.model_dump(mode="json") for item in value]
    return f"`{_flow(_plain(value))}`"


def conda_environment(constraints: str) -> str:
    """The conda environment with the exact versions of ``constraints`` (a pip constraints file)."""
    pins = [line for line in constraints.splitlines() if line and not line.startswith("#")]
    environment = {
        "name": "canopyflow",
        "channels": ["conda-forge", "nodefaults"],
        "dependencies": ["python=3.11", "pip", {"pip": pins}],
    }
    head = (
        f"# Rendered from constraints.txt ({REPAIR}); the checkout itself is added by the script beside it.\n"
    )
    return head + str(yaml.safe_dump(environment, sort_keys=False))
