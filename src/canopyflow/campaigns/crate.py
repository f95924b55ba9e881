"""The runs of a campaign as a Workflow Run RO-Crate: ``results/{campaign}/ro-crate-metadata.json``.

The results folder is the crate. Each recorded run is an action: the Snakefile it ran, by whom, from when
to when, with which settings, on which pinned items, and what it made. Written with plain JSON, since it is
some sixty lines and no library has to be there to make it; the tests read it with ``rocrate``.
Source: https://w3id.org/ro/wfrun/workflow/0.5 on https://w3id.org/ro/crate/1.1.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from canopyflow.atomic import write_json

METADATA = "ro-crate-metadata.json"
LANGUAGE = "https://w3id.org/workflowhub/workflow-ro-crate#snakemake"
PROFILES = {
    "https://w3id.org/ro/wfrun/process/0.5": ("Process Run Crate", "0.5"),
    "https://w3id.org/ro/wfrun/workflow/0.5": ("Workflow Run Crate", "0.5"),
    "https://w3id.org/workflowhub/workflow-ro-crate/1.0": ("Workflow RO-Crate", "1.0"),
}
STATUS = {
    "done": "http://schema.org/CompletedActionStatus",
    "running": "http://schema.org/ActiveActionStatus",
}
"""All else has failed."""

Entity = dict[str, Any]


def write_crate(results: Path, runs: list[dict[str, Any]]) -> None:
    """Describe the recorded ``runs`` (oldest first, at least one) and the ``results`` they left."""
    write_json(
        results / METADATA,
        {
            "@context": [
                "https://w3id.org/ro/crate/1.1/context",
                "https://w3id.org/ro/terms/workflow-run/context",
            ],
            "@graph": list(_entities(results, runs)),
        },
    )


def _entities(results: Path, runs: list[dict[str, Any]]) -> Iterator[Entity]:
    """Every entity once: settings that several runs share are one entity."""
    described: dict[str, Entity] = {}
    for run in runs:
        for entity in _run(results, run):
            described[entity["@id"]] = entity
    parts = [entity for entity in described.values() if {"File", "Dataset"} & set(_types(entity))]
    last = runs[-1]
    yield {
        "@id": METADATA,
        "@type": "CreativeWork",
        "about": {"@id": "./"},
        "conformsTo": _refer(
            "https://w3id.org/ro/crate/1.1", "https://w3id.org/workflowhub/workflow-ro-crate/1.0"
        ),
    }
    yield {
        "@id": "./",
        "@type": "Dataset",
        "name": f"canopyflow campaign {last['campaign']}",
        "description": "Maps of leaf and canopy variables from Sentinel-2, and the runs that made them",
        "datePublished": last["ended"] or last["started"],
        "license": "not stated: the licence of the archive's data and of the field plots applies",
        "conformsTo": _refer(*PROFILES),
        "mainEntity": {"@id": f"runs/{last['id']}/Snakefile"},
        "hasPart": _refer(*(part["@id"] for part in parts)),
        "mentions": _refer(*(f"#run-{run['id']}" for run in runs)),
    }
    for address, (name, number) in PROFILES.items():
        yield {"@id": address, "@type": "CreativeWork", "name": name, "version": number}
    yield {
        "@id": LANGUAGE,
        "@type": "ComputerLanguage",
        "name": "Snakemake",
        "identifier": "https://doi.org/10.1093/bioinformatics/bts480",
        "url": "https://snakemake.readthedocs.io",
    }
    yield from described.values()


def _run(results: Path, run: dict[str, Any]) -> Iterator[Entity]:
    folder, agent = f"runs/{run['id']}", f"#user-{run['user']}"
    settings = list(_settings(run["config"]))
    made = [f"{stage}/" for stage in run["jobs"] if (results / stage).is_dir()]
    yield {"@id": agent, "@type": "Person", "name": run["user"]}
    for value, formal in settings:
        yield value
        yield formal
    for name in made:
        yield {"@id": name, "@type": "Dataset", "name": f"{name.rstrip('/')} of the campaign"}
    yield {
        "@id": f"{folder}/Snakefile",
        "@type": ["File", "SoftwareSourceCode", "ComputationalWorkflow"],
        "name": "canopyflow",
        "encodingFormat": "text/plain",
        "programmingLanguage": {"@id": LANGUAGE},
        "version": run["commit"] or run["versions"]["canopyflow"],
        "input": _refer(*(formal["@id"] for _, formal in settings)),
    }
    yield {
        "@id": f"{folder}/run.json",
        "@type": "File",
        "name": "Record of the run: versions, fingerprints of the code, digests of inputs and products",
        "encodingFormat": "application/json",
        "about": {"@id": f"#run-{run['id']}"},
    }
    items, found = "search/index.json", run["inputs"]
    if found:
        yield {
            "@id": items,
            "@type": "File",
            "name": "Pinned scenes",
            "description": f"{found.get('scenes', 0)} scenes in {found.get('tile_months', 0)} tile-months",
            "encodingFormat": "application/json",
        }
    action = {
        "@id": f"#run-{run['id']}",
        "@type": "CreateAction",
        "name": " ".join(run["command"]),
        "description": f"{run['outcome']}: {sum(run['jobs'].values())} jobs",
        "instrument": {"@id": f"{folder}/Snakefile"},
        "agent": {"@id": agent},
        "startTime": run["started"],
        "endTime": run["ended"],
        "actionStatus": STATUS.get(run["outcome"], "http://schema.org/FailedActionStatus"),
        "error": "\n".join(run["problems"]),
        "object": _refer(*([items] if found else []), *(value["@id"] for value, _ in settings)),
        "result": _refer(*made),
    }
    yield {key: value for key, value in action.items() if value}


def _settings(config: dict[str, Any]) -> Iterator[tuple[Entity, Entity]]:
    """Each setting as a value and as the formal parameter that it is a value of."""
    for key, value in flat(config).items():
        name = f"#setting-{key}"
        yield (
            {
                "@id": f"{name}-{hashlib.sha256(repr(value).encode()).hexdigest()[:8]}",
                "@type": "PropertyValue",
                "name": key,
                "value": str(value),
                "exampleOfWork": {"@id": name},
            },
            {"@id": name, "@type": "FormalParameter", "name": key, "additionalType": _kind(value)},
        )


def flat(config: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Settings by dotted key; lists and empty blocks are values."""
    found: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, dict) and value:
            found |= flat(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value
    return found


def _kind(value: Any) -> str:
    kinds = {bool: "Boolean", int: "Integer", float: "Float"}
    return kinds.get(type(value), "Text")


def _types(entity: Entity) -> list[str]:
    kind = entity["@type"]
    return kind if isinstance(kind, list) else [kind]


def _refer(*names: str) -> list[Entity]:
    return [{"@id": name} for name in names]
