"""The families by name. A new family is one file beside this one and one entry here.

Modules are named as text and imported when asked for: the static import graph
of one family does not hold its siblings, so editing a sibling reruns nothing of it.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from canopyflow.errors import ConfigError

if TYPE_CHECKING:
    from torch import Tensor

    from canopyflow.posteriors.contract import Family


@dataclass(frozen=True)
class Entry:
    """Where a family lives and what it is. ``kin`` groups families of one construction."""

    module: str
    class_name: str
    kin: str
    summary: str
    reference: str
    has_density: bool = True


FAMILIES: Mapping[str, Entry] = MappingProxyType(
    {
        "nsf": Entry(
            module="canopyflow.posteriors.nsf",
            class_name="NeuralSpline",
            kin="flow",
            summary="neural spline flow: coupled rational-quadratic splines, conditional on the pixel",
            reference="Durkan et al. 2019, arXiv:1906.04032",
        ),
        "truncated_normal": Entry(
            module="canopyflow.posteriors.truncated_normal",
            class_name="TruncatedNormal",
            kin="factorised",
            summary="independent truncated normals: the published PROSAIL-VAE posterior",
            reference="Zérah, Valero & Inglada 2024, doi:10.1016/j.rse.2024.114309",
        ),
    }
)


def family_module(name: str) -> str:
    """Dotted path of the module of family ``name``."""
    return _entry(name).module


def build(
    name: str,
    dim: int,
    features: int,
    lower: Tensor | Sequence[float],
    upper: Tensor | Sequence[float],
    **options: Any,
) -> Family:
    """An untrained family over ``dim`` variables within ``lower``, ``upper`` (dim,).

    ``features`` is the length of the encoder's output; ``options`` are the family's own. Raises
    ConfigError for an unknown family or option, and for bounds that enclose nothing.
    """
    # Here and not above: a campaign file is checked against these names without loading torch.
    import torch

    entry = _entry(name)
    kind = getattr(importlib.import_module(entry.module), entry.class_name)
    known = [
        p
        for p in inspect.signature(kind.__init__).parameters
        if p not in {"self", "dim", "features", "lower", "upper"}
    ]
    for option in options:
        if option not in known:
            raise ConfigError(f"unknown option {option!r} of family {name!r}", _nearest(option, known))
    low, high = (torch.as_tensor(bound, dtype=torch.get_default_dtype()) for bound in (lower, upper))
    if low.shape != (dim,) or high.shape != (dim,):
        raise ConfigError(
            f"bounds of family {name!r} have shapes {tuple(low.shape)} and {tuple(high.shape)}",
            f"both must be ({dim},)",
        )
    if not bool((low < high).all()):
        i = int((~(low < high)).nonzero()[0])
        raise ConfigError(
            f"variable {i} has bounds [{low[i]:g}, {high[i]:g}]", "the lower must be below the upper"
        )
    family: Family = kind(dim, features, low, high, **options)
    return family


def _entry(name: str) -> Entry:
    if name not in FAMILIES:
        raise ConfigError(f"unknown posterior family {name!r}", _nearest(str(name), FAMILIES))
    return FAMILIES[name]


def _nearest(name: str, known: Iterable[str]) -> str:
    names = sorted(known)
    near = get_close_matches(name.lower(), names, n=1, cutoff=0.3)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"{hint}known: {', '.join(names)}"
