"""Wavelengths, sensor responses and the quadrature nodes that replace them; see DATA.md."""

from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from canopyflow.errors import DataError
from canopyflow.registry import nearest
from canopyflow.vocabulary import BANDS, PLATFORMS

WAVELENGTHS: NDArray[np.int64] = np.arange(400, 2501)
"""Nanometres, of every spectrum."""

PAR_WAVELENGTHS: NDArray[np.int64] = np.arange(400, 701)
"""Nanometres, of photosynthetically active radiation: the first of WAVELENGTHS."""

LEAF_MODELS: tuple[str, ...] = ("prospect-d", "prospect-5b")
"""Versions of the leaf model; in both a leaf holds cab, car, cbrown, cw and cm, in this order."""


@dataclass(frozen=True)
class SpectralData:
    """Content of ``data.npz``, float64.

    ``leaf[model]`` (6, 2101): refractive index, then specific absorption of what the leaf holds;
    ``soil`` (2, 2101): dry, wet; ``response`` (platform, band, 2101), each row summing to one; ``sunlight``
    (301,): how the energy of the sun's direct beam is spread over PAR_WAVELENGTHS, summing to one.
    """

    leaf: dict[str, NDArray[np.float64]]
    soil: NDArray[np.float64]
    response: NDArray[np.float64]
    sunlight: NDArray[np.float64]


@lru_cache(maxsize=1)
def spectral_data() -> SpectralData:
    """The constants of the physics, read once; written by ``scripts/build_physics_data.py``."""
    with (files(__package__) / "data.npz").open("rb") as stream, np.load(stream, allow_pickle=False) as table:
        response = np.zeros((len(PLATFORMS), len(BANDS), WAVELENGTHS.size))
        response[:, :, table["support"]] = table["response"]
        return SpectralData(
            leaf={model: table[model] for model in LEAF_MODELS},
            soil=table["soil"],
            response=response / response.sum(-1, keepdims=True),
            sunlight=table["sunlight"] / table["sunlight"].sum(),
        )


class BandNodes(NamedTuple):
    """Virtual wavelengths whose weighted mean replaces the convolution with the response functions.

    ``constants`` (8, n): refractive index, specific absorptions of what the leaf holds, dry and wet soil;
    ``weights`` (platform, band, n), each row summing to one.
    """

    constants: NDArray[np.float64]
    weights: NDArray[np.float64]


@lru_cache(maxsize=len(LEAF_MODELS))
def band_nodes(model: str) -> BandNodes:
    """Nodes of one leaf model; fitted by ``scripts/build_band_nodes.py``."""
    path = files(__package__) / "nodes.npz"
    with path.open("rb") as stream, np.load(stream, allow_pickle=False) as table:
        return BandNodes(table[f"{model} constants"], table[f"{model} weights"])


class LightNodes(NamedTuple):
    """Virtual wavelengths whose weighted mean replaces the integral over photosynthetically active radiation.

    ``constants`` (8, n) as in :class:`BandNodes`; ``weights`` (n,), summing to one.
    """

    constants: NDArray[np.float64]
    weights: NDArray[np.float64]


@lru_cache(maxsize=len(LEAF_MODELS))
def light_nodes(model: str) -> LightNodes:
    """Nodes of one leaf model; fitted by ``scripts/build_light_nodes.py``."""
    path = files(__package__) / "light.npz"
    with path.open("rb") as stream, np.load(stream, allow_pickle=False) as table:
        return LightNodes(table[f"{model} constants"], table[f"{model} weights"])


def position(kind: str, name: str, known: tuple[str, ...]) -> int:
    """Index of ``name`` in ``known``; DataError naming the nearest valid name otherwise."""
    if name in known:
        return known.index(name)
    raise DataError(f"unknown {kind} {name!r}", nearest(name, known))
