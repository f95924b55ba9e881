"""Every registered family under every law of :mod:`family_laws`; a new family's file is enough."""

from __future__ import annotations

import ast
from functools import partial
from pathlib import Path
from typing import Any

import family_laws as laws
import pytest
import torch
from torch import Tensor

import canopyflow.posteriors
from canopyflow.errors import ConfigError
from canopyflow.posteriors import build
from canopyflow.posteriors.contract import Family
from canopyflow.registry import FAMILIES


def registered(name: str, dim: int, lower: Tensor, upper: Tensor) -> Family:
    return build(name, dim, laws.FEATURES, lower, upper)


def _marked(law: laws.Law) -> Any:
    """A training for each family takes as long as all other laws together."""
    return pytest.param(law, marks=pytest.mark.slow) if law is laws.exact_answer else law


@pytest.mark.parametrize("name", sorted(FAMILIES))
@pytest.mark.parametrize("law", [_marked(law) for law in laws.LAWS], ids=lambda law: law.__name__)
def test_law(law: laws.Law, name: str) -> None:
    law(partial(registered, name))


def test_registry_names_the_mistake() -> None:
    low, high = laws.bounds(2)
    with pytest.raises(ConfigError, match="did you mean 'truncated_normal'"):
        build("truncated_norm", 2, laws.FEATURES, low, high)
    with pytest.raises(ConfigError, match="did you mean 'transforms'"):
        build("nsf", 2, laws.FEATURES, low, high, transform=2)
    with pytest.raises(ConfigError, match="variable 1 has bounds"):
        build("nsf", 2, laws.FEATURES, torch.tensor([0.0, 2.0]), torch.tensor([1.0, 2.0]))
    with pytest.raises(ConfigError, match=r"must be \(2,\)"):
        build("nsf", 2, laws.FEATURES, low[:1], high)


@pytest.mark.parametrize("name", sorted(FAMILIES))
def test_a_family_does_not_import_its_siblings(name: str) -> None:
    """Else an edit of one family would retrain the others (DESIGN: what reruns what)."""
    folder = Path(canopyflow.posteriors.__file__).parent
    siblings = {FAMILIES.module(other).rpartition(".")[2] for other in FAMILIES} - {
        FAMILIES.module(name).rpartition(".")[2]
    }
    for module in (FAMILIES.module(name).rpartition(".")[2], "contract", "__init__"):
        for node in ast.walk(ast.parse((folder / f"{module}.py").read_text())):
            if isinstance(node, ast.ImportFrom):
                names = {node.module or "", *(alias.name for alias in node.names)}
            elif isinstance(node, ast.Import):
                names = {alias.name for alias in node.names}
            else:
                continue
            assert not {part for n in names for part in n.split(".")} & siblings
