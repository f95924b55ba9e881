"""Wavelengths, sensor responses and the quadrature nodes that replace them; see DATA.md."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import lru_cache
from importlib.resources import files
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from canopyflow.errors import DataError
from canopyflow.vocabulary import BANDS, PLATFORMS

from .variables import LEAF_MODELS

WAVELENGTHS: NDArray[np.int64] = np.arange(400, 2501)
"""Nanometres, of every spectrum."""


@dataclass(frozen=True)
class SpectralData:
    """Content of ``data.npz``, float64.

    ``leaf[model]`` (1 + n, 2101): refractive index, then specific absorption of LEAF_MODELS[model];
    ``soil`` (2, 2101): dry, wet; ``response`` (platform, band, 2101), each row summing to one.
    """

    leaf: dict[str, NDArray[np.float64]]
    soil: NDArray[np.float64]
    response: NDArray[np.float64]


@lru_cache(maxsize=1)
def spectral_data() -> SpectralData:
    """The constants of the physics, read once; written by ``scripts/build_physics_data.py``."""
    with (files(__package__) / "data.npz").open("rb") as stream, np.load(stream, allow_pickle=False) as table:
        response = np.zeros((len(PLATFORMS), len(BANDS), WAVELENGTHS.size))
        response[:, :, table["support"]] = table["response"]
        return SpectralData(
            leaf={model: _leaf(table, model) for model in LEAF_MODELS},
            soil=table["soil"].astype(np.float64),
            response=response / response.sum(-1, keepdims=True),
        )


class BandNodes(NamedTuple):
    """Virtual wavelengths whose weighted mean replaces the convolution with the response functions.

    ``constants`` (1 + absorptions + 2, n): refractive index, specific absorptions, dry and wet soil;
    ``weights`` (platform, band, n), each row summing to one.
    """

    constants: NDArray[np.float64]
    weights: NDArray[np.float64]


@lru_cache(maxsize=len(LEAF_MODELS))
def band_nodes(model: str) -> BandNodes:
    """Nodes of one leaf model; fitted by ``scripts/build_band_nodes.py``."""
    fitted = "prospect-d-ant" if model == "prospect-d" else model
    with (
        (files(__package__) / "nodes.npz").open("rb") as stream,
        np.load(stream, allow_pickle=False) as table,
    ):
        constants, weights = table[f"{fitted} constants"], table[f"{fitted} weights"]
    if model == "prospect-d":  # the same without anthocyanins
        constants = np.delete(constants, 1 + LEAF_MODELS[fitted].index("ant"), axis=0)
    return BandNodes(constants, weights)


def _leaf(table: Mapping[str, NDArray[np.float64]], model: str) -> NDArray[np.float64]:
    """Rows of one leaf model: PROSPECT-D and -PRO share all but the dry matter."""
    if model == "prospect-5b":
        return table["prospect-5b"]
    rows = dict(zip(("index", *LEAF_MODELS["prospect-d-ant"]), table["prospect-d"], strict=True))
    rows |= zip(("prot", "cbc"), table["prospect-pro"], strict=True)
    return np.stack([rows[name] for name in ("index", *LEAF_MODELS[model])])


def position(kind: str, name: str, known: tuple[str, ...]) -> int:
    """Index of ``name`` in ``known``; DataError naming the nearest valid name otherwise."""
    if name in known:
        return known.index(name)
    same_case = str(name).upper() if known[0].isupper() else str(name).lower()
    near = get_close_matches(same_case, known, n=1, cutoff=0.3)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise DataError(f"unknown {kind} {name!r}", f"{hint}known: {', '.join(known)}")
