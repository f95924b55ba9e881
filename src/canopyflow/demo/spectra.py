"""What canopies reflect and absorb by the independent PROSAIL, in the platform's own response functions."""

from functools import lru_cache
from typing import Any

import numpy as np

from canopyflow.demo.acquisitions import Acquisition, relative_azimuth, sun_position
from canopyflow.demo.tiles import CENTRE
from canopyflow.errors import CanopyflowError

BANDS = ("B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12")
WATER_REFLECTANCE = np.array([0.045, 0.040, 0.025, 0.022, 0.018, 0.017, 0.015, 0.014, 0.008, 0.006])
_WAVELENGTHS = np.arange(400, 2501)
_SATELLITE = {"S2A": "Sentinel-2A", "S2B": "Sentinel-2B"}


_PAR = slice(301)
"""400 .. 700 nm."""


def _extra() -> tuple[Any, Any]:
    """The two packages of the extra ``demo``, imported on first use: no other command needs them."""
    try:
        import prosail
        from pyrsr.rsr import RSR_reader
    except ImportError as error:
        raise CanopyflowError(
            f"the demo archive needs the package {error.name!r}", "pip install 'canopyflow[demo]'"
        ) from error
    return prosail, RSR_reader


@lru_cache
def responses(platform: str) -> np.ndarray:
    """Response of the bands on 400 .. 2500 nm, (bands, 2101), each row with sum 1.

    Source: ESA S2-SRF tables as packaged by ``pyrsr`` (1 nm steps; the centroid of B02 of S2A is 492.4 nm).
    """
    _, read = _extra()
    tables = read(_SATELLITE[platform], "MSI", LayerBandsAssignment=[band[1:].lstrip("0") for band in BANDS])
    rows = np.stack(
        [np.interp(_WAVELENGTHS, table[:, 0], table[:, 1], left=0, right=0) for table in tables.values()]
    )
    return rows / rows.sum(1, keepdims=True)


def scene_angles(acquisition: Acquisition) -> tuple[float, float, float]:
    """Sun zenith, view zenith and relative azimuth in the middle of the landscape, degrees."""
    zenith, azimuth = sun_position(acquisition.overhead, *(np.array(c) for c in CENTRE))
    orbit = acquisition.orbit
    return float(zenith), orbit.view_zenith, relative_azimuth(float(azimuth), orbit.view_azimuth)


def canopy_reflectance(
    variables: dict[str, np.ndarray], angles: tuple[float, float, float], platform: str
) -> tuple[np.ndarray, np.ndarray]:
    """Reflectance (n, bands) and FAPAR (n,) of n canopies: ``variables`` are (n,) each, in physical units.

    ``prosail`` takes ``rsoil`` as brightness and ``psoil`` as the share of its
    first (dry) soil spectrum, which is this project's reading of the two too. FAPAR is what reflection and
    the soil leave over of the package's own spectrum of direct sunlight.
    """
    peer, _ = _extra()
    response, soils = responses(platform), (peer.spectral_lib.soil.rsoil1, peer.spectral_lib.soil.rsoil2)
    sunlight = peer.spectral_lib.light.es[_PAR]
    tts, tto, psi = angles
    names = ("N", "cab", "car", "cbrown", "cw", "cm", "lai", "lidfa", "hspot")
    columns = zip(*(variables[name].tolist() for name in (*names, "rsoil", "psoil")), strict=True)
    out, fapar = np.empty((variables["lai"].size, len(BANDS))), np.empty(variables["lai"].size)
    for row, (*leaf_and_canopy, rsoil, psoil) in enumerate(columns):
        soil = rsoil * (psoil * soils[0] + (1.0 - psoil) * soils[1])
        fluxes = peer.run_prosail(
            *leaf_and_canopy, tts, tto, psi, prospect_version="D", ant=0.0, rsoil0=soil, factor="ALLALL"
        )
        out[row] = response @ fluxes[17]
        beam, rdd, scattered, reflected = fluxes[0], fluxes[3], fluxes[6], fluxes[13]
        absorbed = 1.0 - reflected - (1.0 - soil) * (beam + scattered) / (1.0 - soil * rdd)
        fapar[row] = np.average(absorbed[_PAR], weights=sunlight)
    return out, fapar
