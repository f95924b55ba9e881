"""Soils of the world in Sentinel-2 bands: dry spectra of three vectors, under a film of water.

A dry soil is a sum of the three general spectral vectors of Jiang & Fang 2019 (Int. J. Appl. Earth Obs.
Geoinf. 83, 101932), which explain measured soils of all continents. The first carries brightness; the other
two count as shares of it, so that soils of one hue differ by brightness alone. Water darkens a soil as films
of which the more cover a spot the wetter it is (Bach & Verhoef 2003, IGARSS; Verhoef, van der Tol & Middleton
2018, RSE 204, 942).
"""

from functools import lru_cache
from importlib.resources import files

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from canopyflow.vocabulary import BANDS

from .bands import PAR_WAVELENGTHS, WAVELENGTHS, spectral_data
from .prospect import interface_transmittance

WATER_INDEX: dict[str, float] = {
    "B02": 1.335, "B03": 1.333, "B04": 1.331, "B05": 1.331, "B06": 1.330,
    "B07": 1.330, "B08": 1.329, "B8A": 1.328, "B11": 1.317, "B12": 1.296,
}  # fmt: skip
"""Refractive index of water at the centre of each band (Hale & Querry 1973, Appl. Opt. 12, 555)."""

PAR_WATER_INDEX = 1.333
"""The same in the middle of photosynthetically active radiation, at 550 nm."""

WATER = 4
"""Row of water's absorption in the table of a leaf model."""

SOIL_INDEX = 2.0
"""Refractive index of the grains (Bach & Verhoef 2003)."""

FILM = 0.015
"""Thickness of one film of water, cm; and below :data:`DRY` percent of moisture there is none, then on
average one for every :data:`CAPACITY` percent (Verhoef et al. 2018)."""
DRY, CAPACITY = 5.0, 25.0
LEAST = 0.005
"""Least reflectance of a dry soil: sums of the vectors go below zero in the blue of the reddest."""

FILMS = 6
"""Most films that count: a seventh is seen by one wet spot in a thousand."""


@lru_cache(maxsize=1)
def soil_vectors() -> NDArray[np.float64]:
    """The three vectors, (3, 2101), by nanometre; made by ``scripts/build_soil_vectors.py``."""
    path = files(__package__) / "soils.npz"
    with path.open("rb") as stream, np.load(stream, allow_pickle=False) as table:
        vectors = table["vectors"]
    known = np.linspace(WAVELENGTHS[0], WAVELENGTHS[-1], vectors.shape[1])
    return np.stack([np.interp(WAVELENGTHS, known, vector) for vector in vectors])


class Film(nn.Module):
    """Optics of water on soil at n wavelengths, as buffers.

    ``index`` (n,): refractive index of water; ``absorption`` (n,): its absorption, cm-1.
    """

    entered: Tensor
    trapped: Tensor
    slowed: Tensor
    passed: Tensor

    def __init__(self, index: NDArray[np.float64], absorption: NDArray[np.float64]) -> None:
        super().__init__()
        into_soil = interface_transmittance(90.0, np.full_like(index, SOIL_INDEX))
        through = np.arange(1, FILMS + 1)[:, None] * absorption
        for name, values in (
            ("entered", interface_transmittance(40.0, index)),
            ("trapped", 1.0 - interface_transmittance(90.0, index) / index**2),
            ("slowed", interface_transmittance(90.0, SOIL_INDEX / index) / into_soil),
            ("passed", np.exp(-2.0 * FILM * through)),
        ):
            self.register_buffer(name, torch.from_numpy(np.ascontiguousarray(values)), persistent=False)

    def forward(self, dry: Tensor, moisture: Tensor) -> Tensor:
        """Reflectance (n, ...) of a soil whose ``dry`` one is (n, ...), at ``moisture`` (...), percent.

        The number of films on a spot is Poisson distributed; a spot without one is dry.
        """
        shape = (-1, *(1,) * moisture.ndim)
        entered, trapped, slowed = (
            x.to(dry).reshape(shape) for x in (self.entered, self.trapped, self.slowed)
        )
        under_water = 1.0 - (1.0 - dry) * (1.0 + dry * (slowed - 1.0))
        films = ((moisture - DRY) / CAPACITY).clamp_min(0.0)
        probability = torch.exp(-films)
        value = probability * dry
        for count, passed in enumerate(self.passed.to(dry), start=1):
            probability = probability * films / count
            back = passed.reshape(shape) * under_water
            seen = (1.0 - entered) + entered * (1.0 - trapped) * back / (1.0 - trapped * back)
            value = value + probability * seen
        return value


class Soils(nn.Module):
    """Soils at given wavelengths; ``vectors`` (3, n), water's ``index`` and ``absorption`` (n,)."""

    vectors: Tensor

    def __init__(
        self, vectors: NDArray[np.float64], index: NDArray[np.float64], absorption: NDArray[np.float64]
    ) -> None:
        super().__init__()
        self.register_buffer("vectors", torch.from_numpy(np.ascontiguousarray(vectors)), persistent=False)
        self.film = Film(index, absorption)

    def forward(self, brightness: Tensor, hue: Tensor, shape: Tensor, moisture: Tensor) -> Tensor:
        """Reflectance (n, ...) of soils whose coefficients are ``brightness`` (...), ``hue`` and ``shape``
        times brightness; ``moisture`` (...), percent of volume."""
        coefficients = brightness * torch.stack([torch.ones_like(hue), hue, shape])
        dry = torch.tensordot(self.vectors.T.to(coefficients), coefficients, 1)
        return self.film(dry.clamp(LEAST, 1.0), moisture)


def band_soils(bands: NDArray[np.intp]) -> Soils:
    """Soils at nodes that stand for whole bands: ``bands`` (n,) are places in BANDS.

    A soil is so smooth that its mean over the band, and over the platforms, serves every node of the band.
    """
    data = spectral_data()
    response = data.response.mean(0)[bands]
    water = data.leaf["prospect-d"][WATER]
    index = np.array([WATER_INDEX[BANDS[band]] for band in bands])
    return Soils(soil_vectors() @ response.T, index, response @ water)


def par_soils(nodes: int) -> Soils:
    """Soils at ``nodes`` wavelengths of photosynthetically active radiation: its mean serves all of them."""
    data, par = spectral_data(), slice(PAR_WAVELENGTHS.size)
    water = data.leaf["prospect-d"][WATER][par] @ data.sunlight
    vectors = soil_vectors()[:, par] @ data.sunlight
    return Soils(
        np.repeat(vectors[:, None], nodes, 1), np.full(nodes, PAR_WATER_INDEX), np.full(nodes, float(water))
    )
