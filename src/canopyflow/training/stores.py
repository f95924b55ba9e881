"""What training reads: stores of samples, whose content is known by a digest and whose values are finite."""

import json
from collections.abc import Mapping
from pathlib import Path

import torch

from canopyflow.atomic import STORE_METADATA, content_digest
from canopyflow.errors import DataError
from canopyflow.observations.observation import Sample

Stores = Mapping[str, Mapping[str, str | Path]]
"""Stores by source, then by split ("train" and "validation")."""


def check_finite(sample: Sample, path: str | Path) -> None:
    """Raises DataError if a value is not: one pixel would spoil its batch, or the whole normalisation."""
    values = [sample.seen.reflectance, sample.seen.geometry]
    values += [] if sample.truth is None else [sample.truth]
    bad = int((~torch.cat(values, dim=-1).isfinite()).flatten(1).any(-1).sum())
    if bad:
        raise DataError(
            f"{path}: {bad} of {len(sample)} {sample.seen.view.value}s hold values that are not finite",
            "run the stage that makes it again",
        )


def digest_of_store(path: str | Path) -> str:
    """Content digest of a store: its seal where it has one."""
    metadata = Path(path) / STORE_METADATA
    if not metadata.is_file():
        raise DataError(f"training data {path} is not there", "run the stage that makes it")
    seal = json.loads(metadata.read_text()).get("attributes", {}).get("content_sha256")
    return str(seal) if seal else content_digest(path)
